"""Which runs of a comparison train in one pass over the base: trials of one method, which differ in their rate alone.

A run that shares its passes costs less than it would alone, and its memory is that of all: what costs are compared by
are the other seeds (or folds), which run alone. Where there are none, nothing is stacked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tunewise.check import Checked
from tunewise.comparison.entry import Entry
from tunewise.methods import find_method
from tunewise.recipe import Recipe


def stacks_trials(recipe: Recipe, checked: Checked) -> bool:
    """Whether this comparison has trials that may share their passes, and others that tell what a run costs alone."""
    others = len(recipe.all_seeds) > 1 or bool(recipe.data.folds)
    plain = not checked.data.schema.is_language and not recipe.train.gradient_checkpointing
    stacking = any(find_method(choice.name).stacks for choice in recipe.all_methods)
    return len(recipe.rate_grid) > 1 and others and plain and stacking


def stacked(
    entries: Sequence[Entry], most: Callable[[Entry], int], side_by_side: int, stacks: bool
) -> list[list[Entry]]:
    """The runs of each process: stacks first, since they take the longest, then the others in their order.

    A group is cut into as many stacks as processes run side by side, where there is not enough else to do for these.

    Args:
        most: how many runs train in one pass at most, on the model of an entry.
        stacks: whether there are to be any.
    """
    groups: dict[Any, list[Entry]] = {}
    for number, entry in enumerate(entries):
        groups.setdefault(_alike(entry) if stacks else number, []).append(entry)
    jobs: list[list[Entry]] = []
    for group in groups.values():
        parts, others = 1, len(entries) - len(group)
        if len(group) > 1:
            parts = math.ceil(len(group) / most(group[0]))
            if others < len(group):
                parts = max(parts, min(side_by_side, len(group)))
        jobs += [group[start::parts] for start in range(parts)]
    return sorted(jobs, key=len, reverse=True)


def _alike(entry: Entry) -> Any:
    """The same for runs that differ in their rate alone and can be stacked, else the run's own."""
    if entry.choice is None or not find_method(entry.choice.name).stacks:
        return entry.folder
    options = {name: value for name, value in entry.choice.options.items() if name != "rate_scale"}
    return entry.model, entry.choice.name, repr(sorted(options.items())), entry.seed, entry.fold
