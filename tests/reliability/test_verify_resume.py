"""`tunewise verify resume`: what it shows, that it can fail, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tunewise.cli.main import app
from tunewise.comparison.schedule import Pool
from tunewise.recipe import Recipe, write_recipe
from tunewise.verification import session
from tunewise.verification.evidence import differences, rows_read_wrongly
from tunewise.verification.kills import SHARE_IN_DANGER, Aim, Kill, draw_aims
from tunewise.verification.moments import DANGEROUS, Moment, Read, Span, spans_of
from tunewise.verification.watched import WatchedRun, carry_out


@pytest.fixture
def verify(recipe: Callable[..., Recipe], tmp_path: Path) -> Callable[..., Any]:
    def call(*options: str, **sections: Any) -> Any:
        path = tmp_path / "desk" / "recipe.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(write_recipe(recipe(**sections)))
        return CliRunner().invoke(app, ["verify", "resume", str(path), *options])

    return call


def test_it_shows_each_kill_and_leaves_nothing(verify: Callable[..., Any], tmp_path: Path) -> None:
    done = verify("--kills", "1", "--seed", "4", methods=["features", "head"])
    assert done.exit_code == 0, done.output
    heading = ["method", "killed", "while", "after", "step", "resumed", "at", "steps", "redone", "equal"]
    assert heading in [line.split() for line in done.stdout.splitlines()]
    assert "2 kills, " in done.stdout and "every resumed run is the uninterrupted one, bit by bit" in done.stdout
    assert "2 runs; each once uninterrupted, and once killed (1 times) and resumed" in done.stderr
    assert [path.name for path in (tmp_path / "desk").iterdir()] == ["recipe.yaml"]


class Sabotaged(Pool):
    """Its runs forget the optimiser's moments when they are resumed."""

    def start(self, number: int, target: Any, task: Any) -> Any:
        return super().start(number, forgetful if target is carry_out else target, task)


def forgetful(watched: WatchedRun, pipe: Connection) -> None:
    from tunewise.engine.optim import Optimizer

    Optimizer.load_state = lambda *_: None
    carry_out(watched, pipe)


