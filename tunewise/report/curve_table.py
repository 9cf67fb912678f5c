"""A curve in the terminal: the advice in words, and a table of sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunewise.report.curve_page import Content, law_rows, method_rows, size_rows
from tunewise.report.curve_words import advise_curve
from tunewise.report.figures import metric_name, plain
from tunewise.report.table import NAME_WIDTH, WIDTH

if TYPE_CHECKING:
    from rich.console import Console


def print_curve(content: Content, console: Console | None = None) -> None:
    """Prints the advice and the tables; without a console, on standard output, at most 100 columns wide. Texts from
    users are never read as markup and hold no control characters."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console as RichConsole
    from rich.table import Table
    from rich.text import Text

    if console is None:
        console = RichConsole(highlight=False)
        console.width = min(console.width, WIDTH)
    advice = advise_curve(content)
    console.print(Text.assemble(advice.before, (advice.pick, "bold green"), advice.after, style="bold"))
    console.print(Text(advice.lead))
    points = Table.grid(padding=(0, 2))
    points.add_column(style="dim", no_wrap=True)
    points.add_column()
    for point in advice.points:
        points.add_row(Text(point.topic), Text(point.text, style="yellow" if point.warning else ""))
    console.print(points)

    def show(heads: list[str], rows: list[list[str]]) -> None:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for place, head in enumerate(heads):
            table.add_column(Text(head), justify="left" if place == 0 else "right")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)

    names = [plain(curve["name"], NAME_WIDTH) for curve in content["curves"]]
    metric = metric_name(content["metric"])
    show(
        ["share", "rows", *names],
        [
            [
                row["share"],
                row["rows"],
                *(f"{cell['score']} ({cell['interval']}) {cell['done']}" for cell in row["cells"]),
            ]
            for row in size_rows(content)
        ],
    )
    show(
        ["law of the error", "", "p", "last doubling", "twice the rows"],
        [[row["name"], row["law"], row["p"], row["doubling"], row["twice"]] for row in law_rows(content)],
    )
    show(
        ["on all rows", metric, "interval", "training"],
        [[row["name"], row["score"], row["interval"], row["seconds"]] for row in method_rows(content)],
    )
