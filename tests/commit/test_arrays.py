from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tunewise.commit import arrays
from tunewise.commit.arrays import array_of, read_array, write_array_of

WHOLE = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
WRONG = [[WHOLE[:3]], [WHOLE, WHOLE], [WHOLE.astype(np.int16)], [WHOLE[:, :2]]]


@pytest.mark.parametrize("large", [0, 1, 10**6])
def test_parts_make_the_array(large: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "LARGE", large)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    parts = [WHOLE[:1], WHOLE[1:]]
    write_array_of(tmp_path / "a.npy", WHOLE.shape, WHOLE.dtype, parts)
    assert np.array_equal(np.load(tmp_path / "a.npy"), WHOLE)
    for found in (read_array(tmp_path / "a.npy"), array_of(WHOLE.shape, WHOLE.dtype, parts)):
        assert np.array_equal(found, WHOLE) and isinstance(found, np.memmap) == (large < WHOLE.nbytes)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("parts", WRONG)
@pytest.mark.parametrize("large", [0, 10**6])
def test_other_parts_are_an_error(
    parts: list[np.ndarray], large: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "LARGE", large)
    with pytest.raises(ValueError, match=r"rows or more|a part is"):
        write_array_of(tmp_path / "b.npy", WHOLE.shape, WHOLE.dtype, parts)
    with pytest.raises(ValueError, match=r"rows or more|a part is"):
        array_of(WHOLE.shape, WHOLE.dtype, parts)


def test_without_room_for_a_file_the_array_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "LARGE", 0)
    monkeypatch.setattr(arrays, "MARGIN", 10**18)
    found = array_of(WHOLE.shape, WHOLE.dtype, [WHOLE[:1], WHOLE[1:]])
    assert np.array_equal(found, WHOLE) and not isinstance(found, np.memmap)
