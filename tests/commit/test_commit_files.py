from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from fault_bench import file_size_limit
from hypothesis import given, settings
from hypothesis import strategies as st

from tunewise.commit import sealed, unsealed, write_file
from tunewise.commit.arrays import write_array
from tunewise.errors import CorruptError, StoreError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_writes_text_as_utf8_and_bytes_as_they_are(tmp_path: Path) -> None:
    write_file(tmp_path / "new" / "folder" / "a.txt", "Grüße\n")
    write_file(tmp_path / "b.bin", b"\x00\r\n")
    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == b"Gr\xc3\xbc\xc3\x9fe\n"
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\r\n"


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "record.json").mkdir()
    with pytest.raises(StoreError, match="cannot save"):
        write_file(tmp_path / "record.json", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("x")
    with pytest.raises(StoreError, match="a part of the path is a file"):
        write_file(tmp_path / "runs" / "one" / "record.json", "x")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dictionaries(st.text().filter(lambda key: key != "sha256"), PLAIN, max_size=4))
def test_sealed_comes_back(body: dict) -> None:
    assert unsealed(sealed(body).encode(), Path("x.json")) == body


def test_keys_that_json_turns_into_text() -> None:
    assert unsealed(sealed({"a": {10: "x", 2: ("y",)}}).encode(), Path("x")) == {"a": {"10": "x", "2": ["y"]}}


def test_every_flipped_bit_is_found() -> None:
    body = {"step": 120, "name": "a\u00e9", "rate": 0.1, "ok": True, "list": [1, {"b": None}]}
    raw = sealed(body).encode()
    for place in range(len(raw)):
        for bit in range(8):
            broken = raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]
            try:
                assert unsealed(broken, Path("x.json")) == body, broken
            except CorruptError:
                continue


def test_every_truncation_is_found() -> None:
    raw = sealed({"step": 120}).encode().rstrip()
    for length in range(len(raw)):
        with pytest.raises(CorruptError, match=r"x\.json"):
            unsealed(raw[:length], Path("x.json"))


@pytest.mark.parametrize("raw", [b"[1]", b"3", b"{}", b"\xff", b"[" * 100_000, b'{"a": NaN}', b'{"sha256": 3}'])
def test_other_json_is_refused(raw: bytes) -> None:
    with pytest.raises(CorruptError):
        unsealed(raw, Path("x.json"))


def test_nan_cannot_be_sealed() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        sealed({"loss": math.nan})
    assert json.loads(sealed({"loss": None}))["loss"] is None


@pytest.mark.parametrize(
    "array",
    [
        np.arange(7, dtype=np.int32),
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.arange(6.0).reshape(2, 3).T,
        np.zeros((0, 3), dtype=np.int64),
        np.array([True, False]),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_arrays_as_numpy_writes_them(array: np.ndarray, tmp_path: Path) -> None:
    write_array(tmp_path / "a.npy", array)
    found = np.load(tmp_path / "a.npy", allow_pickle=False)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype and found.shape == array.shape


@pytest.mark.parametrize("limit", [0, 100, 128, 129, 2527])
def test_an_array_on_a_full_disk_is_never_short_without_an_error(limit: int, tmp_path: Path) -> None:
    with file_size_limit(limit), pytest.raises(OSError):
        write_array(tmp_path / "a.npy", np.full(300, 2.0))
