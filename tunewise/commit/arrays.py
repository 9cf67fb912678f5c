"""numpy arrays as .npy files, written so that a full disk is noticed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import numpy as np
from numpy.lib import format as npy

LARGE = 64_000_000  # bytes
MARGIN = 256_000_000  # of disk, for others


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes what `np.load` reads.

    `np.save` leaves the last part of a small array to the C library's buffer, and does not hear when closing the file
    fails: on a full disk it makes a file that is too short, without an error.
    """
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(array))
        file.write(array.reshape(-1).view(np.uint8).data)


def array_of(shape: tuple[int, ...], kind: np.dtype, parts: Iterable[np.ndarray]) -> np.ndarray:
    """Parts that are one behind the other, in one array; what is LARGE lies in a file without a name, where there is
    room for one, and is to be read only.

    Raises:
        ValueError: the parts have other shapes, or are more or fewer.
    """
    size = math.prod(shape) * kind.itemsize
    if size < LARGE or shutil.disk_usage(gettempdir()).free < size + MARGIN:
        array, row = np.empty(shape, kind), 0
        for part in _checked(parts, shape, kind):
            array[row : row + len(part)] = part
            row += len(part)
        return array
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        write_array_of(Path(folder) / "array.npy", shape, kind, parts)
        return read_array(Path(folder) / "array.npy")  # what is mapped stays, without its name


def read_array(path: Path) -> np.ndarray:
    """What a file of `write_array` holds; what is LARGE is mapped, to be read only: of it no more is in memory than is
    being used.

    Raises:
        OSError: the file is not there.
    """
    large = path.stat().st_size >= LARGE
    return np.load(path, mmap_mode="r" if large else None, allow_pickle=False)


def write_array_of(path: Path, shape: tuple[int, ...], kind: np.dtype, parts: Iterable[np.ndarray]) -> None:
    """Writes what `np.load` reads, of parts that are one behind the other; only one of them is in memory at a time.

    Raises:
        ValueError: the parts have other shapes, or are more or fewer.
    """
    header = {"descr": npy.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        npy.write_array_header_1_0(file, header)
        for part in _checked(parts, shape, kind):
            file.write(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)


def _checked(parts: Iterable[np.ndarray], shape: tuple[int, ...], kind: np.dtype) -> Iterator[np.ndarray]:
    rows = 0
    for part in parts:
        if part.shape[1:] != shape[1:] or part.dtype != kind:
            raise ValueError(f"a part is {part.dtype} {part.shape}, the whole {kind} {shape}")
        rows += len(part)
        if rows > shape[0]:
            break
        yield part
    if rows != shape[0]:
        raise ValueError(f"there are {rows} rows or more, not {shape[0]}")
