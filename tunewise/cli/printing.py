"""Tables on the terminal: runs, scores, methods, conformance. Text from users is never read as markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from tunewise.methods.base import Group
from tunewise.methods.support import LANGUAGE
from tunewise.report.drawn import drawn_lines
from tunewise.report.figures import flops, interval, score, seconds, size
from tunewise.report.samples import forgotten, sample_lines
from tunewise.tracking.progress import plain_text

if TYPE_CHECKING:
    from rich.table import Table

METHODS_WIDTH = 100


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
    for line in sample_lines(record.get("texts") or {}):
        print(plain_text(line))
    if record.get("forgetting"):
        print(forgotten(record["forgetting"]))
    for line in drawn_lines(record.get("drawn") or {}):
        print(plain_text(line))
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


def print_methods(methods: Sequence[Mapping[str, Any]], families: Sequence[str]) -> None:
    """A row per method, by group, at most 100 columns wide."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    console.width = min(console.width, METHODS_WIDTH)
    longest = max(len(method["name"]) for method in methods)

    def columns(headed: bool) -> Table:
        table = Table(box=None, show_header=headed, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
        table.add_column("method", width=longest, no_wrap=True)
        table.add_column("trains", ratio=5)
        table.add_column("gives labels", ratio=3, style="dim")
        table.add_column("writes", ratio=3, style="dim")
        return table

    console.print(columns(headed=True), Text())
    for group in get_args(Group):
        table = columns(headed=False)
        for method in methods:
            if method["group"] == group:
                table.add_row(*_texts(method["name"], method["trains"], *_works_with(method)))
        if table.row_count:
            console.print(Text(group, style="bold"), table, Text())
    labels, writing = (
        ", ".join(name.removesuffix(LANGUAGE) for name in families if name.endswith(LANGUAGE) == writes)
        for writes in (False, True)
    )
    tried = f"As tried on tiny models that give labels ({labels}) and that write ({writing}). "
    console.print(Text(tried + "Options, source, and why not with a kind of model: tunewise methods NAME"))


def works_with(method: Mapping[str, Any]) -> str:
    """The kinds of models that give labels, in few words; then those that write, where they were tried."""
    labels, writing = _works_with(method)
    return f"{labels}; writing: {writing}" if labels and writing else labels or f"writing: {writing}"


def _works_with(method: Mapping[str, Any]) -> tuple[str, str]:
    """The same of each; "" where none was tried, but for a method that was not tried at all."""
    if not method["support"]:
        return f"not tried yet: tunewise conformance --method {method['name']}", ""
    labels = {family: pair for family, pair in method["support"].items() if not family.endswith(LANGUAGE)}
    writing = {family.removesuffix(LANGUAGE): p for family, p in method["support"].items() if family not in labels}
    return _in_words(labels), _in_words(writing)


def _in_words(support: Mapping[str, Any]) -> str:
    works = [family for family, pair in support.items() if pair["status"] == "works"]
    refused = [family for family, pair in support.items() if pair["status"] == "refused"]
    if not support or not refused:
        return "all" if support else ""
    return f"all but {', '.join(refused)}" if len(refused) < len(works) else ", ".join(works) or "none"


def print_method(method: Mapping[str, Any]) -> None:
    """Everything about a method."""
    print(f"{method['name']}: {plain_text(method['trains'])}")
    facts = {
        "": method["explanation"],
        "group": method["group"],
        "source": method["source"],
        "package": method["package"],
        "tasks": ", ".join(method["tasks"]),
        "needs": ", ".join(method["needs"]),
        "hands over": f"{method['handover']} folder",
        "learning rate where none is given": method["learning_rate"],
        "works with": works_with(method),
    }
    for fact, told in facts.items():
        if told:
            print(f"    {fact}{': ' if fact else ''}{plain_text(told)}")
    for family, pair in method["support"].items():
        if pair["status"] == "refused":
            print(f"        {family}: {plain_text(pair['reason'])} (instead: {pair['instead']})")
    print("    options:")
    for option in method["options"]:
        print(f"        {option['path']} ({option['default'] or option['type']}): {plain_text(option['explanation'])}")
    print()


def print_conformance(outcomes: Sequence[Mapping[str, Any]], left_out: Mapping[str, Sequence[str]]) -> None:
    """A row per method, a column per model; below, why what is refused is refused, and what failed."""
    by_pair = {(outcome["method"], outcome["model"]): outcome for outcome in outcomes}
    models = list(dict.fromkeys(outcome["model"] for outcome in outcomes))
    marks = {"works": "yes", "refused": "-", "failed": "FAILED"}
    table = _table("method", *models)
    for method in dict.fromkeys(outcome["method"] for outcome in outcomes):
        found = [by_pair.get((method, model)) for model in models]
        table.add_row(*_texts(method, *(marks[outcome["status"]] if outcome else None for outcome in found)))
    _show(table)
    for outcome in outcomes:
        if outcome["status"] != "works":
            told = f"instead: {outcome['instead']}" if outcome["status"] == "refused" else f"FAILED: {outcome['check']}"
            print(plain_text(f"{outcome['method']} x {outcome['model']}: {outcome['reason']} ({told})"))
    for method, packages in left_out.items():
        print(f"{method} was left out: it needs {', '.join(packages)}")
    counts = {status: sum(outcome["status"] == status for outcome in outcomes) for status in marks}
    print(f"pairs: {counts['works']} work, {counts['refused']} are refused with a reason, {counts['failed']} failed")


def print_estimate(estimate: Mapping[str, Any]) -> None:
    """What each method will cost, the whole comparison, and what will not fit; where runs were made, how far off."""
    table = _table("method", "FLOPs", "memory", "training", "evaluation", "whole run", "saved", "")
    for run in estimate["runs"]:
        table.add_row(*_texts(run["name"], *_estimated(run["cost"]), "" if run["status"] == "fits" else run["status"]))
    _show(table)
    for run in estimate["runs"]:
        for line in run["cost"]["notes"] if run["cost"] else ():
            print(f"{plain_text(run['name'])}: {plain_text(line)}")
    whole, threads = estimate["comparison"], max(tuned["threads"] for tuned in estimate["tuned"].values())
    unknown = f", and {whole['unknown']} that have no estimate" if whole["unknown"] else ""
    print(
        f"tunewise compare: {whole['runs']} runs{unknown}, {whole['side_by_side']} at a time with {threads} "
        f"thread{'s' if threads > 1 else ''} each: {seconds(whole['seconds'])}, "
        f"{flops(whole['forward_flops'] + whole['backward_flops'])}, {size(whole['memory_bytes'])} of memory, "
        f"{size(whole['disk_bytes'])} on disk"
    )
    if estimate["median_errors"]:
        print_errors(estimate)


def _estimated(cost: Mapping[str, Any] | None) -> list[str | None]:
    if cost is None:
        return [None] * 6
    parts = cost["seconds"]
    return [
        flops(cost["forward_flops"] + cost["backward_flops"]),
        size(cost["peak_memory_bytes"]),
        seconds(parts["train"]),
        seconds(parts["validate"] + parts["evaluate"]),
        seconds(parts["total"]),
        size(cost["saved_bytes"]),
    ]


def print_errors(estimate: Mapping[str, Any]) -> None:
    """By how much each estimate is above or below what the run took, and the median of that without its sign."""
    named = {
        "flops": "FLOPs",
        "peak_memory_bytes": "memory",
        "train_seconds": "training",
        "total_seconds": "whole run",
        "predict_ms_per_example": "prediction",
        "saved_bytes": "saved",
    }
    table = _table("estimate against truth", *named.values())
    for run in estimate["runs"]:
        if run["truth"]:
            errors = run["errors"]
            table.add_row(*_texts(run["name"], *(f"{errors[key]:+.1%}" if key in errors else None for key in named)))
    medians = estimate["median_errors"]
    table.add_row(*_texts("median", *(f"{medians[key]:.1%}" if key in medians else None for key in named)))
    _show(table)


def print_proofs(proofs: Mapping[str, Any]) -> None:
    """A row for each kill; below, what differs, and where it can be looked at."""
    table = _table("method", "killed while", "after step", "resumed at", "steps redone", "equal")
    for run in proofs["runs"]:
        equal = "yes" if run["equal"] else "NO"
        for number, kill in enumerate(run["kills"]):
            numbers = (kill["step"], kill["resumed_at"], kill["redone"])
            name = "" if number else run["name"]
            table.add_row(*_texts(name, kill["landed"], *(None if n is None else str(n) for n in numbers), equal))
        if not run["kills"]:
            table.add_row(*_texts(run["name"], "was not killed", None, None, None, equal))
    _show(table)
    for run in proofs["runs"]:
        if not run["equal"]:
            print(plain_text(f"{run['name']} differs: {', '.join(run['differs'])}"))
            if run["repeatable"] is False:
                print("    so does a second run that is not interrupted: this machine does not compute the same twice")
    print(
        f"{proofs['kills']} kills, {proofs['in_danger']} of them while saving, validating, evaluating or exporting: "
        + ("every resumed run is the uninterrupted one, bit by bit" if proofs["equal"] else "NOT equal")
    )
    if proofs["folder"]:
        print(f"the runs are kept in {plain_text(proofs['folder'])}")


def print_cache(root: str, limit: int, used: int, entries: Sequence[Mapping[str, Any]]) -> None:
    """Where the cache is, how full, and a row for each entry."""
    state = f"{size(used)} of {size(limit)} used" if limit else "switched off by TUNEWISE_CACHE_LIMIT"
    print(f"cache: {plain_text(root)}, {state}, {len(entries)} entries")
    if not entries:
        return
    columns = ("kind", "what", "model", "data", "rows", "size", "used")
    table = _table("kind", "what", "model", "data", "rows", "size", "last use")
    for entry in entries:
        table.add_row(*_texts(*(entry[column] for column in columns)))
    _show(table)


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
