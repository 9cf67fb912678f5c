"""The tensors of a model folder, one at a time, as fp32: where a weight that is held in fewer bits has its original."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from tunewise.errors import ModelError
from tunewise.models.weights_files import check_weights

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@dataclass(frozen=True)
class Original:
    """Where in a file a tensor is, and the sha256 of its values as fp32."""

    file: Path
    begin: int
    bytes: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    digest: str = ""

    def read(self) -> torch.Tensor:
        """The values in fp32, on the CPU.

        Raises:
            ModelError: they are no longer those of `digest`.
        """
        problem = "they are not the same any more"
        try:
            values = self._read()
            if digest_of_values(values) == self.digest:
                return values
        except (OSError, ValueError, RuntimeError) as error:
            problem = str(error)
        raise ModelError(
            f"frozen weights, which were held in fewer bits, cannot be read again from the model folder: {problem}",
            where=str(self.file),
            fix="put the original model back, and run the same command again: it goes on from the last checkpoint",
        )

    def _read(self) -> torch.Tensor:
        with self.file.open("rb") as stream:  # not mapped: pages of a file count as memory of the process
            stream.seek(self.begin)
            raw = bytearray(stream.read(self.bytes))
        return torch.frombuffer(raw, dtype=self.dtype).reshape(self.shape).float()

    def agrees(self, values: torch.Tensor) -> bool:
        """Whether a tensor has just these values, bit for bit."""
        if tuple(values.shape) != self.shape:
            return False
        return torch.equal(bits_of(self._read()), bits_of(values.detach().cpu()))


class OriginalWeights:
    """The weights in a model folder that has passed the checks.

    Args:
        prefix: what transformers calls the model below its output layers; names in a folder are with or without it.
    """

    def __init__(self, path: Path, prefix: str):
        self._prefix, self._found = f"{prefix}.", _entries(path)

    def of(self, name: str, values: torch.Tensor) -> Original | None:
        """Where a tensor of the model comes from: the folder's of that name, where it has these values to the bit."""
        for spelled in (name, name.removeprefix(self._prefix), f"{self._prefix}{name}"):
            found = self._found.get(spelled)
            if found is not None and found.agrees(values):
                return Original(**{**vars(found), "digest": digest_of_values(values)})
        return None


def bits_of(values: torch.Tensor) -> torch.Tensor:
    """fp32 as whole numbers: equal where, and only where, each bit is."""
    return values.contiguous().view(torch.int32)


def digest_of_values(values: torch.Tensor) -> str:
    """sha256 of a tensor's bytes."""
    raw = values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(memoryview(raw)).hexdigest()


def _entries(path: Path) -> Mapping[str, Original]:
    found = {}
    for name, header in check_weights(path).items():
        with (path / name).open("rb") as stream:
            start = 8 + struct.unpack("<Q", stream.read(8))[0]
        for tensor, entry in header.items():
            begin, end = entry["data_offsets"]
            if entry["dtype"] in DTYPES:
                dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
                found[tensor] = Original(path / name, start + begin, end - begin, dtype, shape)
    return found
