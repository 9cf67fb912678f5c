"""`tunewise init`: a first recipe from a look at the data."""

from __future__ import annotations

import os
from pathlib import Path

from tunewise.commit import export_file
from tunewise.data.draft import draft_recipe
from tunewise.errors import RecipeError
from tunewise.models.locate import EMBEDDED_NAME
from tunewise.recipe import Recipe


def write_first_recipe(data: Path, out: Path, model: str | None) -> None:
    """Writes the recipe and says what to do next; never over a file that is there."""
    if out.exists():
        raise RecipeError(f"{out} is there already", where=str(out.resolve()), fix="give another name by --out")
    folder = out.resolve().parent
    source = str(data) if ":" in str(data) else os.path.relpath(data.resolve(), folder)
    export_file(out, draft_recipe(source, model, Recipe, folder, EMBEDDED_NAME))
    print(f"wrote {out}; look it through, then:\n  tunewise compare {out} --out runs/first")
