"""`tunewise runs` and `tunewise methods`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunewise.cli.printing import print_methods, print_runs
from tunewise.config.explain import fields_of
from tunewise.methods import METHODS, Method
from tunewise.tracking.store import find_runs, table_row


def list_runs(folder: Path, metric: str | None, as_json: bool) -> None:
    """Every run below a folder, oldest first; what cannot be read is listed as that."""
    rows = [asdict(table_row(run, metric)) for run in find_runs(folder)]
    if as_json:
        print(json.dumps(rows, indent=1))
    elif rows:
        print_runs([{**row, "path": os.path.relpath(row["path"], folder)} for row in rows])
    else:
        print(f"there are no runs in {folder}")


def list_methods(as_json: bool) -> None:
    """Every method with its options and their defaults."""
    described = [describe_method(method) for method in METHODS.values()]
    if as_json:
        print(json.dumps(described, indent=1))
    else:
        print_methods(described)


def describe_method(method: type[Method]) -> dict[str, Any]:
    return {
        "name": method.name,
        "trains": method.trains,
        "handover": method.handover,
        "tasks": list(method.tasks),
        "needs": list(method.packages),
        "source": method.source,
        "options": [option._asdict() for option in fields_of(method.Config)],
    }