def test_what_is_not_equal_is_told_and_kept(
    verify: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunewise.verification.resume.Pool", Sabotaged)
    out = tmp_path / "proof"
    done = verify("--kills", "2", "--json", "--seed", "1", "--out", str(out), method="full", save_steps=2)
    assert done.exit_code == 1, done.output
    found = json.loads(done.stdout)
    (run,) = found["runs"]
    assert not found["equal"] and run["repeatable"] and found["folder"] == str(out)
    assert {"state after the last step: weights", "state after the last step: optimizer", "log"} <= set(run["differs"])
    assert "state after the last step: schedule" not in run["differs"]
    assert sorted(path.name for path in out.iterdir()) == ["000-uninterrupted", "001-killed", "002-again"]


def test_an_uninterrupted_run_that_fails_is_an_error(verify: Callable[..., Any], tmp_path: Path) -> None:
    done = verify(method={"last_k": {"k": 9}}, save_steps=2)
    assert done.exit_code == 2 and "2 blocks" in done.stderr
    assert [path.name for path in (tmp_path / "desk").iterdir()] == ["recipe.yaml"]


def test_a_folder_with_something_in_it_is_refused(verify: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.docx").write_text("mine")
    done = verify("--out", str(tmp_path / "mine"), method="head")
    assert done.exit_code == 1 and "must be empty" in done.stderr and (tmp_path / "mine" / "thesis.docx").is_file()


def test_a_stop_ends_the_process_and_leaves_nothing(
    verify: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear, workers = session.Session.hear, []
    monkeypatch.setattr(Pool, "start", lambda *a, start=Pool.start: workers.append(start(*a)) or workers[-1])

    def interrupted(self: Any, said: object) -> None:
        hear(self, said)
        if isinstance(said, Read) and said.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(session.Session, "hear", interrupted)
    begun = time.monotonic()
    done = verify(method="full", save_steps=2, max_steps=100_000)
    assert done.exit_code == 130 and "stopped by the user" in done.stderr, done.output
    assert not any(worker.process.is_alive() for worker in workers) and time.monotonic() - begun < 60
    assert [path.name for path in (tmp_path / "desk").iterdir()] == ["recipe.yaml"]


# ---------------------------------------------------------------- parts

SPANS = [
    Span("loading", 0, 1.0),
    *(Span(phase, step, 0.1) for step in range(1, 9) for phase in ("training", "saving", "validating")),
    Span("evaluating", 8, 0.5),
    Span("exporting", 8, 0.5),
]


@pytest.mark.parametrize("count", [1, 2, 5, 30, 200])
def test_most_aims_are_where_something_is_written(count: int) -> None:
    aims = draw_aims(SPANS, count, np.random.default_rng(count))
    assert len(aims) == count
    assert sum(aim.phase in DANGEROUS for aim in aims) == round(SHARE_IN_DANGER * count)
    order = [next(n for n, span in enumerate(SPANS) if aim.begins_at(Moment(span.phase, span.step, 0))) for aim in aims]
    assert order == sorted(order)
    assert all(0 <= aim.seconds < 1 for aim in aims)
    assert aims == draw_aims(SPANS, count, np.random.default_rng(count))
    if count >= 30:
        assert {aim.phase for aim in aims} == {span.phase for span in SPANS}


def test_aims_of_a_run_without_danger_or_without_anything() -> None:
    only = [Span("loading", 0, 1.0)]
    assert [aim.phase for aim in draw_aims(only, 3, np.random.default_rng(0))] == 3 * ["loading"]
    assert draw_aims([], 3, np.random.default_rng(0)) == []


def test_an_aim_knows_its_moment() -> None:
    aim = Aim("saving", 4, 0.1)
    found = [aim.begins_at(Moment(*at, 0.0)) for at in (("saving", 4), ("saving", 3), ("training", 4))]
    assert found == [True, False, False]


def test_spans() -> None:
    moments = [Moment("loading", 0, 1.0), Moment("training", 0, 3.0), Moment("exporting", 1, 3.5)]
    assert spans_of(moments, 4.0) == [Span("loading", 0, 2.0), Span("training", 0, 0.5), Span("exporting", 1, 0.5)]


def test_steps_redone() -> None:
    assert Kill("saving", "saving", 9).resumed(6).redone == 3
    assert Kill("loading", "loading", None).resumed(6).redone == 0
    assert Kill("exporting", "exporting", 9).redone == 0


def test_rows_that_are_lost_or_read_twice() -> None:
    def reads(*steps: tuple[int, tuple[int, ...]]) -> dict[int, Read]:
        return {step: Read(step, epoch, rows, 4) for step, (epoch, rows) in enumerate(steps)}

    good = ((0, (0, 1)), (0, (3, 2)), (1, (2, 0)), (1, (1, 3)))
    assert rows_read_wrongly(reads(*good)) == rows_read_wrongly(reads(*good[:3])) == rows_read_wrongly({}) == []
    assert rows_read_wrongly(reads((0, (0, 1)), (0, (3, 1)), (1, (2, 0)))) == [
        *("epoch 1: 1 rows were read twice", "epoch 1: 1 rows were not read")
    ]
    lost = reads(*good)
    del lost[1]
    assert rows_read_wrongly(lost) == ["step 1 is missing", "epoch 1: 2 rows were not read"]


def test_rows_that_balanced_batches_read_again() -> None:
    def reads(*steps: tuple[int, tuple[int, ...]]) -> dict[int, Read]:
        return {step: Read(step, epoch, rows, of=3, again=1) for step, (epoch, rows) in enumerate(steps)}

    assert rows_read_wrongly(reads((0, (0, 2)), (0, (1, 2)), (1, (2, 0)))) == []
    assert rows_read_wrongly(reads((0, (0, 2)), (0, (2, 2)), (1, (2, 0)))) == [
        *("epoch 1: 1 rows were read twice", "epoch 1: 1 rows were not read")
    ]


def test_differences() -> None:
    assert differences({"a": "1", "b": "2"}, {"b": "3", "a": "1", "c": "4"}) == ["b", "c"]
