"""The rows of every table: a method on a model over all seeds, with its runs, costs and place in the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from tunewise.evaluate.pareto import pareto_front
from tunewise.report.contents import Comparison, Kind, Run
from tunewise.report.figures import COSTS, cost, is_number, plain

# Mid-tone colours: each has a contrast of at least 3 to 1 against white and against the page's dark background.
PALETTE = ("#4c6ef5", "#e8590c", "#0f9d76", "#ae3ec9", "#d6336c", "#1c93b8", "#a87900", "#7a8b16", "#8d6e63")
SYMBOLS = ("circle", "square", "triangle-up", "cross")
GREY = "#868e96"
BLIND = ("majority", "mean")
"""The baselines that do not read the text: yardsticks, not choices."""


@dataclass(frozen=True)
class Entry:
    """A method on a model: the mean over seeds of the primary metric on the main test set, and what it cost."""

    name: str
    method: str
    model: str
    kind: Kind
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    validation: float | None
    costs: Mapping[str, float]
    scores: Mapping[str, Mapping[str, float | None]]
    runs: tuple[Run, ...]
    chosen: bool
    colour: str
    symbol: str
    seeds: tuple[float | None, ...] = ()

    @property
    def finished(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run["status"] == "finished")

    @property
    def status(self) -> str:
        """`finished`, the status that all runs share, or a count such as "2 of 3 finished"."""
        statuses = {run["status"] for run in self.runs}
        if len(statuses) == 1:
            return statuses.pop()
        return f"{len(self.finished)} of {len(self.runs)} finished" if self.runs else "pending"

    @property
    def mark(self) -> str:
        """What sets it apart from a method: "baseline", "control", "soup", or nothing."""
        return "" if self.kind == "method" else self.kind

    def cost(self, name: str) -> float | None:
        return cost(self.costs, name)

    def has(self, cost_name: str) -> bool:
        """Whether it has both a score and this cost, so that it can be drawn on a log axis."""
        return is_number(self.mean) and (self.cost(cost_name) or 0) > 0


def entries_of(comparison: Comparison) -> list[Entry]:
    """The entries, best first: by validation, where the choice is made; those without a result last."""
    chosen = (comparison["recommendation"] or {}).get("method")
    runs = comparison["runs"]
    found = []
    methods = 0
    for summary in comparison["summary"]:
        name = entry_name(summary)
        is_method = summary["kind"] == "method"
        colour = PALETTE[methods % len(PALETTE)] if is_method else GREY
        symbol = SYMBOLS[methods // len(PALETTE) % len(SYMBOLS)] if is_method else "diamond"
        methods += is_method
        found.append(
            Entry(
                name=name,
                method=summary["method"],
                model=summary["model"],
                kind=summary["kind"],
                mean=summary["mean"],
                sd=summary["sd"],
                low=summary["low"],
                high=summary["high"],
                validation=summary["validation_mean"],
                costs=summary["costs"] or {},
                scores=summary["scores"] or {},
                runs=tuple(run for run in runs if entry_name(run) == name),
                chosen=name == chosen,
                colour=colour,
                symbol=symbol,
                seeds=_seeds(summary, comparison),
            )
        )
    sign = -1 if comparison["greater_is_better"] else 1
    return sorted(found, key=lambda entry: _place(entry, sign))


def _seeds(summary: Mapping[str, Any], comparison: Comparison) -> tuple[float | None, ...]:
    """The primary metric on the main test set, of each seed."""
    if "seeds" in summary:
        return tuple(summary["seeds"])
    tests, name = named_tests(comparison), entry_name(summary)
    runs = [run for run in comparison["runs"] if entry_name(run) == name and run["status"] == "finished"]
    return tuple(value_of(run, tests[0], comparison["metric"]) for run in runs) if tests else ()


def entry_name(row: Mapping[str, Any]) -> str:
    """The name of a run's or a summary's entry."""
    return row.get("name") or row["method"]


def _place(entry: Entry, sign: int) -> tuple[bool, bool, float]:
    by = entry.validation if is_number(entry.validation) else entry.mean
    return (not entry.chosen, not is_number(by), sign * by if is_number(by) else 0.0)


def pareto(entries: Sequence[Entry], cost_name: str, greater_is_better: bool) -> list[Entry]:
    """The entries that no other beats in both quality and cost, cheapest first; the control is not among them."""
    by_name = {entry.name: entry for entry in entries if entry.kind != "control" and entry.has(cost_name)}
    points = {name: (entry.mean, entry.cost(cost_name)) for name, entry in by_name.items()}
    return [by_name[name] for name in pareto_front(points, greater_is_better)]


def measured_costs(entries: Sequence[Entry]) -> list[str]:
    """The names of the costs that at least one entry with a score has."""
    return [name for name in COSTS if any(entry.has(name) for entry in entries)]


def stacked_names(comparison: Comparison) -> list[str]:
    """Whose trials trained in one pass over the base, some of them at least."""
    names = [rate["name"] for rate in comparison.get("rates") or [] if rate.get("stacked", 1) > 1]
    return [plain(name, 40) for name in dict.fromkeys(names)]


def named_tests(comparison: Comparison) -> list[str]:
    """The names of the test sets, the main one first: the order of the data."""
    names = [name for name in comparison["data"]["rows"] if name not in ("train", "validation")]
    for run in comparison["runs"]:
        names += [name for name in run["scores"] if name not in names and name not in ("train", "validation")]
    return names


def last_part(name: str) -> str:
    """The last part of a hub id, file or folder: "all-MiniLM-L6-v2"."""
    return plain(PurePath(name).name or name, 80)


def value_of(run: Run, split: str, metric: str) -> float | None:
    """A run's value of a metric on a test set, or None."""
    return ((run["scores"].get(split) or {}).get(metric) or {}).get("value")


def explained(entry: Entry) -> str:
    """What the method trains or the baseline does, in a few words; nothing where it is not one of ours."""
    from tunewise.evaluate.baselines import BASELINES
    from tunewise.methods import METHODS

    name = entry.method.partition("(")[0]
    if name in METHODS:
        return METHODS[name].trains
    if entry.kind == "soup":
        return "mean of the weights of several runs"
    return BASELINES[name].words.partition(",")[0] if name in BASELINES else ""
