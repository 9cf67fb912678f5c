"""The exact choice against trying every set."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import pytest

from tunewise.methods.knapsack import Item, choose


def cost(items: list[Item], chosen: tuple[int, ...] | list[int]) -> float:
    return sum(items[n].own for n in chosen) + sum(item.onward for item in items[min(chosen) + 1 :]) if chosen else 0.0


def value(items: list[Item], chosen: tuple[int, ...] | list[int]) -> float:
    return sum(items[number].value for number in chosen if not items[number].always)


def best_of_all(items: list[Item], budget: float) -> float:
    """The largest value of all sets within the budget that hold what is always chosen."""
    fixed = {number for number, item in enumerate(items) if item.always}
    sets = (chosen for size in range(len(items) + 1) for chosen in combinations(range(len(items)), size))
    return max(
        (value(items, chosen) for chosen in sets if fixed <= set(chosen) and cost(items, chosen) <= budget), default=0.0
    )


def random_items(generator: np.random.Generator, count: int, whole: bool, head: int) -> list[Item]:
    own = (
        generator.integers(0, 9, count)
        if whole
        else generator.exponential(4.0, count) * generator.integers(0, 2, count)
    )
    onward = generator.integers(0, 7, count) if whole else generator.exponential(3.0, count)
    values = generator.normal(0.4, 0.6, count)
    return [Item(float(values[n]), float(own[n]), float(onward[n]), always=n >= count - head) for n in range(count)]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("head", [0, 2])
def test_as_good_as_the_best_of_all_sets(whole: bool, head: int) -> None:
    generator, chose = np.random.default_rng(head), 0
    for _ in range(60):
        items = random_items(generator, int(generator.integers(1, 11)), whole, head)
        budget = float(generator.uniform(0, 0.8) * (cost(items, list(range(len(items)))) + 1))
        chosen = choose(items, budget)
        fixed = [number for number, item in enumerate(items) if item.always]
        assert chosen == sorted(set(chosen)) and set(fixed) <= set(chosen)
        assert chosen == fixed or cost(items, chosen) <= budget
        assert all(items[number].value > 0 or items[number].always for number in chosen)
        assert value(items, chosen) == pytest.approx(best_of_all(items, budget), abs=1e-12)
        chose += len(chosen) > len(fixed)
    assert chose > 12


def test_twelve_items() -> None:
    items = random_items(np.random.default_rng(3), 12, False, 1)
    budget = 0.4 * cost(items, list(range(12)))
    assert value(items, choose(items, budget)) == pytest.approx(best_of_all(items, budget), abs=1e-12)


def test_by_hand() -> None:
    # First executed first. The deepest is worth most, but to reach it costs 4 + 4 + 1.
    items = [Item(5, 2, 4), Item(2, 2, 4), Item(2, 2, 4), Item(0.5, 1, 1)]
    assert choose(items, 2) == [3]  # the middle one costs 2 and its gradient comes through the last: 3
    assert choose(items, 3) == [2]
    assert choose(items, 4) == [2, 3]
    assert choose(items, 10) == [1, 2, 3]
    assert choose(items, 11) == [0]
    assert choose(items, 16) == [0, 1, 2, 3]
    assert choose(items, 0) == []


def test_what_is_always_chosen_is_chosen_even_beyond_the_budget_and_costs_what_it_costs() -> None:
    items = [Item(3, 1, 1), Item(-9, 5, 2, always=True)]
    assert choose(items, 1) == [1]
    assert choose(items, 7.9) == [1]
    assert choose(items, 8) == [0, 1]


def test_without_a_budget_every_positive_one_and_of_equals_the_cheapest() -> None:
    items = [Item(1, 5, 5), Item(0, 0, 1), Item(-1, 0, 1), Item(2, 1, 1)]
    assert choose(items, float("inf")) == [0, 3]
    assert choose([Item(1, 3, 0), Item(1, 2, 0)], 3) == [1]


@pytest.mark.parametrize("kind", ["model", "random"])
def test_hundreds_of_tensors_take_no_time(kind: str) -> None:
    generator = np.random.default_rng(0)
    own = generator.choice([0.0, 1.3e9, 1.3e9, 5.2e9], 340) if kind == "model" else generator.uniform(0, 1e9, 340)
    items = [Item(float(generator.uniform(-0.2, 1)), float(one), 1e9) for one in own]
    started = time.process_time()
    chosen = choose(items, 0.25 * cost(items, list(range(340))))
    assert time.process_time() - started < 1.0
    assert len(chosen) > 20
