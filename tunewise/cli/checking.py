"""`tunewise check`: what is wrong with the data of a recipe, told before anything trains."""

from __future__ import annotations

import json
from pathlib import Path

from tunewise.audit.audit import audit
from tunewise.cli.printing import print_audit
from tunewise.cli.suspects import refuse_skipped, write_suspects
from tunewise.data.prepare import prepare
from tunewise.models.locate import locate
from tunewise.recipe import Recipe


def check_data(recipe: Recipe, folder: Path, as_json: bool, suspects: Path | None = None) -> bool:
    """Prints what was found; whether it is nothing that the recipe wants to be stopped by."""
    if suspects:
        refuse_skipped(recipe.check)
    data = prepare(recipe.data, folder)
    found = audit(data, locate(recipe.all_models[0], folder), recipe.check)
    written = write_suspects(found, data, recipe.data, suspects) if suspects else 0
    if as_json:
        print(json.dumps(found.as_dict(), allow_nan=False))
    else:
        print_audit(found.as_dict())
        if suspects:
            print(f"{written:,} labels that are likely wrong: {suspects}")
    return not found.of(recipe.check.block)
