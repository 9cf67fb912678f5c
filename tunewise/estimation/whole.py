"""The whole comparison: its runs, in the order in which `compare` carries them out, and what they take together."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tunewise.comparison.entry import Entry
from tunewise.comparison.rates import is_tried, list_trials
from tunewise.estimation.answers import RunCost
from tunewise.recipe import Recipe

CHECKPOINTS_AT_A_TIME = 3
"""The two that are kept, and the next, before the older one is deleted."""

CostOf = Callable[[Entry], RunCost | None]


@dataclass(frozen=True)
class Whole:
    """`seconds` with `side_by_side` runs at a time, imports and data once for all; `disk_bytes` at most, `memory_bytes`
    of the runs that need most, side by side. `runs` are those counted; `unknown` have no estimate."""

    runs: int
    unknown: int
    side_by_side: int
    seconds: float
    forward_flops: float
    backward_flops: float
    memory_bytes: int
    disk_bytes: int


def rounds_of(recipe: Recipe, entries: Sequence[Entry]) -> list[list[Entry]]:
    """What runs, in one round or two: with a grid of rates, they are tried with the first seed (and fold) before the
    rest."""
    if not recipe.rate_grid:
        return [list(entries)]
    trials = list_trials(recipe, entries)
    return [trials, [entry for entry in entries if not is_tried(recipe, entry)]]


def whole_of(recipe: Recipe, entries: Sequence[Entry], cost_of: CostOf, side_by_side: int, before: float) -> Whole:
    """What all runs take.

    Args:
        cost_of: of a run, whatever its seed and rate; None where it is not known.
        before: seconds before the first run: the data, and imports for all.
    """
    rounds = [[cost_of(entry) for entry in part] for part in rounds_of(recipe, entries)]
    costs = [cost for part in rounds for cost in part if cost is not None]
    times = [[cost.seconds.marginal for cost in part if cost] for part in rounds]
    return Whole(
        runs=len(costs),
        unknown=sum(cost is None for part in rounds for cost in part),
        side_by_side=side_by_side,
        seconds=before + sum(finished_after(part, side_by_side) for part in times),
        forward_flops=sum(cost.forward_flops for cost in costs),
        backward_flops=sum(cost.backward_flops for cost in costs),
        memory_bytes=memory_of(costs, side_by_side),
        disk_bytes=sum(cost.saved_bytes for cost in costs) + checkpoints_of(costs, side_by_side),
    )


def finished_after(seconds: Iterable[float], side_by_side: int) -> float:
    """When the last is done, where each begins as soon as one before it ends."""
    free_at = [0.0] * side_by_side
    for took in seconds:
        heapq.heapreplace(free_at, free_at[0] + took)
    return max(free_at)


def memory_of(costs: Iterable[RunCost], side_by_side: int) -> int:
    """Of the runs that need most: what each has of its own, and once what they have in common."""
    most = sorted(costs, key=lambda cost: cost.peak_memory_bytes - cost.common_bytes)[-side_by_side:]
    own = sum(cost.peak_memory_bytes - cost.common_bytes for cost in most)
    return own + max((cost.common_bytes for cost in most), default=0)


def checkpoints_of(costs: Iterable[RunCost], side_by_side: int) -> int:
    """Of the runs with the largest, at the same time."""
    return CHECKPOINTS_AT_A_TIME * sum(sorted(cost.checkpoint_bytes for cost in costs)[-side_by_side:])
