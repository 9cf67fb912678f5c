"""numpy arrays as .npy files, written so that a full disk is noticed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes what `np.load` reads.

    `np.save` leaves the last part of a small array to the C library's buffer, and does not hear when closing the file
    fails: on a full disk it makes a file that is too short, without an error.
    """
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(array))
        file.write(array.reshape(-1).view(np.uint8).data)


def write_array_of(path: Path, shape: tuple[int, ...], kind: np.dtype, parts: Iterable[np.ndarray]) -> None:
    """Writes what `np.load` reads, of parts that are one behind the other; only one of them is in memory at a time.

    Raises:
        ValueError: the parts have other shapes, or are more or fewer.
    """
    header, rows = {"descr": npy.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}, 0
    with path.open("wb") as file:
        npy.write_array_header_1_0(file, header)
        for part in parts:
            if part.shape[1:] != shape[1:] or part.dtype != kind:
                raise ValueError(f"a part is {part.dtype} {part.shape}, the whole {kind} {shape}")
            file.write(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
            rows += len(part)
    if rows != shape[0]:
        raise ValueError(f"{rows} rows were written of {shape[0]}")
