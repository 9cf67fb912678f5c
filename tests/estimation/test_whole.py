from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from tunewise.comparison.entry import Entry
from tunewise.estimation.answers import Parts, RunCost
from tunewise.estimation.whole import finished_after, memory_of, rounds_of, whole_of
from tunewise.recipe import MethodChoice, Recipe, recipe_from


def recipe_with(**more: object) -> Recipe:
    return recipe_from({"model": "m", "data": {"train": "t.csv"}, "methods": ["features", "head"], "seeds": 2, **more})


def entries() -> list[Entry]:
    found = [Entry("majority", "majority", "-", 0, "baseline", Path("runs/majority"))]
    for seed in (0, 1):
        for name in ("features", "head"):
            folder = Path(f"runs/{name}-seed{seed}")
            found.append(Entry(name, name, "m", seed, "method", folder, MethodChoice(name=name)))
    return found


COSTS = {
    "majority": RunCost(Parts(train=1.0)),
    "features": RunCost(
        Parts(imports=9.0, train=4.0, save=1.0),
        forward_flops=10.0,
        peak_memory_bytes=700,
        common_bytes=300,
        saved_bytes=5,
    ),
    "head": RunCost(
        Parts(imports=9.0, data=3.0, train=10.0),
        forward_flops=20.0,
        backward_flops=2.0,
        peak_memory_bytes=900,
        common_bytes=310,
        saved_bytes=50,
        checkpoint_bytes=7,
    ),
}


def whole(recipe: Recipe, side_by_side: int, without: str = ""):
    return whole_of(
        recipe,
        entries(),
        lambda entry: None if entry.name == without else COSTS[entry.name],
        side_by_side,
        before=100.0,
    )


def test_each_begins_when_one_before_it_ends() -> None:
    assert finished_after([3, 1, 1, 5], 1) == 10
    assert finished_after([3, 1, 1, 5], 2) == 7  # 3 | 1, 1, 5
    assert finished_after([2, 2, 2], 5) == 2 and finished_after([], 2) == 0


def test_it_is_never_better_than_the_best_order() -> None:
    times = [4.0, 2.0, 3.0, 1.0, 2.5]
    everything = [finished_after(order, 2) for order in permutations(times)]
    assert min(everything) >= sum(times) / 2 and max(everything) <= sum(times) / 2 + max(times)


def test_all_runs_are_counted_and_imports_and_data_once() -> None:
    found = whole(recipe_with(), side_by_side=1)
    assert found.runs == 5 and found.unknown == 0 and found.seconds == 100 + 1 + 2 * 5 + 2 * 10
    assert (found.forward_flops, found.backward_flops) == (60, 4)
    assert found.disk_bytes == 2 * 55 + 3 * 7  # three checkpoints at most, of one run at a time
    assert found.memory_bytes == 900


def test_side_by_side_they_share_what_they_have_in_common() -> None:
    found = whole(recipe_with(), side_by_side=2)
    assert found.seconds == 100 + finished_after([1, 5, 10, 5, 10], 2)
    assert found.memory_bytes == 2 * (900 - 310) + 310  # both seeds of the larger one may meet
    assert memory_of(COSTS.values(), 2) == (900 - 310) + (700 - 300) + 310
    assert found.disk_bytes == 2 * 55 + 3 * 14


def test_a_grid_of_rates_adds_runs_of_the_first_seed() -> None:
    recipe = recipe_with(rate_grid=[0.3, 1, 3])
    first, second = rounds_of(recipe, entries())
    assert [entry.name for entry in first] == ["majority", "features", "head", "head", "head"]
    assert [(entry.name, entry.seed) for entry in second] == [("features", 1), ("head", 1)]
    assert whole(recipe, side_by_side=1).seconds == 100 + 1 + 5 + 3 * 10 + 5 + 10


def test_what_is_not_known_is_counted_apart() -> None:
    found = whole(recipe_with(), side_by_side=1, without="head")
    assert (found.runs, found.unknown) == (3, 2) and found.seconds == pytest.approx(100 + 1 + 10)
