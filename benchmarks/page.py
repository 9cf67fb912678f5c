"""`python -m benchmarks.page results.json`: writes the tables of docs/benchmarks.md between their marks.

Everything in a table is computed from the results: ratios round by round, then their median, least and greatest.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import further_tables, tables
from benchmarks.results import Results
from tunewise.commit import export_file

PAGE = Path(__file__).parent.parent / "docs/benchmarks.md"
TABLES: dict[str, Callable[[Results], str]] = {
    "machine": further_tables.machine,
    "times": tables.times,
    "quality": tables.quality,
    "methods": tables.by_method,
    "memory": tables.memory,
    "efficiency": further_tables.efficiency,
    "extraction": further_tables.extraction,
    "growth": further_tables.growth,
    "rates": further_tables.rates,
    "vocabulary": further_tables.vocabulary,
    "large": further_tables.large,
}


def render(page: str, results: Results) -> str:
    """The page with each table in its place.

    Raises:
        ValueError: a table has no place.
    """
    for name, table in TABLES.items():
        begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
        if begin not in page or end not in page:
            raise ValueError(f"the page has no place for the table '{name}': {begin} ... {end}")
        made = f"{begin}\n{table(results)}\n{end}"
        page = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, made=made: made, page, flags=re.DOTALL)
    return page


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("results", type=Path, help="what `python -m benchmarks --out` wrote")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with the marks (docs/benchmarks.md)")
    asked = parser.parse_args(arguments)
    if not asked.results.is_file():
        parser.error(f"there is no file {asked.results}")
    export_file(asked.page, render(asked.page.read_text(encoding="utf-8"), Results(asked.results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
