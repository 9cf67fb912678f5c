"""Groups of sensitive columns: those with few rows, and label rates that differ beyond chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tunewise.audit.audit import audit
from tunewise.audit.coverage import FEW, Trial, find, holm, with_rows_enough
from tunewise.audit.finding import Finding
from tunewise.audit.groups import groups_of
from tunewise.audit.settings import CheckConfig
from tunewise.audit.view import View
from tunewise.comparison import statistics
from tunewise.models.locate import locate
from tunewise.models.located import LocatedModel
from tunewise.types import DataBundle, Schema, Split, Task


@pytest.fixture(scope="module")
def located(tiny_bert: Path) -> LocatedModel:
    return locate(str(tiny_bert), Path())


def bundle(
    targets: np.ndarray, task: Task = "classification", labels: tuple[str, ...] = ("a", "b"), **columns: list[str]
) -> DataBundle:
    texts = tuple(("x" * (row % 5 + 1),) for row in range(len(targets)))
    cells = {name: tuple(values) for name, values in columns.items()}
    split = Split("train", texts, targets, np.arange(1, len(targets) + 1), "f.csv", cells)
    return DataBundle({"train": split}, Schema(task, ("t",), "y", labels), (), "f")


def look(data: DataBundle, located: LocatedModel) -> list[Finding]:
    names = tuple(data.splits["train"].columns)
    return list(find(View(data, CheckConfig(), located, sensitive=names)))


def test_a_table_computed_by_hand(located: LocatedModel) -> None:
    # 30 of 40 and 10 of 40 rows: every expected count is 20, so chi-squared is 4 x (10 x 10 / 20) = 20 with 1 freedom.
    targets = np.repeat([0, 1, 0, 1], [30, 10, 10, 30])
    (found,) = look(bundle(targets, group=["m"] * 40 + ["w"] * 40), located)
    assert (found.details["statistic"], found.details["freedom"]) == (pytest.approx(20.0), 1)
    assert found.details["p_corrected"] == found.details["p"] == pytest.approx(stats.chi2.sf(20.0, 1))
    assert "'a' is 75.0% of 40 rows with 'm', 25.0% of 40 rows with 'w'" in found.what
    assert look(bundle(np.tile([0, 1], 40), group=["m"] * 40 + ["w"] * 40), located) == []


def test_groups_with_few_rows_are_told_and_take_no_part_in_the_test(located: LocatedModel) -> None:
    targets = np.concatenate([np.tile([0, 1], 40), np.zeros(FEW - 1, np.int64)])
    group = ["m"] * 40 + ["w"] * 40 + [" "] * (FEW - 1)
    (found,) = look(bundle(targets, group=group), located)
    assert found.what == f"1 of 3 groups of 'group' have fewer than 30 rows: '(no value)' ({FEW - 1})"
    assert found.details == {"column": "group", "rows": {"(no value)": FEW - 1}}


def test_rates_means_and_lengths_of_groups(located: LocatedModel) -> None:
    data = bundle(np.array([0, 0, 1, 1, 1]), group=["m", "m", "m", "w", "w"])
    first, second = groups_of(View(data, CheckConfig(), located), data.splits["train"], "group")
    assert (first.value, first.rows, first.median_characters) == ("m", 3, 2.0)
    assert first.rates == pytest.approx({"a": 2 / 3, "b": 1 / 3}) and second.rates == {"a": 0.0, "b": 1.0}
    data = bundle(np.array([1.0, 3.0, 5.0], np.float32), "regression", (), group=["m", "m", "w"])
    first, second = groups_of(View(data, CheckConfig(), located), data.splits["train"], "group")
    assert (first.mean, first.sd) == (2.0, pytest.approx(np.sqrt(2))) and (second.mean, second.sd) == (5.0, None)


def test_numbers_are_tested_by_their_ranks(located: LocatedModel) -> None:
    low, high = np.arange(40.0), np.arange(40.0) + 15
    data = bundle(np.concatenate([low, high]).astype(np.float32), "regression", (), group=["m"] * 40 + ["w"] * 40)
    (found,) = look(data, located)
    expected = stats.kruskal(low, high)
    assert found.details["statistic"] == pytest.approx(expected.statistic)
    assert "the median is 34.5 of 40 rows with 'w', 19.5 of 40 rows with 'm'" in found.what
    equal = bundle(np.ones(80, np.float32), "regression", (), group=["m"] * 40 + ["w"] * 40)
    assert look(equal, located) == []


def test_each_label_of_several_is_tested(located: LocatedModel) -> None:
    marks = np.zeros((80, 2), np.float32)
    marks[:35, 0] = marks[40:45, 0] = 1  # 35 of 40 with m, 5 of 40 with w
    marks[::2, 1] = 1
    (found,) = look(bundle(marks, "multilabel", group=["m"] * 40 + ["w"] * 40), located)
    assert found.details["label"] == "a" and found.details["rates"] == {"m": 0.875, "w": 0.125}
    assert found.details["p_corrected"] == pytest.approx(2 * found.details["p"])


def test_types_of_entities_are_labels_too(tagged_data: Callable[..., DataBundle], located: LocatedModel) -> None:
    data = tagged_data(train=70, held_out=4)
    split = data.splits["train"]
    names = [name.partition("-")[2] for name in data.schema.labels]
    has = [any(names[tag] == names[1] for tag in row if tag >= 0) for row in split.targets]
    by_type = replace(split, columns={"group": tuple("yes" if one else "no" for one in has)})
    found = look(replace(data, splits={"train": by_type}), located)
    assert any(each.details.get("label") == names[1] and each.details["rates"]["yes"] == 1.0 for each in found)


def test_as_often_wrong_as_it_says(located: LocatedModel) -> None:
    """Of 200 columns that have nothing to do with the labels, about 5% differ "beyond chance" one by one; of 200 that
    are tested together none."""
    generator = np.random.default_rng(3)
    targets = generator.integers(0, 3, 300)
    columns = {f"c{number}": list(generator.choice(["m", "w"], 300)) for number in range(200)}
    alone = [bool(look(bundle(targets, labels=("a", "b", "c"), c=cells), located)) for cells in columns.values()]
    assert 3 <= sum(alone) <= 18
    assert look(bundle(targets, labels=("a", "b", "c"), **columns), located) == []


def test_classes_too_rare_for_the_test_are_joined() -> None:
    counts = np.array([[50, 40, 3, 4], [50, 45, 2, 3]])
    assert with_rows_enough(counts).tolist() == [[50, 40, 7], [50, 45, 5]]
    assert with_rows_enough(counts[:, :3]).tolist() == [[50, 40], [50, 45]]


@given(
    st.lists(
        st.lists(st.integers(0, 60), min_size=4, max_size=4).filter(lambda row: sum(row) >= FEW), min_size=2, max_size=5
    )
)
def test_no_cell_of_a_tested_table_expects_too_few_rows(counts: list[list[int]]) -> None:
    table = with_rows_enough(np.array(counts))
    if table.shape[1] > 1:
        assert stats.contingency.expected_freq(table).min() >= 5 * table.sum() / np.array(counts).sum() - 1e-9


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_the_correction_is_that_of_the_comparison(p_values: list[float]) -> None:
    corrected = [test.corrected for test in holm([Trial("c", None, 1.0, 1, p) for p in p_values])]
    assert corrected == pytest.approx(statistics.holm(p_values))


def test_without_a_column_there_is_nothing_to_look_for(toy_data: Any, located: LocatedModel) -> None:
    found = audit(toy_data(), located, CheckConfig(), ["coverage"])
    assert found.left_out == {"coverage": "needs data.sensitive, which names no column"} and not found.seconds
    assert audit(toy_data(), located, CheckConfig(block=["coverage"]), ["coverage"]).blocked
