"""numpy arrays as .npy files, written so that a full disk is noticed."""

from __future__ import annotations

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
