"""Classes of unequal size, with few rows, or with none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunewise.audit.audit import audit
from tunewise.audit.imbalance import FEW, UNEQUAL, find
from tunewise.audit.settings import CheckConfig
from tunewise.audit.view import View
from tunewise.models.locate import locate
from tunewise.models.located import LocatedModel
from tunewise.types import DataBundle, Schema, Split, Task


@pytest.fixture(scope="module")
def located(tiny_bert: Path) -> LocatedModel:
    return locate(str(tiny_bert), Path())


def bundle(targets: dict[str, np.ndarray], labels: tuple[str, ...], task: Task = "classification") -> DataBundle:
    splits = {
        name: Split(name, tuple((f"{name} {row}",) for row in range(len(of))), of, np.arange(1, len(of) + 1), "f.csv")
        for name, of in targets.items()
    }
    return DataBundle(splits, Schema(task, ("t",), "y", labels), (), "f")


def rows_of(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def test_large_classes_small_classes_and_classes_without_rows(located: LocatedModel) -> None:
    splits = {"train": rows_of(80, 20, 9, 0), "validation": rows_of(5, 5, 5, 5), "test": rows_of(9, 0, 1, 3)}
    found = {each.split: each for each in find(View(bundle(splits, ("a", "b", "c", "d")), CheckConfig(), located))}
    assert set(found) == {"train", "test"}
    assert found["train"].what == (
        "'a' has 80 rows, 8.9 times as many as 'c' (9), and 73.4% of all; 1 of 4 classes have no row: 'd'; "
        "1 of 4 classes have fewer than 10 rows: 'c' (9)"
    )
    assert found["train"].details == {"rows": {"a": 80, "b": 20, "c": 9, "d": 0}, "ratio": None}
    assert found["test"].what == "1 of 4 classes have no row: 'b'" and found["test"].rows == ()


@pytest.mark.parametrize(("counts", "told"), [((40, 11), False), ((44, 11), True), ((10, 10), False), ((10, 9), True)])
def test_from_where_on_it_is_told(counts: tuple[int, int], told: bool, located: LocatedModel) -> None:
    assert (UNEQUAL, FEW) == (4, 10)
    data = bundle({"train": rows_of(*counts), "test": rows_of(1, 1)}, ("a", "b"))
    assert bool(list(find(View(data, CheckConfig(), located)))) == told


def test_labels_of_which_a_row_may_have_several(located: LocatedModel) -> None:
    marks = np.zeros((60, 2), np.float32)
    marks[:, 0] = 1
    marks[:12, 1] = 1
    (found,) = find(View(bundle({"train": marks}, ("a", "b"), "multilabel"), CheckConfig(), located))
    assert found.what == "'a' has 60 rows, 5.0 times as many as 'b' (12)"


def test_types_of_entities(tagged_data: Callable[..., DataBundle], located: LocatedModel) -> None:
    data = tagged_data(train=12, held_out=6)
    names = [name.partition("-")[2] for name in data.schema.labels]
    split = data.splits["train"]
    bear = {
        kind: sum(kind in {names[tag] for tag in row if tag >= 0} for row in split.targets)
        for kind in set(names) - {""}
    }
    found = {each.split: each for each in find(View(data, CheckConfig(), located))}
    assert found["train"].details["rows"] == bear


def test_a_brief_look_finds_it_and_numbers_have_no_classes(toy_data: Any, located: LocatedModel) -> None:
    brief = audit(toy_data("regression"), located, CheckConfig(), ["imbalance"])
    assert brief.findings == () and brief.left_out == {"imbalance": "is for classes; the task is regression"}
    repeated = bundle({"train": rows_of(11, 11)}, ("a", "b"))
    split = repeated.splits["train"]
    often = np.concatenate([np.arange(22), np.zeros(50, np.int64)])  # as data.balance repeats rows
    many = Split("train", tuple(split.texts[row] for row in often), split.targets[often], split.rows[often], "f.csv")
    data = DataBundle({"train": many}, repeated.schema, (), "f")
    assert audit(data, located, CheckConfig(), ["imbalance"]).findings == ()
