"""`tunewise check`: what is wrong with the data of a recipe, told before anything trains."""

from __future__ import annotations

import json
from pathlib import Path

from tunewise.audit.audit import audit
from tunewise.cli.printing import print_audit
from tunewise.cli.writing_cleaned import check_target, write_cleaned
from tunewise.data.prepare import prepare
from tunewise.models.locate import locate
from tunewise.recipe import Recipe


def check_data(recipe: Recipe, folder: Path, as_json: bool, written: tuple[Path, str] | None = None) -> bool:
    """Prints what was found; whether it is nothing that the recipe wants to be stopped by.

    Args:
        written: the folder that the data is written to as training would get it, and the kind of file.
    """
    if written:
        check_target(written[0])
    data = prepare(recipe.data, folder)
    if written:
        write_cleaned(recipe, folder, data, *written)
    found = audit(data, locate(recipe.all_models[0], folder), recipe.check)
    if as_json:
        print(json.dumps(found.as_dict(), allow_nan=False))
    else:
        print_audit(found.as_dict())
    return not found.of(recipe.check.block)
