"""Predictions of a run, one Parquet file per split: row, target, decision, score, and texts that were written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tunewise.commit import commit_folder, verify
from tunewise.tracking.run_folder import PREDICTIONS
from tunewise.types import Predictions

TEXTS = ("generated", "reference", "prompt")


def write_predictions(run_folder: Path, predictions: Mapping[str, Predictions]) -> None:
    """Commits the folder `predictions`: columns `row`, `target`, `decision`, `score`; the last three are lists where
    a row has several numbers, lists of lists where its words have. A row's words past its last are -1 and NaN. Where a
    model has written texts, `generated`, `reference` and `prompt` too, null for rows that it did not continue."""
    import pyarrow
    from pyarrow import parquet

    def write(staging: Path) -> None:
        for split, said in predictions.items():
            columns = {"row": said.rows, "target": said.targets, "decision": said.decisions, "score": said.scores}
            made = {name: _column(values) for name, values in columns.items()}
            if said.generated:
                made |= {name: _texts(texts) for name, texts in zip(TEXTS, said.texts, strict=True) if texts}
            table = pyarrow.table(made)
            parquet.write_table(table, staging / f"{split}.parquet")

    commit_folder(Path(run_folder) / PREDICTIONS, write, {"kind": "predictions"}, replace=True)


def read_predictions(run_folder: Path, split: str) -> Predictions:
    """The predictions of a split.

    Raises:
        CorruptError: the file is not what was written.
    """
    from pyarrow import parquet

    folder = Path(run_folder) / PREDICTIONS
    verify(folder)
    table = parquet.read_table(folder / f"{split}.parquet")
    score, decision, target, row = (_array(table[name]) for name in ("score", "decision", "target", "row"))
    texts = (tuple(table[name].to_pylist()) for name in TEXTS if name in table.column_names)
    return Predictions(score, decision, target, row, *texts)


def _column(values: np.ndarray):
    import pyarrow

    column = pyarrow.array(values.ravel())
    for size in reversed(values.shape[1:]):
        column = pyarrow.FixedSizeListArray.from_arrays(column, size)
    return column


def _texts(values: Sequence[str | None]):
    import pyarrow

    return pyarrow.array([value and _encodable(value) for value in values], pyarrow.string())


def _encodable(text: str) -> str:
    """Half of a surrogate pair, which no file of UTF-8 can hold, becomes the mark of what cannot be read."""
    return text.encode("utf-8", "replace").decode()


def _array(column) -> np.ndarray:
    import pyarrow

    sizes, flat = [], column.combine_chunks()
    while pyarrow.types.is_fixed_size_list(flat.type):
        sizes.append(flat.type.list_size)
        flat = flat.flatten()
    return flat.to_numpy().reshape(-1, *sizes)
