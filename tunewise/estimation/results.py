"""The result of an estimate, and what will not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from tunewise.estimation.answers import RunCost
from tunewise.estimation.process import TOO_LARGE
from tunewise.estimation.resources import Resources
from tunewise.estimation.whole import Whole
from tunewise.report.figures import size
from tunewise.tracking.record import Problem
from tunewise.types import Costs

SCHEMA_VERSION = 1

Status = Literal["fits", "does not fit", "failed"]

COMPARED = ("train_seconds", "total_seconds", "peak_memory_bytes", "flops", "predict_ms_per_example", "saved_bytes")
"""What an estimate is held against once a run is done."""


@dataclass(frozen=True)
class RunEstimate:
    """One method with one model. `truth` is what a real run cost, where one was made."""

    name: str
    method: str
    model: str
    status: Status
    cost: RunCost | None = None
    problem: Problem | None = None
    truth: Costs | None = None

    def figures(self) -> dict[str, float]:
        """The estimate of what is compared."""
        cost = self.cost
        return {
            "train_seconds": cost.seconds.train,
            "total_seconds": cost.seconds.total,
            "peak_memory_bytes": cost.peak_memory_bytes,
            "flops": cost.forward_flops + cost.backward_flops,
            "predict_ms_per_example": cost.predict_ms_per_example,
            "saved_bytes": cost.saved_bytes,
        }

    def true_figures(self) -> dict[str, float]:
        """The same of the real run."""
        plain = asdict(self.truth)
        return {**plain, "flops": plain["forward_flops"] + plain["backward_flops"]}

    def errors(self) -> dict[str, float]:
        """Estimate / truth - 1, of what the truth is not 0 of."""
        if self.cost is None or self.truth is None:
            return {}
        found, true = self.figures(), self.true_figures()
        return {name: found[name] / true[name] - 1 for name in COMPARED if true[name]}


@dataclass(frozen=True)
class Estimate:
    """What a recipe will cost on this machine. `tuned` is what was fitted to it, by model; `warnings` are what will not
    fit, beyond what the runs say."""

    free: Resources
    tuned: dict[str, dict[str, Any]]
    runs: tuple[RunEstimate, ...]
    whole: Whole
    warnings: tuple[Problem, ...]

    @property
    def fits(self) -> bool:
        """Whether every run has an estimate, and there is room for all."""
        return not self.warnings and all(run.status == "fits" for run in self.runs)

    def median_errors(self) -> dict[str, float]:
        """The median over runs of the absolute relative error, by quantity."""
        found = [run.errors() for run in self.runs]
        known = {name: [abs(errors[name]) for errors in found if name in errors] for name in COMPARED}
        return {name: median(values) for name, values in known.items() if values}

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "schema_version": SCHEMA_VERSION,
            "free": asdict(self.free),
            "tuned": self.tuned,
            "fits": self.fits,
            "runs": [_plain(run) for run in self.runs],
            "comparison": asdict(self.whole),
            "warnings": [asdict(warning) for warning in self.warnings],
            "median_errors": self.median_errors(),
        }


def _plain(run: RunEstimate) -> dict[str, Any]:
    plain = {**asdict(run), "errors": run.errors()}
    if run.cost is not None:
        plain["cost"]["seconds"]["total"] = run.cost.seconds.total
        plain["cost"]["notes"] = list(run.cost.notes)
    return plain


def judged(run: RunEstimate, free: Resources, on_cpu: bool) -> RunEstimate:
    """The same, marked where the machine has not the memory for it. Of a GPU's memory the calibration itself tells."""
    if run.cost is None or not on_cpu or run.cost.peak_memory_bytes <= free.memory_bytes:
        return run
    told = f"it needs {size(run.cost.peak_memory_bytes)} of memory; {size(free.memory_bytes)} are free"
    return RunEstimate(run.name, run.method, run.model, "does not fit", run.cost, Problem(told, fix=TOO_LARGE))


def warnings_of(whole: Whole, runs: Sequence[RunEstimate], free: Resources, on_cpu: bool) -> tuple[Problem, ...]:
    """What does not fit together, although each run does alone; and what the disk cannot take."""
    found = []
    if on_cpu and whole.memory_bytes > free.memory_bytes and all(run.status != "does not fit" for run in runs):
        found.append(
            Problem(
                f"{whole.side_by_side} runs at a time need {size(whole.memory_bytes)} of memory; "
                f"{size(free.memory_bytes)} are free",
                fix="give --jobs 1 to `tunewise compare`",
            )
        )
    if whole.disk_bytes > free.disk_bytes:
        found.append(
            Problem(
                f"models and checkpoints need {size(whole.disk_bytes)} on disk; {size(free.disk_bytes)} are free",
                fix="make room, give an --out on another disk, or take fewer seeds or methods",
            )
        )
    return tuple(found)
