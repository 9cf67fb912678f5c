"""The user's own rewards: `file.py:function` from the recipe's folder, run only where the user allows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunewise.errors import RecipeError
from tunewise.evaluate.own_code import REWARD, function_of

Judge = Callable[[Sequence[str], Sequence[str], Mapping[str, Sequence[str]]], list[float]]
"""From prompts, completions and the other columns of their rows to a reward for each."""


def load_reward_function(reference: str, folder: Path, allow_code: bool, where: str) -> Judge:
    """Calls the user's function and checks what it returns.

    Args:
        where: the option that names it.

    Raises:
        RecipeError: code is not allowed, the file is not in the folder or cannot be run, or holds no such function;
            later, the function fails or does not return a finite number for each completion.
    """
    function = function_of(reference, folder, allow_code, where, REWARD)

    def judge(prompts: Sequence[str], completions: Sequence[str], columns: Mapping[str, Sequence[str]]) -> list[float]:
        return _checked(
            _called(function, reference, where, prompts, completions, columns), completions, reference, where
        )

    return judge


def _called(
    function: Callable[..., Any],
    reference: str,
    where: str,
    prompts: Sequence[str],
    completions: Sequence[str],
    columns: Mapping[str, Sequence[str]],
) -> Any:
    others = {name: list(values) for name, values in columns.items() if name not in ("prompts", "completions")}
    try:
        return function(prompts=list(prompts), completions=list(completions), **others)
    except Exception as error:
        raise RecipeError(
            f"the reward '{reference}' failed: {type(error).__name__}: {error}"[:500],
            where=where,
            fix="it is called as function(prompts, completions, **columns) with lists of strings",
        ) from error


def _checked(rewards: Any, completions: Sequence[str], reference: str, where: str) -> list[float]:
    try:
        found = [float(reward) for reward in rewards]
    except (TypeError, ValueError):
        raise RecipeError(
            f"the reward '{reference}' must return a list of numbers, got {rewards!r}"[:300],
            where=where,
            fix="return one number for each completion",
        ) from None
    if len(found) != len(completions):
        raise RecipeError(
            f"the reward '{reference}' returned {len(found)} numbers for {len(completions)} completions",
            where=where,
            fix="return one number for each completion, in their order",
        )
    place = next((place for place, reward in enumerate(found) if not math.isfinite(reward)), None)
    if place is not None:
        raise RecipeError(
            f"the reward '{reference}' is {found[place]} for a completion: {completions[place]!r:.80}",
            where=where,
            fix="decide in the function what such a completion is worth; return a finite number",
        )
    return found
