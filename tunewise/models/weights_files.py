"""Checks of a model folder's weight files by their headers: safetensors only, complete, inside the folder."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunewise.errors import ModelError
from tunewise.models.folder_files import home_of

BYTES_PER_VALUE = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}
PICKLES = ("pytorch_model*.bin", "diffusion_pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
LARGEST_HEADER = 100_000_000
BYTES_OF_A_WEIGHT = 4  # in training and in what is handed over, whatever the file holds
SAMPLE = 256  # bytes at the start, in the middle and at the end of a tensor


def check_weights(path: Path, stem: str = "model") -> dict[str, Any]:
    """Checks every weight file that a model folder uses and returns {file: header}. `stem`: what the file of weights is
    called, without its ending.

    Raises:
        ModelError: no safetensors, a pickle, a missing or truncated shard, a path outside the folder.
    """
    whole, index = f"{stem}.safetensors", path / f"{stem}.safetensors.index.json"
    if (path / whole).exists():  # where there are both, transformers reads this one
        files = {whole}
    elif index.is_file():
        files = _indexed_files(index)
    else:
        pickles = sorted(file.name for pattern in PICKLES for file in path.glob(pattern))
        if pickles:
            raise ModelError(
                f"the weights are a pickle ({pickles[0]}), which can run code when it is opened",
                where=str(path),
                fix="save the model again as safetensors",
            )
        maker = "transformers" if stem == "model" else "diffusers"
        raise ModelError(
            f"the model folder has no weights ({whole})",
            where=str(path),
            fix=f"name a folder saved by {maker}, or download the model again",
        )
    return {name: read_header(_inside(path, name)) for name in sorted(files)}


def _indexed_files(index: Path) -> set[str]:
    try:
        names = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        if not names:
            raise ValueError("it names no file")
        return names
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelError(
            "the index of the weight files cannot be read", where=str(index), fix="download the model again"
        ) from None


def _inside(folder: Path, name: str) -> Path:
    """The file, if it is a plain file that belongs to the folder (or to the hub's cache of it)."""
    file = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ModelError(
            f"the index names a file outside the model folder: {name}", where=str(folder), fix="do not use this model"
        )
    if not file.is_file():
        what = "is not a plain file" if file.exists() else "is missing"
        raise ModelError(f"the weight file {name} {what}", where=str(folder), fix="download the model again")
    if not file.resolve().is_relative_to(home_of(folder)):
        raise ModelError(
            f"the weight file {name} is a link out of the model folder",
            where=str(file),
            fix="copy the file into the folder",
        )
    return file


def read_header(file: Path) -> dict[str, Any]:
    """The header of a safetensors file: {tensor: {dtype, shape, data_offsets}}, checked against the file's size.

    Raises:
        ModelError: it is not a safetensors file, or it is truncated.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        if start.startswith(b"version "):
            raise ModelError(
                f"{file.name} is a Git LFS pointer, not the weights",
                where=str(file),
                fix="run `git lfs pull` in that folder",
            )
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size - 8, LARGEST_HEADER):
            raise ModelError(
                f"{file.name} is not a safetensors file, or it is cut off",
                where=str(file),
                fix="save the model as safetensors, or download it again",
            )
        try:
            header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            odd = [name for name, entry in header.items() if not _is_whole(entry)]
            spans = sorted(entry["data_offsets"] for entry in header.values())
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            raise ModelError(
                f"{file.name} has no readable safetensors header", where=str(file), fix="download the model again"
            ) from None
    end = spans[-1][1] if spans else 0
    if 8 + length + end != size or odd:
        what = f"should have {8 + length + end:,} bytes and has {size:,}"
        what = f"has another number of bytes for {odd[0]} than its shape needs" if odd else what
        raise ModelError(f"{file.name} {what}", where=str(file), fix="download the model again")
    if [begin for begin, _ in spans] != [0, *(end for _, end in spans[:-1])][: len(spans)]:
        raise ModelError(
            f"{file.name} has tensors that overlap, or gaps between them",
            where=str(file),
            fix="download the model again",
        )
    return header


def _is_whole(entry: dict[str, Any]) -> bool:
    values = 1
    for length in entry["shape"]:
        values *= _natural(length)
    begin, end = map(_natural, entry["data_offsets"])
    width = BYTES_PER_VALUE.get(entry["dtype"])
    return begin <= end and (width is None or end - begin == values * width)


def _natural(number: Any) -> int:
    if type(number) is not int or not 0 <= number < 2**63:
        raise ValueError(f"{number!r} is no length")
    return number


def weights_bytes(headers: Mapping[str, Any]) -> int:
    """What all weights take as fp32, by the headers that `check_weights` returns."""
    tensors = [entry for header in headers.values() for entry in header.values()]
    return BYTES_OF_A_WEIGHT * sum(math.prod(entry["shape"]) for entry in tensors)


def sample_digest(path: Path) -> str:
    """sha256 over a sample of every tensor of a checked model folder: tells checkpoints of one architecture apart, at
    the price of a few hundred short reads."""
    digest = hashlib.sha256()
    for name, header in check_weights(path).items():
        with (path / name).open("rb") as stream:
            start = 8 + struct.unpack("<Q", stream.read(8))[0]
            for tensor, entry in sorted(header.items()):
                begin, end = entry["data_offsets"]
                digest.update(f"{tensor} {entry['dtype']} {entry['shape']} ".encode())
                for place in sorted({begin, max(begin, (begin + end - SAMPLE) // 2), max(begin, end - SAMPLE)}):
                    stream.seek(start + place)
                    digest.update(stream.read(min(SAMPLE, end - place)))
    return digest.hexdigest()
