"""Learning rates from a grid: what is tried, what is taken."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from tunewise.comparison.entry import Entry
from tunewise.comparison.rates import at_scale, list_trials, with_best_rates
from tunewise.comparison.records import Records
from tunewise.recipe import MethodChoice, recipe_from
from tunewise.tracking.record import RunRecord, write_record
from tunewise.types import Costs, Score

COSTS = Costs(1.0, 2.0, 10, 1.0, 1.0, 5, 5, 5, 1.0)


def recipe(**more):
    return recipe_from({"model": "m", "data": {"train": "t.csv", "label": "y"}, "rate_grid": [0.3, 1, 3], **more})


def entries(tmp_path: Path) -> list[Entry]:
    found = [Entry("tfidf", "tfidf", "-", 0, "baseline", tmp_path / "tfidf")]
    for seed in (0, 1, 2):
        for choice in (MethodChoice(name="features"), MethodChoice(name="lora", options={"rank": 2, "rate_scale": 2})):
            where = tmp_path / f"{choice.name}-seed{seed}"
            found.append(Entry(choice.label, choice.label, "m", seed, "method", where, choice))
    return found


def checked(greater: bool = True) -> SimpleNamespace:
    return SimpleNamespace(metric="accuracy", evaluator=SimpleNamespace(greater_is_better=lambda metric: greater))


def finish(entry: Entry, value: float) -> None:
    entry.folder.mkdir()
    score = {"accuracy": Score(value, value, value)}
    plans = [{"step": 0, "learning_rate": 0.5}]
    record = RunRecord(status="finished", method="lora", seed=0, recipe={}, validation=score, costs=COSTS, plans=plans)
    write_record(entry.folder, record)


def test_the_first_seed_tries_every_rate_and_what_has_none_once(tmp_path):
    trials = list_trials(recipe(), entries(tmp_path))
    assert [trial.folder.name for trial in trials] == [
        "tfidf",
        "features-seed0",
        "lora-rate0.3-seed0",
        "lora-rate1-seed0",
        "lora-rate3-seed0",
    ]
    # A factor that the method was given itself stays in force.
    assert [trial.choice.options for trial in trials[2:]] == [
        {"rank": 2, "rate_scale": pytest.approx(scale)} for scale in (0.6, 2, 6)
    ]


@pytest.mark.parametrize(
    ("values", "greater", "taken", "edge"),
    [
        ((0.1, 0.2, 0.3), True, 3, True),
        ((0.1, 0.2, 0.3), False, 0.3, True),
        ((0.2, 0.2, 0.2), True, 1, False),  # of equals the one nearest to the method's own
        ((0.1, math.nan, 0.0), True, 0.3, True),
        ((None, None, None), True, 1, False),  # none finished: the method's own, so that its error is seen
        ((None, None, 0.0), True, 3, True),
    ],
)
def test_the_best_on_validation_is_taken_for_all_seeds(tmp_path, values, greater, taken, edge):
    wanted = recipe()
    all_entries = entries(tmp_path)
    trials = list_trials(wanted, all_entries)
    for trial, value in zip(trials[2:], values, strict=True):
        if value is not None:
            finish(trial, value)
    chosen, tried = with_best_rates(wanted, checked(greater), all_entries, trials, Records())
    assert [trial.chosen for trial in tried] == [scale == taken for scale in (0.3, 1, 3)]
    assert [trial.scale for trial in tried if trial.at_edge] == ([taken] if edge else [])
    assert [(entry.name, entry.seed) for entry in chosen] == [(entry.name, entry.seed) for entry in all_entries]
    for before, after in zip(all_entries, chosen, strict=True):
        has_rate = before.name.startswith("lora")
        assert after == (at_scale(before, taken) if has_rate else before)
        assert after.folder.name == (f"lora-rate{taken:g}-seed{before.seed}" if has_rate else before.folder.name)
    # The chosen trial is the first seed's run itself: nothing is trained twice.
    folders = {trial.folder for trial in trials}
    assert {entry.folder for entry in chosen if entry.seed == 0} <= folders


def test_a_scale_multiplies_the_rate_given_or_default():
    from tunewise.methods import METHODS
    from tunewise.types import ModelMap

    model = ModelMap("bert", 768, (), ())
    for given, expected in (({}, 5e-5), ({"learning_rate": 1e-3}, 1e-3)):
        full = METHODS["full"]
        assert full(full.Config(**given, rate_scale=3)).learning_rate(model) == pytest.approx(3 * expected)


def test_a_factor_may_stand_in_the_grid_once_and_is_positive():
    from tunewise.errors import RecipeError

    with pytest.raises(RecipeError, match="only once"):
        recipe(rate_grid=[1, 1])
    with pytest.raises(RecipeError, match="rate_grid"):
        recipe(rate_grid=[0, 1])
