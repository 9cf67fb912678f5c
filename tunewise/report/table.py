"""The comparison in the terminal: the advice in words and one table, within 100 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunewise.report.contents import Comparison
from tunewise.report.cost_columns import cost_columns
from tunewise.report.entries import Entry, entries_of
from tunewise.report.figures import NONE, interval, is_number, metric_name, plain, score
from tunewise.report.words import advise

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

WIDTH = 100
# The page has room for all; here these are left out first when the columns do not fit.
_LEAST_WANTED = ("flops", "predict_ms_per_example")


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """Prints the advice and the table; without a console, on standard output, at most 100 columns wide."""
    from rich.console import Console as RichConsole

    if console is None:
        console = RichConsole(highlight=False)
        console.width = min(console.width, WIDTH)
    console.print(terminal_report(comparison))


def terminal_report(comparison: Comparison) -> Group:
    """The advice and the table for rich. Texts from users are never read as markup and hold no control characters."""
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
    return Group(*parts, _table(comparison), Text(_note(comparison), style="dim"))


def _table(comparison: Comparison) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    entries = entries_of(comparison)
    columns = [column for column in cost_columns(entries) if column.key not in _LEAST_WANTED]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), header_style="dim")
    table.add_column("method", overflow="fold", min_width=8)
    table.add_column(Text(f"{metric_name(comparison['metric'])} on test"), overflow="fold")
    table.add_column("seeds ±", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(column.brief, justify="right", no_wrap=True)
    table.add_column("status", overflow="fold")
    for entry in entries:
        style = "bold" if entry.chosen else "dim" if entry.mark else ""
        table.add_row(
            Text(f"{'→ ' if entry.chosen else '  '}{plain(entry.name, 40)}"),
            Text(f"{score(entry.mean)} [{interval(entry.low, entry.high)}]" if is_number(entry.mean) else NONE),
            score(entry.sd),
            *(column.cell(entry)[0].replace("\u202f", " ") for column in columns),
            _status(entry),
            style=style,
        )
    return table


def _status(entry: Entry) -> Text:
    """Status, and what a failed run said."""
    from rich.text import Text

    error = next((run["error"]["what"] for run in entry.runs if run["error"]), None)
    text = ", ".join(part for part in (entry.mark, "" if entry.status == "finished" else plain(entry.status)) if part)
    if error:
        return Text(f"{text}: {plain(error, 80)}", style="red not dim")
    return Text(text or "ok")


def _note(comparison: Comparison) -> str:
    better = "higher" if comparison["greater_is_better"] else "lower"
    return f"[interval over test rows and seeds]; {better} is better; 1 point is 0.01; in the order of validation."
