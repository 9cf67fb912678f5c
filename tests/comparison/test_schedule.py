"""Processes for tasks: what they are sent, how they end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest

from tunewise.comparison.schedule import Pool
from tunewise.comparison.worker import stop_with_parent
from tunewise.engine.stop import Stop
from tunewise.errors import Interrupted, TunewiseError


@pytest.fixture(scope="module", autouse=True)
def server_without_imports() -> Iterator[None]:
    """The fork server of these tests has imported nothing: those of other files begin one of their own."""
    yield
    forkserver._forkserver._stop()


@dataclass
class Heard:
    """What a pool told of its tasks."""

    events: list

    def run(self, tasks: list, target, side_by_side: int = 2) -> list:
        Pool(()).run(
            list(enumerate(tasks)),
            target,
            side_by_side,
            Stop(),
            on_start=lambda number: self.events.append(("start", number)),
            on_message=lambda number, said: self.events.append(("said", number, said)),
            on_end=lambda number, code, seconds: self.events.append(("end", number, code)),
        )
        return self.events


def count(task: object, pipe) -> None:
    pipe.send(len(task))


def fail(task: int, pipe) -> None:
    os._exit(task)


class Deadly:
    """Ends the process that is sent it, while it reads."""

    def __reduce__(self):
        return os._exit, (9,)


def test_every_task_is_carried_out_in_order() -> None:
    events = Heard([]).run(["a", "bb", "ccc"], count, side_by_side=1)
    expected = []
    for number in range(3):
        expected += [("start", number), ("said", number, number + 1), ("end", number, 0)]
    assert events == expected


def test_a_large_task_arrives() -> None:
    assert ("said", 0, 20_000_000) in Heard([]).run([b"x" * 20_000_000], count)


def test_exit_codes_are_told() -> None:
    events = Heard([]).run([0, 3, 5], fail)
    assert {event[1:] for event in events if event[0] == "end"} == {(0, 0), (1, 3), (2, 5)}


def test_a_process_that_dies_while_it_is_sent_its_task_does_not_take_the_others_down() -> None:
    events = Heard([]).run([(Deadly(), b"x" * 20_000_000), "ab"], count)
    assert ("end", 0, None) in events and ("said", 1, 2) in events and ("end", 1, 0) in events


def test_asking_a_process() -> None:
    pool = Pool(())
    assert pool.ask(count, "four") == 4
    for task in ((Deadly(), b"x" * 20_000_000), 7):
        with pytest.raises(TunewiseError, match="the process that measures died"):
            pool.ask(count if isinstance(task, tuple) else fail, task)


def start_a_process_of_its_own(task: tuple, pipe) -> None:
    worker = Pool(()).start(0, follow_parent, task)
    worker.process.join()


def follow_parent(task: tuple, pipe) -> None:
    """Writes its number, then what it was asked for; told to stop before, it goes on working."""
    folder, told = task
    with stop_with_parent() as stop:
        stop.requested = told
        (folder / "pid").write_text(str(os.getpid()))
        while told or not stop.requested:
            time.sleep(0.01)
        (folder / "asked").touch()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("told", [False, True])
def test_a_process_follows_its_parent(told: bool, tmp_path: Path) -> None:
    """It is asked to stop; where it had been asked before, it ends."""
    worker, deadline = Pool(()).start(0, start_a_process_of_its_own, (tmp_path, told)), time.monotonic() + 60
    while not ((tmp_path / "pid").is_file() and (tmp_path / "pid").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    number = int((tmp_path / "pid").read_text())
    assert psutil.pid_exists(number)
    worker.process.kill()
    worker.process.join()
    while psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (tmp_path / "asked").exists() != told


def slow(task: None, pipe) -> None:
    time.sleep(600)


def test_a_question_can_be_stopped() -> None:
    stop = Stop()
    stop.requested = True
    with pytest.raises(Interrupted):
        Pool(()).ask(slow, None, stop)


def pid(task: None, pipe) -> None:
    pipe.send(os.getpid())


def test_each_task_has_a_process_of_its_own() -> None:
    pool = Pool(())
    assert len({os.getpid(), pool.ask(pid, None), pool.ask(pid, None)}) == 3


PROGRAM = """
import sys
import tempfile
sys.path.insert(0, sys.argv[1])
import test_schedule
from tunewise.comparison.schedule import Pool

print(Pool([]).ask(test_schedule.temporary, None) == tempfile.gettempdir())
"""


def temporary(task: None, pipe) -> None:
    pipe.send(tempfile.gettempdir())


def test_the_folder_for_temporary_files_may_have_a_long_path(tmp_path: Path) -> None:
    """A socket's path has 107 bytes at most."""
    folder = tmp_path / ("a" * 100)
    folder.mkdir()
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent)]
    done = subprocess.run(command, env=os.environ | {"TMPDIR": str(folder)}, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
    assert list(folder.iterdir()) == []
