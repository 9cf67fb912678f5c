"""Tables on the terminal: one run, new scores, many runs, the methods. Text from users is never read as markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunewise.report.figures import flops, interval, score, seconds, size
from tunewise.tracking.progress import plain_text

if TYPE_CHECKING:
    from rich.table import Table


def print_run(record: Mapping[str, Any], metric: str) -> None:
    """What a run gives and costs; `metric` comes first."""
    for split, scores in record["scores"].items():
        print(f"\n{plain_text(split)} ({record['data']['rows'][split]:,} rows)")
        print_scores({metric: scores[metric], **scores})
    costs = record["costs"]
    trainable, total = costs["trainable_parameters"], costs["total_parameters"]
    print(
        f"\ntraining {seconds(costs['train_seconds'])} (in all {seconds(costs['total_seconds'])}), "
        f"{flops(costs['forward_flops'] + costs['backward_flops'])}, peak memory {size(costs['peak_memory_bytes'])}, "
        f"{trainable:,} of {total:,} parameters trained, {size(costs['saved_bytes'])} saved"
    )
    for line in (*record["notes"], *record["warnings"]):
        print(f"note: {plain_text(line)}")


def print_scores(scores: Mapping[str, Mapping[str, float]]) -> None:
    """Metric, value, interval."""
    table = _table("metric", "value", "interval")
    for name, found in scores.items():
        table.add_row(*_texts(name, score(found["value"]), interval(found["low"], found["high"])))
    _show(table)


def print_runs(rows: Sequence[Mapping[str, Any]]) -> None:
    """One line per run, in the order given; what could not be read is said below."""
    table = _table("run", "method", "status", "score", "interval", "train", "saved")
    for row in rows:
        known = row["score"] is not None
        table.add_row(
            *_texts(
                row["path"],
                row["method"],
                row["status"],
                f"{row['metric']} {score(row['score'])}" if known else None,
                interval(row["low"], row["high"]) if known else None,
                seconds(row["train_seconds"]) if row["train_seconds"] is not None else None,
                size(row["saved_bytes"]) if row["saved_bytes"] else None,
            )
        )
    _show(table)
    for row in rows:
        if row["problem"]:
            print(f"{plain_text(row['path'])}: {plain_text(row['problem'])}")


def print_methods(methods: Sequence[Mapping[str, Any]]) -> None:
    """Each method with its options."""
    for method in methods:
        print(f"{method['name']}: {method['trains']}")
        print(f"    hands over: {method['handover']} folder    source: {method['source']}")
        for option in method["options"]:
            print(f"    {option['path']} ({option['default'] or option['type']}): {option['explanation']}")
        print()


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _texts(*values: Any) -> list[Any]:
    from rich.text import Text

    return [Text("" if value is None else plain_text(str(value))) for value in values]


def _show(table: Table) -> None:
    """Prints a table whole: lines longer than the terminal wrap there, but nothing is cut."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(highlight=False)
    console.width = max(console.width, Measurement.get(console, console.options.update(max_width=1000), table).maximum)
    console.print(table)
