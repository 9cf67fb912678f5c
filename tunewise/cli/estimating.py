"""`tunewise estimate`: what each method will cost, told before it trains."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from tunewise.cli.printing import print_estimate
from tunewise.estimation.answers import Answer, Refused
from tunewise.estimation.estimate import estimate
from tunewise.estimation.results import Estimate
from tunewise.recipe import Recipe
from tunewise.report.figures import seconds
from tunewise.tracking.progress import plain_text
from tunewise.types import Costs


class Silent:
    """Says nothing."""

    def on_plan(self, names: Sequence[str], side_by_side: int) -> None: ...

    def on_message(self, name: str, words: str) -> None: ...

    def on_end(self, name: str, said: Answer | Costs, took: float) -> None: ...


class Lines(Silent):
    """A line for each method that is done; on a terminal also what is being done, on the last line."""

    def __init__(self, stream: TextIO):
        self.stream, self.total, self.done = stream, 0, 0

    def on_plan(self, names: Sequence[str], side_by_side: int) -> None:
        self.total, self.done = len(names), 0

    def on_message(self, name: str, words: str) -> None:
        if self.stream.isatty():
            print(f"\r\x1b[K{plain_text(name)}: {plain_text(words)}", end="", file=self.stream, flush=True)

    def on_end(self, name: str, said: Answer | Costs, took: float) -> None:
        self.done += 1
        result = plain_text(said.problem.what) if isinstance(said, Refused) else f"done in {seconds(took)}"
        begin = "\r\x1b[K" if self.stream.isatty() else ""
        print(f"{begin}[{self.done}/{self.total}] {plain_text(name)}: {result}", file=self.stream, flush=True)


def print_estimate_of(
    recipe: Recipe,
    *,
    folder: Path,
    out: Path,
    jobs: int | None,
    budget: float,
    validate: bool,
    allow_code: bool,
    as_json: bool,
) -> bool:
    """Prints what the recipe's methods will cost, and on the error stream what will not fit; whether all fits."""
    found = estimate(
        recipe,
        folder=folder,
        out=out,
        watcher=Lines(sys.stderr),
        allow_code=allow_code,
        side_by_side=jobs,
        budget=budget,
        validate=validate,
    )
    if as_json:
        print(json.dumps(found.as_dict(), allow_nan=False))
    else:
        print_estimate(found.as_dict())
    _warn(found)
    return found.fits


def _warn(found: Estimate) -> None:
    named = [(f"{run.name}: ", run.problem) for run in found.runs if run.problem]
    for name, problem in (*named, *(("", warning) for warning in found.warnings)):
        lines = [f"{name}{problem.what}", f"where: {problem.where}", f"to do: {problem.fix}"]
        told = [lines[0], *(line for line, given in zip(lines[1:], (problem.where, problem.fix), strict=True) if given)]
        print("warning: " + "\n  ".join(plain_text(line) for line in told), file=sys.stderr)
