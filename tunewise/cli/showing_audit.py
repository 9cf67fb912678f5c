"""What `tunewise check` found, on the terminal: a summary, findings, what the data is, rows as the model gets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunewise.audit.rendered import Piece, folded
from tunewise.report.audit_words import (
    group_tables,
    headline,
    label_table,
    length_cells,
    length_heads,
    limit_told,
    summary_rows,
)
from tunewise.report.figures import seconds
from tunewise.tracking.progress import plain_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

LABELS_SHOWN = 12
TOKENS_SHOWN = 60
STYLES = {"special": "cyan", "lost": "red strike", "more": "dim", "text": "", "learnt": "green"}
SECOND = "blue"
MARKS = {
    "stops": ("STOPS", "bold red"),
    "found": ("found", "yellow"),
    "fine": ("fine", "green"),
    "left out": ("-", "dim"),
}


def print_audit(audit: Mapping[str, Any]) -> None:
    """`audit` as `Audit.as_dict` gives it. What comes from the data is never read as markup or as commands."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    _line(console, headline(audit), "bold")
    _print_summary(console, audit)
    for finding in audit["findings"]:
        _print_finding(console, finding, finding["kind"] in audit["blocking"])
    if audit["overview"]:
        _print_overview(console, audit["overview"])
    for row in audit["rendered"]:
        _print_row(console, row)


def _print_summary(console: Console, audit: Mapping[str, Any]) -> None:
    from rich.text import Text

    table = _table("", "", "", "")
    for row in summary_rows(audit):
        word, style = MARKS[row["state"]]
        took = seconds(row["seconds"]) if row["seconds"] is not None else ""
        table.add_row(
            Text(word, style=style), Text(plain_text(row["title"])), Text(plain_text(row["told"])), Text(took)
        )
    _show(console, table)


def _print_finding(console: Console, finding: Mapping[str, Any], blocks: bool) -> None:
    from rich.text import Text

    head = Text(
        plain_text(f"\u25cf {finding['kind']} in {finding['split']}"), style="bold red" if blocks else "bold yellow"
    )
    console.print(head.append(plain_text(f": {finding['what']}"), style="not bold default"))
    for example in finding["examples"]:
        line = Text(f"    row {example['row']}: ", style="dim").append(plain_text(example["text"]), style="not dim")
        console.print(line.append(plain_text(f"  {example['note']}"), style="not dim italic"))
    if finding["fix"]:
        console.print(Text("    to do: ", style="dim").append(plain_text(finding["fix"]), style="not dim"))


def _print_overview(console: Console, overview: Mapping[str, Any]) -> None:
    from rich.text import Text

    _line(console, f"\nThe data ({plain_text(overview['task'])}; {plain_text(limit_told(overview))})", "bold")
    table = _table(*length_heads(overview))
    for split in overview["splits"]:
        table.add_row(*(Text(plain_text(cell)) for cell in length_cells(split)))
    _show(console, table)
    heads, rows = label_table(overview)
    if rows:
        table = _table(*map(plain_text, heads))
        for row in rows[:LABELS_SHOWN]:
            table.add_row(*(Text(plain_text(cell)) for cell in row))
        _show(console, table)
        if len(rows) > LABELS_SHOWN:
            _line(console, f"and {len(rows) - LABELS_SHOWN:,} more: --json or --out has all", "dim")
    _print_groups(console, overview)
    table = _table("what was done", "rows in", "rows out", "why")
    table.columns[3].no_wrap, table.columns[3].overflow = False, "fold"
    for step in overview["steps"]:
        cells = (step["name"], f"{step['rows_in']:,}", f"{step['rows_out']:,}", step["reason"])
        table.add_row(*(Text(plain_text(cell)) for cell in cells))
    console.print(table)


def _print_groups(console: Console, overview: Mapping[str, Any]) -> None:
    from rich.text import Text

    for title, heads, rows in group_tables(overview, LABELS_SHOWN):
        table = _table(*map(plain_text, (title, *heads[1:])))
        for row in rows:
            table.add_row(*(Text(plain_text(cell)) for cell in row))
        _show(console, table)


def _print_row(console: Console, row: Mapping[str, Any]) -> None:
    from rich.text import Text

    lost = f", {row['lost']:,} lost" if row["lost"] else ""
    head = f"\nWhat the model gets of row {row['row']} of {row['split']} ({row['why']}; {row['tokens']:,} tokens{lost})"
    learnt = f", {row['learnt']:,} to learn (in green)" if row.get("learnt") is not None else ""
    label = f", labelled {row['label']}" if row["label"] else ""
    console.print(Text(plain_text(head), style="bold").append(plain_text(learnt + label), style="not bold"))
    console.print(rendered_text([Piece(**piece) for piece in row["pieces"]]))


def rendered_text(pieces: Sequence[Piece]) -> Text:
    """The tokens of a row with spaces between; where it is cut, what is lost stands between << and >>."""
    from rich.text import Text

    line, inside = Text("    "), False
    for piece in folded(pieces, TOKENS_SHOWN):
        lost = piece.part == "lost" or (piece.part == "more" and "lost" in piece.token)
        if lost != inside:
            line.append("<< " if lost else ">> ", style="red")
            inside = lost
        style = STYLES[piece.part] or (SECOND if piece.of == 1 else "")
        token = f"({piece.token})" if piece.part == "more" else piece.token
        line.append(plain_text(token), style=style)
        if piece.tag and piece.tag != "O":
            line.append(plain_text(f"/{piece.tag}"), style="green")
        line.append(" ")
    if inside:
        line.append(">>", style="red")
    return line


def _line(console: Console, text: str, style: str) -> None:
    from rich.text import Text

    console.print(Text(text if text.startswith("\n") else plain_text(text), style=style))


def _table(*columns: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD if any(columns) else None, pad_edge=False, header_style="dim", show_header=any(columns)
    )
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _show(console: Console, table: Any) -> None:
    """Prints a table whole: lines longer than the terminal wrap there, but nothing is cut."""
    from rich.measure import Measurement

    usual = console.width
    most = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    console.width = max(usual, most)
    console.print(table)
    console.width = usual
