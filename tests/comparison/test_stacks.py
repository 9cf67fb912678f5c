"""Which runs of a comparison share their passes over the base, and what their costs count for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tunewise.comparison.entry import Entry
from tunewise.comparison.rates import list_trials
from tunewise.comparison.results import mean_costs
from tunewise.comparison.stacks import stacked, stacks_trials
from tunewise.methods import METHODS
from tunewise.methods.dora import Dora
from tunewise.methods.lora import Lora
from tunewise.methods.qlora import Qlora
from tunewise.recipe import MethodChoice, Recipe, recipe_from
from tunewise.tracking.record import RunRecord
from tunewise.types import Costs


def recipe(**more: Any) -> Recipe:
    content = {"model": "m", "data": {"train": "t.csv", "label": "y"}, "methods": ["lora"], "rate_grid": [0.3, 1, 3]}
    return recipe_from({**content, **more})


def trials(tmp_path: Path, *choices: MethodChoice, grid: tuple[float, ...] = (0.3, 1, 3)) -> list[Entry]:
    found = []
    for number, choice in enumerate(choices):
        where = tmp_path / f"{choice.name}-{number}-seed0"
        found.append(Entry(f"{choice.label}", choice.label, "m", 0, "method", where, choice))
    return list_trials(recipe(rate_grid=list(grid)), found)


def sizes(entries: list[Entry], most: int = 8, side_by_side: int = 1, stacks: bool = True) -> list[int]:
    jobs = stacked(entries, lambda entry: most, side_by_side, stacks)
    assert sorted((entry.folder for job in jobs for entry in job), key=str) == sorted(
        (entry.folder for entry in entries), key=str
    )
    return [len(job) for job in jobs]


LORA, SMALL, HEAD, DORA = (
    MethodChoice(name="lora"),
    MethodChoice(name="lora", options={"rank": 2}),
    MethodChoice(name="head"),
    MethodChoice(name="dora"),
)


def test_rates_of_one_method_share_their_passes(tmp_path: Path) -> None:
    entries = trials(tmp_path, HEAD, LORA, SMALL, DORA)
    jobs = stacked(entries, lambda entry: 8, 1, True)
    assert [len(job) for job in jobs] == [3, 3, 1, 1, 1, 1, 1, 1]
    assert [job[0].choice.name for job in jobs] == ["lora", "lora", *["head"] * 3, *["dora"] * 3]
    for job in jobs:
        assert len({entry.name for entry in job}) == 1
    assert [entry.choice.options["rate_scale"] for entry in jobs[0]] == [0.3, 1, 3]


@pytest.mark.parametrize(
    ("rates", "most", "side_by_side", "found"),
    [
        (4, 8, 1, [4]),
        (4, 2, 1, [2, 2]),
        (5, 2, 1, [2, 2, 1]),
        (4, 1, 1, [1, 1, 1, 1]),
        (4, 8, 2, [2, 2]),  # nothing else to do for the other core
        (3, 8, 2, [2, 1]),
        (2, 8, 4, [1, 1]),
        (9, 4, 2, [3, 3, 3]),
    ],
)
def test_stacks_are_as_large_as_fits_and_leave_no_core_idle(
    tmp_path: Path, rates: int, most: int, side_by_side: int, found: list[int]
) -> None:
    entries = trials(tmp_path, LORA, grid=tuple(float(number + 1) for number in range(rates)))
    assert sizes(entries, most, side_by_side) == found


def test_a_stack_is_left_whole_where_others_run_beside_it(tmp_path: Path) -> None:
    assert sizes(trials(tmp_path, LORA, HEAD), side_by_side=2) == [3, 1, 1, 1]


def test_without_stacks_every_run_is_alone_and_in_its_place(tmp_path: Path) -> None:
    entries = trials(tmp_path, HEAD, LORA, DORA)
    assert [job[0] for job in stacked(entries, lambda entry: 8, 2, False)] == entries
    assert sizes(entries, stacks=False) == [1] * 9


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"methods": ["lora_plus", "head"]}, True),
        ({"seeds": 1}, False),  # its only run tells what LoRA costs
        ({"seeds": 1, "data": {"train": "t.csv", "label": "y", "folds": 3}}, True),
        ({"rate_grid": []}, False),
        ({"rate_grid": [1]}, False),
        ({"methods": ["head", "dora"]}, False),
        ({"train": {"gradient_checkpointing": True}}, False),
    ],
)
def test_when_trials_are_stacked(changes: dict[str, Any], expected: bool) -> None:
    checked = SimpleNamespace(data=SimpleNamespace(schema=SimpleNamespace(is_language=False)))
    assert stacks_trials(recipe(**changes), checked) is expected
    checked.data.schema.is_language = True
    assert not stacks_trials(recipe(**changes), checked)


def test_which_methods_say_that_they_can() -> None:
    assert {name for name in METHODS if METHODS[name].stacks} == {"lora", "lora_plus", "pissa"}
    assert issubclass(Dora, Lora) and issubclass(Qlora, Lora)


def test_costs_are_those_of_runs_that_trained_alone(tmp_path: Path) -> None:
    def record(seconds: float, together: int) -> RunRecord:
        costs = Costs(seconds, seconds, 10, 1.0, 1.0, 5, 5, 5, 1.0)
        return RunRecord(status="finished", method="lora", seed=0, recipe={}, costs=costs, stacked=together)

    def entry(seed: int) -> Entry:
        return Entry("lora", "lora", "m", seed, "method", tmp_path / str(seed), LORA)

    alone_too = {entry(0): record(1.0, 4), entry(1): record(6.0, 0), entry(2): record(8.0, 0)}
    assert mean_costs(alone_too)["lora"]["train_seconds"] == 7.0
    assert mean_costs({entry(0): record(1.0, 4)})["lora"]["train_seconds"] == 1.0


def test_a_record_names_its_stack_only_where_there_was_one() -> None:
    record = RunRecord(status="finished", method="lora", seed=0, recipe={})
    assert "stacked" not in record.as_dict()
    together = RunRecord(status="finished", method="lora", seed=0, recipe={}, stacked=3)
    assert together.as_dict()["stacked"] == 3
