"""`tunewise runs` and `tunewise methods`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunewise.cli.printing import print_method, print_methods, print_runs
from tunewise.config.explain import fields_of
from tunewise.methods import METHODS, Method, find_method
from tunewise.methods.support import support_matrix
from tunewise.tracking.store import find_runs, table_row


def list_runs(places: Sequence[Path], metric: str | None, as_json: bool) -> None:
    """Every run below each folder, oldest first; what cannot be read is listed as that."""
    rows = [asdict(table_row(run, metric)) for folder in places for run in find_runs(folder)]
    if as_json:
        print(json.dumps(rows, indent=1))
    elif rows:
        start = places[0] if len(places) == 1 else Path()
        print_runs([{**row, "path": os.path.relpath(row["path"], start)} for row in rows])
    else:
        print(f"there are no runs in {', '.join(map(str, places))}")


def list_methods(names: Sequence[str], as_json: bool) -> None:
    """A table of all methods, or everything about some.

    Raises:
        RecipeError: there is no method of that name.
    """
    described = [describe_method(method) for method in map(find_method, names or METHODS)]
    if as_json:
        print(json.dumps(described, indent=1))
    elif names:
        for method in described:
            print_method(method)
    else:
        print_methods(described, (*support_matrix().families, *support_matrix().language_families))


def describe_method(method: type[Method]) -> dict[str, Any]:
    """All that is known of a method, as plain data. `support` goes by kind of model; kinds not tried are not there."""
    package = METHODS.package_of(method.name)
    return {
        "name": method.name,
        "group": method.group,
        "trains": method.trains,
        "explanation": " ".join((method.__doc__ or "").split()),
        "handover": method.handover,
        "tasks": list(method.tasks),
        "modalities": list(method.modalities),
        "control": method.control,
        "needs": list(method.packages),
        "source": method.source,
        "package": " ".join(package) if package else None,
        "learning_rate": " ".join((method.default_learning_rate.__doc__ or "").split()) if method.descends else None,
        "options": [option._asdict() for option in fields_of(method.Config)],
        "support": {family: asdict(pair) for family, pair in support_matrix().of(method.name).items()},
    }
