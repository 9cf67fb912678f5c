"""`tunewise runs verify`: whether the files of runs and comparisons are still as they were written."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tunewise.errors import StoreError
from tunewise.tracking.progress import plain_text
from tunewise.tracking.store import find_folders
from tunewise.tracking.verification import Verified, verify_comparison, verify_run


def verify_runs(places: Sequence[Path], as_json: bool) -> bool:
    """Prints a line for each run and comparison below the places, and what is damaged; whether all is well.

    Raises:
        StoreError: a place is not there, or holds neither runs nor comparisons.
    """
    found = []
    for verified in _all_below(places):
        found.append(verified)
        if not as_json:
            _print(verified)
    if as_json:
        print(json.dumps([{**asdict(each), "path": str(each.path), "ok": each.ok} for each in found], indent=1))
    else:
        print(_summary(found))
    return all(each.ok for each in found)


def _all_below(places: Sequence[Path]) -> Iterator[Verified]:
    for place in places:
        runs, comparisons = find_folders(place)
        if not runs and not comparisons:
            raise StoreError(
                "there are no runs to verify", where=str(place), fix="name a folder that was given as --out before"
            )
        yield from map(verify_comparison, comparisons)
        yield from map(verify_run, runs)


def _print(found: Verified) -> None:
    word = "ok" if found.ok else "damaged"
    kind = "comparison, " if found.kind == "comparison" else ""
    print(f"{word:<8} {plain_text(_short(found.path))}  ({kind}{found.status})", flush=True)
    for damage in found.damages:
        what = damage.what.removeprefix(f"{Path(damage.file).name} ")
        print(f"         {plain_text(damage.file)}: {plain_text(what)}")
        if damage.fix:
            print(f"           to do: {plain_text(damage.fix)}")
    if found.leftovers:
        print(f"         left by a process that was killed: {', '.join(map(plain_text, found.leftovers))}")
    if found.note:
        print(f"         {plain_text(found.note)}")


def _short(path: Path) -> str:
    """From where the user stands, where the path is below it."""
    return os.path.relpath(path) if path.absolute().is_relative_to(Path.cwd()) else str(path)


def _summary(found: Sequence[Verified]) -> str:
    counts = Counter(each.kind for each in found)
    looked = ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in sorted(counts.items(), reverse=True))
    damaged = sum(not each.ok for each in found)
    return f"{looked}: " + (f"{damaged} damaged" if damaged else "all as they were written")
