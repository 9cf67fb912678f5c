"""`tunewise cache`: what runs keep for each other, and how to be rid of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from tunewise.cli.printing import print_cache
from tunewise.commit import Entry, default_cache
from tunewise.report.figures import size


def show_cache(as_json: bool) -> None:
    """Place, limit and entries, most recently used first."""
    cache = default_cache()
    entries = cache.entries()[::-1]
    used = sum(entry.bytes for entry in entries)
    if as_json:
        plain = {"root": str(cache.root), "limit": cache.limit, "used": used, "entries": [asdict(e) for e in entries]}
        print(json.dumps(plain, indent=1))
        return
    print_cache(str(cache.root), cache.limit, used, [_row(entry) for entry in entries])


def clear_cache(as_json: bool) -> None:
    """Removes all entries, and says how many and how much."""
    cache = default_cache()
    used = sum(entry.bytes for entry in cache.entries())
    count = cache.clear()
    if as_json:
        print(json.dumps({"root": str(cache.root), "removed": count, "bytes": used}, indent=1))
    else:
        print(f"removed {count} entries, {size(used)}, from {cache.root}")


def _row(entry: Entry) -> dict[str, Any]:
    about = entry.about
    rows, kept = about.get("rows"), about.get("kept_rows")
    return {
        "kind": about.get("kind"),
        "what": _what(about),
        "model": about.get("model"),
        "data": about.get("data"),
        "rows": rows if kept in (None, rows) else f"{kept:,} of {rows:,}",
        "size": size(entry.bytes),
        "used": datetime.fromtimestamp(entry.used).isoformat(sep=" ", timespec="minutes"),
    }


def _what(about: Mapping[str, Any]) -> str:
    parts = [about.get("what"), about.get("precision")]
    if "depth" in about:
        parts.insert(0, f"{about['depth']} of {about['blocks']} blocks")
    return ", ".join(str(part) for part in parts if part)
