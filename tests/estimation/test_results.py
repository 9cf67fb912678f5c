from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from tunewise.estimation.answers import Parts, RunCost
from tunewise.estimation.resources import Resources
from tunewise.estimation.results import Estimate, RunEstimate, judged, warnings_of
from tunewise.estimation.whole import Whole
from tunewise.types import Costs

COST = RunCost(
    Parts(imports=2.0, load=1.0, train=10.0, save=1.0),
    steps=5,
    forward_flops=100.0,
    backward_flops=200.0,
    peak_memory_bytes=2_000,
    saved_bytes=50,
    predict_ms_per_example=1.5,
    notes=("one",),
)
TRUTH = Costs(
    train_seconds=8.0,
    total_seconds=16.0,
    peak_memory_bytes=2_500,
    forward_flops=100.0,
    backward_flops=200.0,
    trainable_parameters=1,
    total_parameters=2,
    saved_bytes=0,
    predict_ms_per_example=2.0,
)
WHOLE = Whole(4, 0, 2, 40.0, 400.0, 800.0, memory_bytes=3_500, disk_bytes=1_000)


def run(**more: object) -> RunEstimate:
    return replace(RunEstimate("head", "head", "model", "fits", COST), **more)


def estimate(*runs: RunEstimate, **more: object) -> Estimate:
    return replace(
        Estimate(Resources(10_000, 10_000), {"model": {"device": "cpu", "threads": 1}}, runs, WHOLE, ()), **more
    )


def test_errors_are_shares_of_the_truth() -> None:
    errors = run(truth=TRUTH).errors()
    assert errors == {
        "train_seconds": 10 / 8 - 1,
        "total_seconds": 14 / 16 - 1,
        "peak_memory_bytes": 2_000 / 2_500 - 1,
        "flops": 0.0,
        "predict_ms_per_example": 1.5 / 2 - 1,
    }  # nothing is a share of 0 bytes
    assert run().errors() == {} and run(cost=None, truth=TRUTH).errors() == {}


def test_the_median_error_has_no_sign() -> None:
    runs = [run(truth=replace(TRUTH, train_seconds=seconds)) for seconds in (8.0, 12.5, 10.0)]
    assert estimate(*runs).median_errors()["train_seconds"] == pytest.approx(0.2)
    assert estimate(run()).median_errors() == {}


def test_a_run_that_needs_more_memory_than_is_free_does_not_fit() -> None:
    tight = judged(run(), Resources(1_999, 10_000), on_cpu=True)
    assert tight.status == "does not fit" and tight.cost == COST
    assert "2.0 kB" in tight.problem.what and "batch_size" in tight.problem.fix
    assert judged(run(), Resources(2_000, 10_000), on_cpu=True) == run()
    assert judged(run(), Resources(10, 10_000), on_cpu=False).status == "fits"  # what a GPU has is not told by this
    refused = run(cost=None, status="failed")
    assert judged(refused, Resources(0, 0), on_cpu=True) is refused


def test_what_does_not_fit_together() -> None:
    (together,) = warnings_of(WHOLE, [run()], Resources(3_000, 10_000), on_cpu=True)
    assert "2 runs at a time" in together.what and "--jobs" in together.fix
    (disk,) = warnings_of(WHOLE, [run()], Resources(4_000, 999), on_cpu=True)
    assert "disk" in disk.what and "1.0 kB" in disk.what
    assert warnings_of(WHOLE, [run()], Resources(3_500, 1_000), on_cpu=True) == ()
    assert warnings_of(WHOLE, [run(status="does not fit")], Resources(10, 9_000), on_cpu=True) == ()  # said of the run


def test_it_fits_where_every_run_does_and_nothing_is_warned_of() -> None:
    assert estimate(run()).fits
    assert not estimate(run(), run(status="failed", cost=None)).fits
    assert not estimate(run(), warnings=warnings_of(WHOLE, [run()], Resources(0, 0), on_cpu=True)).fits


def test_the_json_is_whole() -> None:
    plain = json.loads(json.dumps(estimate(run(truth=TRUTH), run(status="failed", cost=None)).as_dict()))
    assert set(plain) == {
        "schema_version",
        "free",
        "tuned",
        "fits",
        "runs",
        "comparison",
        "warnings",
        "median_errors",
    }
    first, second = plain["runs"]
    assert set(first) == {"name", "method", "model", "status", "cost", "problem", "truth", "errors"}
    assert first["cost"]["seconds"]["total"] == 14.0 and first["cost"]["notes"] == ["one"]
    assert first["truth"] == asdict(TRUTH) and second["cost"] is None and plain["schema_version"] == 1
    assert plain["comparison"]["seconds"] == 40.0
