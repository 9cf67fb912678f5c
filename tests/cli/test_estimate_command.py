"""`tunewise estimate`, and the same from Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tunewise as package
from tunewise.cli.estimating import Lines
from tunewise.cli.printing import print_estimate
from tunewise.estimation import estimate as module
from tunewise.estimation.answers import Parts, Refused, RunCost
from tunewise.estimation.resources import Resources
from tunewise.tracking.record import Problem


def test_a_table_for_people(recipe, tunewise, tmp_path: Path) -> None:
    result = tunewise("estimate", recipe(methods=["features", "head"]), "--budget", "0.1", "--validate")
    assert result.exit_code == 0, result.output
    assert "method" in result.stdout and "FLOPs" in result.stdout and "estimate against truth" in result.stdout
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "MB" in lines["head"] or "+0.0%" in lines["head"]
    assert "tunewise compare: 6 runs" in result.stdout and "at a time with 1 thread" in result.stdout
    assert "[1/4]" in result.stderr and "head, for real: done in" in result.stderr


def test_json_for_programs(recipe, tunewise) -> None:
    path = recipe(methods=["head"], rate_grid=[0.3, 3])
    result = tunewise("estimate", path, "--set", "train.max_steps=3", "--budget", "0", "--jobs", "1", "--json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    (run,) = content["runs"]
    assert run["status"] == "fits" and run["cost"]["steps"] == 3 and run["truth"] is None
    assert set(run["cost"]["seconds"]) == {*Parts.__dataclass_fields__, "total"}
    assert content["comparison"]["side_by_side"] == 1
    assert content["comparison"]["runs"] == 2 + 2 + 1  # baselines; two rates with the first seed, one with the second


def test_what_does_not_fit_is_an_exit_code_and_a_message(recipe, tunewise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.estimate, "__kwdefaults__", {**module.estimate.__kwdefaults__, "look_at": little})
    result = tunewise("estimate", recipe(methods=["head"]), "--budget", "0")
    assert result.exit_code == 1
    assert "warning: head: it needs" in result.stderr and "to do: take a smaller" in result.stderr
    assert "does not fit" in result.stdout and "on disk" in result.stderr


def little(folder: Path) -> Resources:
    return Resources(memory_bytes=10**8, disk_bytes=10)


def test_a_wrong_recipe_is_told_before_anything_starts(recipe, tunewise) -> None:
    result = tunewise("estimate", recipe(methods=["no_such_method"]))
    assert result.exit_code == 2 and "no_such_method" in result.stderr and result.stdout == ""
    assert tunewise("estimate", recipe(), "--budget", "-1").exit_code == 2


def test_from_python(recipe, capsys: pytest.CaptureFixture) -> None:
    found = package.estimate(recipe(methods=["head"]), overrides=["train.max_steps=2"], budget=0, quiet=True)
    assert found.fits and found.runs[0].cost.steps == 2 and capsys.readouterr().err == ""
    assert callable(package.estimate)  # no module of that name takes its place


def test_names_and_problems_cannot_steer_a_terminal(capsys: pytest.CaptureFixture) -> None:
    import io

    stream = io.StringIO()
    lines = Lines(stream)
    lines.on_plan(["a\x1b[31m"], 1)
    lines.on_message("a", "words")  # on a terminal only
    lines.on_end("a\x1b[31m", Refused(Problem("no\x1b[2J room")), 1.0)
    assert stream.getvalue() == "[1/1] a: no room\n"


def test_a_method_without_an_estimate_has_an_empty_row(capsys: pytest.CaptureFixture) -> None:
    whole = {"runs": 0, "unknown": 1, "side_by_side": 1, "seconds": 3.0, "forward_flops": 0.0, "backward_flops": 0.0}
    run = {"name": "qlora", "cost": None, "status": "failed", "truth": None, "errors": {}}
    print_estimate(
        {
            "runs": [run],
            "comparison": {**whole, "memory_bytes": 0, "disk_bytes": 0},
            "tuned": {"m": {"threads": 2}},
            "median_errors": {},
        }
    )
    out = capsys.readouterr().out
    assert "qlora" in out and "failed" in out and "and 1 that have no estimate" in out and "2 threads each" in out


def test_run_costs_are_plain() -> None:
    assert RunCost(Parts(train=2.0, imports=1.0)).seconds.total == 3.0
