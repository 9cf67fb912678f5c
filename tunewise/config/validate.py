"""Checks plain data against a Config and reports every problem at once, each with its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from tunewise.config.base import Config
from tunewise.config.problems import MOST, find_problems
from tunewise.config.yaml_file import Located
from tunewise.errors import RecipeError

SHOWN = 20
"""Problems that are listed."""

AnyConfig = TypeVar("AnyConfig", bound=Config)


def validate(
    model: type[AnyConfig], data: Mapping[str, Any], located: Located | None = None, source: str = "recipe"
) -> AnyConfig:
    """The Config made from plain data.

    Args:
        model: the Config class.
        data: nested mappings, lists and scalars.
        located: tells where each key was written; without it, `source` is the place of all.
        source: what the data is called as a whole.

    Raises:
        RecipeError: lists every problem (the first SHOWN) as `file:line: key: what was expected and what came`.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems, many = find_problems(model, error, data), error.error_count() > MOST
    if located:
        problems.sort(key=lambda problem: located.line(problem.path))
    lines = []
    for problem in problems:
        place = located.place(problem.path) if located else source
        key = ".".join(str(step) for step in problem.path)
        lines.append(f"{place}: {key}: {problem.what}" if key else f"{place}: {problem.what}")
    if len(problems) == 1:
        raise RecipeError(lines[0], fix=problems[0].hint or None)
    hints = [f"; {problem.hint}" if problem.hint else "" for problem in problems]
    listed = [f"  {line}{hint}" for line, hint in zip(lines, hints, strict=True)]
    count = f"{'more than ' * many}{len(problems)} problems" + f", of which {SHOWN} are" * (len(problems) > SHOWN)
    raise RecipeError("\n".join([f"{source} has {count}:", *listed[:SHOWN]]))
