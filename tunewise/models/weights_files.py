"""Checks of a model folder's weight files by their headers: safetensors only, complete, inside the folder."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from tunewise.errors import ModelError

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
PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
LARGEST_HEADER = 100_000_000


def check_weights(path: Path) -> dict[str, Any]:
    """Checks every weight file that a model folder uses and returns {file: header}.

    Raises:
        ModelError: no safetensors, a pickle, a missing or truncated shard, a path outside the folder.
    """
    index = path / "model.safetensors.index.json"
    if (path / "model.safetensors").exists():  # where there are both, transformers reads this one
        files = {"model.safetensors"}
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
        raise ModelError(
            "the model folder has no weights (model.safetensors)",
            where=str(path),
            fix="name a folder saved by transformers, or download the model again",
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
    # The hub's cache links snapshots/<revision>/file to blobs/<hash> in the same model's folder.
    home = folder.resolve().parents[1] if folder.parent.name == "snapshots" else folder.resolve()
    if not file.resolve().is_relative_to(home):
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
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
            odd = [name for name, entry in header.items() if not _is_whole(entry)]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            raise ModelError(
                f"{file.name} has no readable safetensors header", where=str(file), fix="download the model again"
            ) from None
    if 8 + length + end != size or odd:
        what = f"should have {8 + length + end:,} bytes and has {size:,}"
        what = f"has another number of bytes for {odd[0]} than its shape needs" if odd else what
        raise ModelError(f"{file.name} {what}", where=str(file), fix="download the model again")
    return header


def _is_whole(entry: dict[str, Any]) -> bool:
    values = 1
    for length in entry["shape"]:
        values *= length
    begin, end = entry["data_offsets"]
    width = BYTES_PER_VALUE.get(entry["dtype"])
    return width is None or end - begin == values * width
