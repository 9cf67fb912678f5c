"""`tunewise check`: what is wrong with the data of a recipe, told before anything trains."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TextIO

from tunewise.check import check_data
from tunewise.cli.showing_audit import print_audit
from tunewise.cli.suspects import refuse_skipped, write_suspects
from tunewise.cli.writing_cleaned import check_target, write_cleaned
from tunewise.commit import export_file, sealed, sealed_page
from tunewise.commit.room import check_writable
from tunewise.data.prepare import prepare
from tunewise.recipe import Recipe, load_recipe
from tunewise.report.audit_page import render_audit
from tunewise.tracking.progress import plain_text

RESULT, PAGE = "check.json", "check.html"


class Silent:
    """Says nothing."""

    def on_check(self, title: str, share: float) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None: ...


class Lines(Silent):
    """A line for each check, as it begins."""

    def __init__(self, stream: TextIO):
        self.stream, self.title = stream, ""

    def on_check(self, title: str, share: float) -> None:
        if title != self.title:
            self.title = title
            print(f"looking: {plain_text(title)}", file=self.stream, flush=True)


class Bars(Silent):
    """A bar for each check, which goes when all are done: what was found has the seconds of each."""

    def __init__(self, stream: TextIO):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self.tasks: dict[str, int] = {}
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=Console(file=stream),
            transient=True,
        )

    def on_check(self, title: str, share: float) -> None:
        if title not in self.tasks:
            self.tasks[title] = self.bars.add_task(plain_text(title), total=1.0)
        self.bars.update(self.tasks[title], completed=share)

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.bars.stop()


def make_progress(stream: TextIO) -> Silent:
    """Bars on a terminal, lines elsewhere."""
    return Bars(stream) if stream.isatty() else Lines(stream)


def load_skipping(path: Path, overrides: Sequence[str], skip: Sequence[str]) -> Recipe:
    """The recipe in a file, with more kinds that are not looked for.

    Raises:
        RecipeError: the recipe is wrong, or there is no such kind.
    """
    recipe = load_recipe(path, overrides)
    if not skip:
        return recipe
    return load_recipe(path, [*overrides, f"check.skip={json.dumps([*recipe.check.skip, *skip])}"])


def check_recipe(
    recipe: Recipe,
    folder: Path,
    out: Path | None,
    as_json: bool,
    written: tuple[Path, str] | None = None,
    suspects: Path | None = None,
) -> bool:
    """Prints what was found, and leaves it in `out`; whether it is nothing that the recipe wants to be stopped by.

    Args:
        written: the folder that the data is written to as training would get it, and the kind of file.
        suspects: the file for labels that are likely wrong.
    """
    if suspects:
        refuse_skipped(recipe.check)
    if out is not None:
        check_writable(out)
    if written:
        check_target(written[0])
    recipe = recipe.as_stage(folder)
    data = prepare(recipe.data, folder)
    if written:
        write_cleaned(recipe, folder, data, *written)
    with make_progress(sys.stderr) as progress:
        found = check_data(recipe, folder, progress.on_check, data)
    told = write_suspects(found, data, recipe.data, suspects) if suspects else 0
    content = found.as_dict()
    if out is not None:
        write_audit(out, {"created": _now(), "recipe": recipe.as_dict(), **content})
    if as_json:
        print(json.dumps({key: value for key, value in content.items() if key != "pictures"}, allow_nan=False))
    else:
        print_audit(content)
        if suspects:
            print(f"{told:,} labels that are likely wrong: {plain_text(str(suspects))}")
        if out is not None:
            print(f"\npage:    {plain_text(str(out / PAGE))}\nresults: {plain_text(str(out / RESULT))}")
    return not found.blocked


def write_audit(out: Path, content: dict[str, Any]) -> None:
    """Writes check.json, with every row of every finding, then the page that is made of it.

    Raises:
        StoreError: they cannot be saved.
    """
    export_file(out / RESULT, sealed(content))
    export_file(out / PAGE, sealed_page(render_audit(content)))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
