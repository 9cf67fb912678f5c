from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from tunewise.errors import CorruptError
from tunewise.tracking.predictions import read_predictions, write_predictions
from tunewise.types import Predictions

RNG = np.random.default_rng(0)
ROWS = np.array([7, 2, 90], dtype=np.int64)
SAID = {
    "classification": Predictions(RNG.random((3, 4)), np.array([1, 0, 3]), np.array([1, 2, 3]), ROWS),
    "multilabel": Predictions(
        RNG.random((3, 2)), np.array([[0, 1], [1, 1], [0, 0]]), RNG.integers(0, 2, (3, 2)).astype(np.float32), ROWS
    ),
    "regression": Predictions(RNG.normal(size=3), RNG.normal(size=3), RNG.normal(size=3).astype(np.float32), ROWS),
    "token_classification": Predictions(
        np.where(np.array([[1, 1], [1, 0], [0, 0]])[:, :, None], RNG.random((3, 2, 4)), np.nan),
        np.array([[3, 0], [1, -1], [-1, -1]]),
        np.array([[3, 1], [0, -1], [-1, -1]]),
        ROWS,
    ),
    "generation": Predictions(
        RNG.random((3, 3)),
        RNG.random((3, 3)),
        np.zeros(3, np.float32),
        ROWS,
        ("a story\nof two lines", None, ""),
        ("a \u0394 \U0001f600", None, "end"),
        ("tell", None, "go on"),
    ),
    "one label": Predictions(RNG.random((3, 1)), np.array([[0], [1], [1]]), np.ones((3, 1), dtype=np.float32), ROWS),
}


@pytest.mark.parametrize("task", SAID)
def test_there_and_back(task: str, tmp_path: Path) -> None:
    write_predictions(tmp_path, {"validation": SAID["regression"], "test": SAID[task]})
    again = read_predictions(tmp_path, "test")
    for name, values in vars(SAID[task]).items():
        if name in ("generated", "references", "prompts"):
            assert getattr(again, name) == values
            continue
        found = getattr(again, name)
        np.testing.assert_array_equal(found, values)
        assert found.dtype == values.dtype and found.shape == values.shape


def test_other_programs_can_read_them(tmp_path: Path) -> None:
    write_predictions(tmp_path, {"test": SAID["classification"]})
    rows = pyarrow.parquet.read_table(tmp_path / "predictions" / "test.parquet").to_pylist()
    assert rows[1] == {"row": 2, "target": 2, "decision": 0, "score": SAID["classification"].scores[1].tolist()}


def test_what_no_file_can_hold_of_a_text_is_marked(tmp_path: Path) -> None:
    said = SAID["generation"]
    odd = Predictions(said.scores, said.decisions, said.targets, said.rows, ("half \ud83d", None, "b"), said.references)
    write_predictions(tmp_path, {"test": odd})
    assert read_predictions(tmp_path, "test").generated == ("half ?", None, "b")


def test_some_rows_with_their_texts() -> None:
    said = SAID["generation"].only(np.array([2, 0, 2]))
    assert said.generated == ("", "a story\nof two lines", "") and said.rows.tolist() == [90, 7, 90]
    assert SAID["generation"].only(np.array([True, True, False])).references == ("a \u0394 \U0001f600", None)
    assert SAID["regression"].only(np.array([1])).generated == ()


def test_written_anew(tmp_path: Path) -> None:
    write_predictions(tmp_path, {"test": SAID["classification"]})
    write_predictions(tmp_path, {"test": SAID["regression"]})
    assert read_predictions(tmp_path, "test").scores.shape == (3,)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    write_predictions(tmp_path, {"test": SAID["regression"]})
    file = tmp_path / "predictions" / "test.parquet"
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    with pytest.raises(CorruptError, match=r"test\.parquet"):
        read_predictions(tmp_path, "test")
