"""`tunewise curve`: what more training rows would bring, against what a better method brings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tunewise.cli.watching import make_watcher
from tunewise.comparison.curve import SHARES, curve
from tunewise.errors import RecipeError
from tunewise.recipe import Recipe
from tunewise.report.curve_table import print_curve
from tunewise.report.curve_words import advise_curve


def draw_curve(
    recipe: Recipe,
    out: Path,
    *,
    folder: Path,
    shares: str | None,
    methods: Sequence[str],
    jobs: int | None,
    allow_code: bool,
    as_json: bool,
) -> bool:
    """Carries it out and prints what it says; whether all runs have finished."""
    watcher = make_watcher()
    try:
        done = curve(
            recipe,
            out,
            folder=folder,
            watcher=watcher,
            shares=SHARES if shares is None else read_shares(shares),
            methods=methods,
            allow_code=allow_code,
            side_by_side=jobs,
        )
    finally:
        watcher.close()
    if as_json:
        advice = advise_curve(done.content)
        said = {"headline": advice.headline, "text": advice.lead, "points": [point.text for point in advice.points]}
        print(json.dumps({**done.content, "advice": said}, allow_nan=False))
    else:
        print_curve(done.content)
        print(f"\nreport:  {done.report}\nresults: {done.out / 'curve.json'}")
    return all(run["status"] == "finished" for run in done.content["runs"])


def read_shares(text: str) -> list[float]:
    """The numbers in `0.1,0.2,0.5`.

    Raises:
        RecipeError: one is no number.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as problem:
        raise RecipeError(
            f"'{text}' is not a list of numbers", where="--shares", fix="write shares as 0.1,0.2,0.5"
        ) from problem
