"""The comparison in the terminal: the advice in words and one table, within 100 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunewise.report.contents import Comparison
from tunewise.report.cost_columns import cost_columns
from tunewise.report.entries import Entry, entries_of, stacked_names
from tunewise.report.figures import in_points, interval, metric_name, plain, score
from tunewise.report.words import advise

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

WIDTH = 100
NAME_WIDTH = 24
RANKS = (
    "always",
    "train_seconds",
    "peak_memory_bytes",
    "trainable_parameters",
    "sd",
    "saved_bytes",
    "flops",
    "predict_ms_per_example",
)
"""What is left out where a terminal is narrow, from the end."""


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """Prints the advice and the table; without a console, on standard output, at most 100 columns wide."""
    from rich.console import Console as RichConsole

    if console is None:
        console = RichConsole(highlight=False)
        console.width = min(console.width, WIDTH)
    console.print(terminal_report(comparison, min(console.width, WIDTH)))


def terminal_report(comparison: Comparison, width: int = WIDTH) -> Group:
    """The advice and the table for rich; columns that do not fit are left out.

    Texts from users are never read as markup and hold no control characters.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    advice = advise(comparison)
    headline = Text.assemble(advice.before, (advice.pick, "bold green"), advice.after, style="bold")
    points = Table.grid(padding=(0, 2))
    points.add_column(style="dim", no_wrap=True)
    points.add_column()
    topic = ""
    for point in advice.points:
        same, topic = point.topic == topic, point.topic
        points.add_row(Text("" if same else topic), Text(point.text, style="yellow" if point.warning else ""))
    parts = [headline, Text(advice.lead), *([Text(), points] if advice.points else []), Text()]
    problems = [Text(line, style="red") for line in _problems(entries_of(comparison))]
    return Group(*parts, _table(comparison, width), *problems, Text(_note(comparison), style="dim"))


def _table(comparison: Comparison, width: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    entries = entries_of(comparison)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), header_style="dim")
    columns = _fitting(_columns(entries, comparison), width)
    for head, _, _cells in columns:
        is_text = head in ("method", "status")
        table.add_column(Text(head), justify="left" if is_text else "right", no_wrap=True, overflow="ellipsis")
    for place, entry in enumerate(entries):
        style = "bold" if entry.chosen else "dim" if entry.mark else ""
        table.add_row(*(Text(cells[place]) for _, _, cells in columns), style=style)
    return table


def _columns(entries: list[Entry], comparison: Comparison) -> list[tuple[str, int, list[str]]]:
    """Heading, how soon it is left out where there is no room (0: never), and cells."""
    costs = [
        (column.brief, RANKS.index(column.key), [column.cell(entry)[0].replace("\u202f", " ") for entry in entries])
        for column in cost_columns(entries)
    ]
    return [
        ("method", 0, [f"{'→' if entry.chosen else ' '} {plain(entry.name, NAME_WIDTH)}" for entry in entries]),
        (metric_name(comparison["metric"]), 0, [score(entry.mean) for entry in entries]),
        ("interval", 0, [interval(entry.low, entry.high).replace(" to ", "–") for entry in entries]),
        ("±", RANKS.index("sd"), [score(entry.sd) for entry in entries]),
        *costs,
        ("status", 0, [_status(entry) for entry in entries]),
    ]


def _fitting(columns: list[tuple[str, int, list[str]]], width: int) -> list[tuple[str, int, list[str]]]:
    """The columns that fit, those of high rank left out first."""
    kept = list(columns)
    while sum(max(map(len, [head, *cells])) + 3 for head, _, cells in kept) > width:
        last = max(kept, key=lambda column: column[1])
        if last[1] == 0:
            break
        kept.remove(last)
    return kept


def _status(entry: Entry) -> str:
    status = plain(entry.status).replace(" finished", " done").replace("finished", "")
    return ", ".join(part for part in (entry.mark, status) if part) or "ok"


def _problems(entries: list[Entry]) -> list[str]:
    """What failed runs said, one line for each entry and message."""
    lines = [
        f"{plain(entry.name, NAME_WIDTH)}: {plain(run['error']['what'], 300)}"
        for entry in entries
        for run in entry.runs
        if run["error"]
    ]
    return list(dict.fromkeys(lines))


def _note(comparison: Comparison) -> str:
    better = "higher" if comparison["greater_is_better"] else "lower"
    unit = " 1 point is 0.01;" if in_points(comparison["metric"]) else ""
    note = f"{better} is better; intervals over test rows and seeds;{unit} in the order of validation"
    if folds := comparison.get("folds"):
        note += (
            f"\n{folds['count']} folds: each of {folds['rows']:,} rows is tested once, a seed's folds scored as one"
            "\nvalidation is the mean over folds, costs are those of one fold"
        )
    rates = comparison.get("rates") or []
    if rates:
        scales = ", ".join(f"{scale:g}" for scale in sorted({rate["scale"] for rate in rates}))
        note += f"\neach method's learning rate is the best on validation of {scales} times its own"
    if stacked := stacked_names(comparison):
        note += f"\ntrials of {', '.join(stacked)} trained in one pass over the base; costs are those of runs alone"
    if edges := [plain(rate["name"], NAME_WIDTH) for rate in rates if rate["at_edge"] and rate["chosen"]]:
        note += f"\nbest at an edge of what was tried, so more might be gained beyond: {', '.join(edges)}"
    return note
