"""The commands that prove something: that methods do what they promise, and that resuming is exact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunewise.cli.options import AllowCode, AsJson, Overrides, Proof, RecipePath
from tunewise.cli.told_errors import told_errors


def conformance(
    method: Annotated[list[str], typer.Option(help="A method; may be given more than once.")] = [],  # noqa: B006
    model: Annotated[list[str], typer.Option(help="A kind of model, such as bert.")] = [],  # noqa: B006
    only_sample: Annotated[
        bool, typer.Option("--sample", help="Each method and each model once, not all pairs.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="JSON file for the support matrix.")] = None,
    as_json: AsJson = False,
) -> None:
    """Prove on tiny models that methods do what they promise, or are refused with a reason."""
    with told_errors():
        from tunewise.cli.conforming import run_conformance

        if not run_conformance(method, model, only_sample, out, as_json):
            raise typer.Exit(1)


def verify(
    what: Annotated[Proof, typer.Argument(help="What to prove: that resuming is exact.")],
    recipe: RecipePath,
    method: Annotated[str | None, typer.Option(help="One method; where left out, every one of the recipe.")] = None,
    overrides: Overrides = [],  # noqa: B006
    kills: Annotated[int, typer.Option(min=1, help="How often to kill each run.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Decides the moments at which to kill.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Empty folder for the runs, removed at the end; beside the recipe if left out.")
    ] = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
) -> None:
    """Prove on your recipe that a run which is killed and resumed is, bit by bit, the run that never was.

    Trains with each method once uninterrupted, and once killed at random moments, most of them while it writes.
    """
    with told_errors():
        from tunewise.api import choose, load_recipe
        from tunewise.cli.verifying import verify_resume_of

        equal = verify_resume_of(
            choose(load_recipe(recipe, overrides), method),
            folder=recipe.resolve().parent,
            out=out,
            kills=kills,
            seed=seed,
            allow_code=allow_code,
            as_json=as_json,
        )
        if not equal:
            raise typer.Exit(1)
