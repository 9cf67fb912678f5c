"""`tunewise check`: what is wrong with the data of a recipe, told before anything trains."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tunewise.audit.audit import audit
from tunewise.cli.printing import print_audit
from tunewise.commit.room import check_writable
from tunewise.config.yaml_text import write_yaml
from tunewise.data.prepare import prepare
from tunewise.data.write_splits import check_new, write_splits
from tunewise.models.locate import locate
from tunewise.recipe import Recipe
from tunewise.tracking.progress import plain_text
from tunewise.types import DataBundle


def check_data(recipe: Recipe, folder: Path, as_json: bool, written: tuple[Path, str] | None = None) -> bool:
    """Prints what was found; whether it is nothing that the recipe wants to be stopped by.

    Args:
        written: where the data is written as training would get it, and the kind of file.
    """
    if written:
        check_new(written[0])
        check_writable(written[0])
    data = prepare(recipe.data, folder)
    if written:
        _write(recipe, folder, data, *written)
    found = audit(data, locate(recipe.all_models[0], folder), recipe.check)
    if as_json:
        print(json.dumps(found.as_dict(), allow_nan=False))
    else:
        print_audit(found.as_dict())
    return not found.of(recipe.check.block)


def _write(recipe: Recipe, folder: Path, data: DataBundle, target: Path, kind: str) -> None:
    """Writes the data, and tells how a recipe reads it. Not on stdout, where JSON may go."""
    section = write_splits(recipe.data, folder, data, target, kind)
    before = ", before balancing" if recipe.data.balance else ""
    print(f"written to {plain_text(str(target))}: {plain_text(', '.join(data.splits))}{before}", file=sys.stderr)
    print("a recipe in that folder reads the same data by", file=sys.stderr)
    for line in write_yaml({"data": section}).splitlines():
        print(f"    {plain_text(line)}", file=sys.stderr)
