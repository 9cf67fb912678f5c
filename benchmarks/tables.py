"""Tables of the jobs that the peers do too: time, quality, memory."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.jobs import EXPERT, GUIDE, OURS, SIDE_BY_SIDE, SIDES, Job
from benchmarks.ratios import Ratio, mean, middle, ratio
from benchmarks.results import Results

NOT_MEASURED = "Not measured yet."
WITHIN = 0.01  # of accuracy: one point
LETTER = {GUIDE: "(a)", EXPERT: "(b)"}
NAMES = ("(a)", "(b)", "ours")


def table_of(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; one sentence where there is no row."""
    if not rows:
        return NOT_MEASURED
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def reached(is_reached: bool | None) -> str:
    return {True: "yes", False: "**no**", None: ""}[is_reached]


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def megabytes(value: float | None) -> str:
    return "" if value is None else f"{value / 1e6:,.0f} MB"


def share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def time_of(job: Job) -> str:
    """What counts: the whole command of a comparison, else the training alone."""
    return "command_seconds" if job.name == "comparison" else "train_seconds"


def times(results: Results) -> str:
    columns = ["job", "(a)", "(b)", "ours"]
    for side in (GUIDE, EXPERT):
        columns += [f"{LETTER[side]} / ours", "at least", "reached"]
    rows = [_times(results, job) for job in SIDE_BY_SIDE if results.of(job.name, OURS)]
    return table_of(columns, rows)


def _times(results: Results, job: Job) -> list[str]:
    key, ours = time_of(job), results.of(job.name, OURS)
    cells = [job.title, *(seconds(middle(results.of(job.name, side), key)) for side in SIDES)]
    for side in (GUIDE, EXPERT):
        cells += _against(ratio(results.of(job.name, side), ours, key), job.targets.get(side))
    return cells


def _against(found: Ratio | None, target: float | None) -> list[str]:
    wanted = "" if target is None else f"{target:g}"
    return [str(found or ""), wanted, reached(found.median >= target if found and target else None)]


def quality(results: Results) -> str:
    columns = ["job", "(a)", "(b)", "ours", "ours - (a)", "ours - (b)", "within one point of both"]
    rows = []
    for job in SIDE_BY_SIDE:
        found = [accuracy_of(results, job, side) for side in SIDES]
        if found[-1] is not None:
            rows.append([job.title, *(share(value) for value in found), *_differences(found)])
    return table_of(columns, rows)


def accuracy_of(results: Results, job: Job, side: str) -> float | None:
    """Mean over the seeds; of a comparison, over its methods too."""
    measured = results.of(job.name, side)
    if job.name != "comparison":
        return mean(measured, "accuracy")
    means = [statistics.fmean(one["accuracies"].values()) for one in measured.values()]
    return statistics.fmean(means) if means else None


def _differences(found: Sequence[float | None]) -> list[str]:
    ours = found[-1]
    differences = [ours - peer for peer in found[:-1] if peer is not None]
    cells = ["" if peer is None else f"{100 * (ours - peer):+.1f} points" for peer in found[:-1]]
    near = all(abs(difference) <= WITHIN for difference in differences) if len(differences) == 2 else None
    return [*cells, reached(near)]


def by_method(results: Results) -> str:
    """The comparison's twelve methods: accuracy and training time of each."""
    measured = {side: results.of("comparison", side) for side in SIDES}
    if not measured[OURS]:
        return NOT_MEASURED
    rows = []
    for method in next(iter(measured[OURS].values()))["accuracies"]:
        cells = [f"`{method}`"]
        cells += [share(_mean_of(measured[side], "accuracies", method)) for side in SIDES]
        cells += [seconds(_mean_of(measured[side], "train_seconds", method)) for side in SIDES]
        rows.append(cells)
    return table_of(
        ["method", *(f"{name}, accuracy" for name in NAMES), *(f"{name}, training" for name in NAMES)], rows
    )


def _mean_of(measured: Mapping[int, Mapping[str, Any]], key: str, method: str) -> float | None:
    found = [one[key][method] for one in measured.values() if method in one[key]]
    return statistics.fmean(found) if found else None


def memory(results: Results) -> str:
    columns = ["job", "(a)", "(b)", "ours", "ours / (a)", "at most", "reached"]
    rows = []
    for job in SIDE_BY_SIDE:
        ours = results.of(job.name, OURS)
        if middle(ours, "above_bytes") is None:
            continue
        cells = [megabytes(middle(results.of(job.name, side), "above_bytes")) for side in SIDES]
        found, target = ratio(ours, results.of(job.name, GUIDE), "above_bytes"), job.memory_target
        wanted = "" if target is None else f"{target:g}"
        is_reached = found.median <= target if found and target else None
        rows.append([job.title, *cells, str(found or ""), wanted, reached(is_reached)])
    return table_of(columns, rows)
