"""`tunewise check --write-cleaned`: the data as training would get it, in files."""

from __future__ import annotations

import sys
from pathlib import Path

from tunewise.commit.room import check_writable
from tunewise.config.yaml_text import write_yaml
from tunewise.data.write_splits import check_new, write_splits
from tunewise.recipe import Recipe
from tunewise.tracking.progress import plain_text
from tunewise.types import DataBundle


def check_target(target: Path) -> None:
    """Before any data is read: nothing is there, and it can be written.

    Raises:
        StoreError: something is there, or it cannot.
    """
    check_new(target)
    check_writable(target)


def write_cleaned(recipe: Recipe, folder: Path, data: DataBundle, target: Path, kind: str) -> None:
    """Writes the data, and tells how a recipe reads it. Not on stdout, where JSON may go.

    Args:
        data: what the recipe reads.
        kind: parquet, jsonl or csv.
    """
    section = write_splits(recipe.data, folder, data, target, kind)
    before = ", before balancing" if recipe.data.balance else ""
    print(f"written to {plain_text(str(target))}: {plain_text(', '.join(data.splits))}{before}", file=sys.stderr)
    print("a recipe in that folder reads the same data by", file=sys.stderr)
    for line in write_yaml({"data": section}).splitlines():
        print(f"    {plain_text(line)}", file=sys.stderr)
