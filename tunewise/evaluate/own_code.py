"""Python code of the user: `file.py:function` from the recipe's folder, run only where the user allows it."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunewise.errors import RecipeError


@dataclass(frozen=True)
class Purpose:
    """What a function is for: its `name`, an `example` of a reference, and what to do instead of allowing code."""

    name: str
    example: str
    instead: str


METRIC = Purpose("metric", "my_metrics.py:profit", "leave the metric out")
REWARD = Purpose("reward", "my_rewards.py:brevity", "take a model as reward")


def function_of(reference: str, folder: Path, allow_code: bool, where: str, purpose: Purpose) -> Callable[..., Any]:
    """The function that a reference names.

    Args:
        where: the option that names it.

    Raises:
        RecipeError: code is not allowed, the reference is not `file.py:function`, the file is not in the folder or
            cannot be run, or it holds no such function.
    """
    if not allow_code:
        raise RecipeError(
            f"the {purpose.name} '{reference}' is Python code, which a recipe may not run by itself",
            where=where,
            fix=f"read the file, then pass --allow-code (in Python: allow_code=True), or {purpose.instead}",
        )
    file, _, name = reference.rpartition(":")
    if not file.endswith(".py") or "\0" in file or not name.isidentifier():
        raise RecipeError(
            f"expected file.py:function, got '{reference}'", where=where, fix=f"write for instance {purpose.example}"
        )
    function = getattr(_run_file(file, folder, where), name, None)
    if not callable(function):
        raise RecipeError(f"'{file}' holds no function '{name}'", where=where, fix=f"define {name} in {file}")
    return function


def _run_file(file: str, folder: Path, where: str) -> Any:
    """The module of a file in the recipe's folder, which the user has allowed to run.

    Raises:
        RecipeError: it is not in that folder, or cannot be run.
    """
    home = folder.resolve()
    path = (folder / file).resolve()
    if not path.is_relative_to(home):
        raise RecipeError(
            f"the file of a function must lie in the recipe's folder, but '{file}' does not",
            where=where,
            fix=f"copy it into {home}",
        )
    if not path.is_file():
        raise RecipeError(f"there is no file '{file}' in the recipe's folder", where=where, fix=f"looked at {path}")
    module_name = f"tunewise_own_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name while they are made.
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise RecipeError(
            f"'{file}' cannot be run: {type(error).__name__}: {error}", where=where, fix=f"correct {file}"
        ) from error
    return module
