"""`tunewise conformance`: every method with every kind of model, proven or refused with a reason."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewise.cli.printing import print_conformance
from tunewise.commit import export_file
from tunewise.conformance.models import FAMILIES
from tunewise.errors import RecipeError
from tunewise.methods import METHODS, find_method
from tunewise.tracking.progress import plain_text

if TYPE_CHECKING:
    from tunewise.conformance.checks import Outcome


def run_conformance(
    methods: Sequence[str], families: Sequence[str], only_sample: bool, out: Path | None, as_json: bool
) -> bool:
    """Tries the pairs, prints what came of them, and writes the support matrix; whether every check passed.

    Raises:
        RecipeError: an unknown method or model; a package is missing that the matrix needs.
    """
    names = [find_method(name).name for name in methods] or list(METHODS)
    named = [_family(name) for name in families]

    from tunewise.conformance.matrix import all_pairs, missing_packages, nearest_working, sample, support_matrix, trials

    left_out = {name: missing for name in (*names, *(named or FAMILIES)) if (missing := missing_packages(name))}
    lacking = left_out if out else {name: left_out[name] for name in named if name in left_out}
    if lacking:
        raise RecipeError(
            f"'{next(iter(lacking))}' cannot be tried here"
            + (", and the support matrix has every pair" if out else ""),
            fix=f"install {', '.join(sorted({package for missing in lacking.values() for package in missing}))}",
        )
    able = [name for name in names if name not in left_out]
    families = [family for family in named or FAMILIES if family not in left_out]
    with trials() as conform:
        pairs = (sample if only_sample else all_pairs)(conform, able, families)
        outcomes = nearest_working(list(_followed(pairs, None if only_sample else len(able) * len(families))))

    failed = any(outcome.status == "failed" for outcome in outcomes)
    if out and not failed:
        export_file(out, json.dumps(support_matrix(outcomes), indent=1) + "\n")
    if as_json:
        print(json.dumps(_as_json(outcomes, left_out), indent=1))
    else:
        print_conformance([asdict(outcome) for outcome in outcomes], left_out)
        if out:
            print(f"\n{out} was {'not written: there are failures' if failed else 'written'}")
    return not failed


def _family(name: str) -> str:
    if name in FAMILIES:
        return name
    near = difflib.get_close_matches(name, FAMILIES, n=1)
    raise RecipeError(
        f"there is no tiny model '{name}'",
        fix=(f"did you mean '{near[0]}'? " if near else "") + f"The models are: {', '.join(FAMILIES)}",
    )


def _followed(outcomes: Iterable[Outcome], total: int | None) -> Iterable[Outcome]:
    """Shows a bar on a terminal, a line per pair elsewhere; failures are told in both."""
    from rich.console import Console
    from rich.progress import Progress

    shows_bar = sys.stderr.isatty()
    with Progress(console=Console(stderr=True), transient=True, disable=not shows_bar) as bar:
        task = bar.add_task("", total=total)
        for number, outcome in enumerate(outcomes, 1):
            bar.update(task, advance=1, description=f"{outcome.method} x {outcome.model}")
            if not shows_bar or outcome.status == "failed":
                place = f"[{number}/{total}]" if total else f"[{number}]"
                failure = f" ({outcome.check}: {outcome.reason})" if outcome.status == "failed" else ""
                line = f"{place} {outcome.method} x {outcome.model}: {outcome.status}{failure}, {outcome.seconds:.1f} s"
                print(plain_text(line), file=sys.stderr, flush=True)
            yield outcome


def _as_json(outcomes: Sequence[Outcome], left_out: dict[str, list[str]]) -> dict[str, Any]:
    return {"pairs": [asdict(outcome) for outcome in outcomes], "left_out": left_out}
