"""Runs processes, some side by side, from a fork server that has done the imports."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any

from tunewise.comparison import PRELOAD_VARIABLE
from tunewise.engine.stop import Stop
from tunewise.errors import Interrupted, TunewiseError

SECONDS_BETWEEN_LOOKS = 0.5
LONGEST_SOCKET = 103  # bytes of the path of a Unix socket: 103 on macOS, 107 on Linux
OWN_PART = len("/pymp-12345678/listener-12345678")  # what multiprocessing puts behind the folder for temporary files
START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


@dataclass
class Worker:
    """A process at work on the task with this number."""

    number: int
    process: Any
    pipe: Connection
    started: float


class Pool:
    """Starts processes for tasks; each ends with its task, so that its peak memory is its own."""

    def __init__(self, packages: Sequence[str]):
        self.context, self.packages = multiprocessing.get_context(START_METHOD), packages
        if START_METHOD == "forkserver":
            _keep_sockets_short()
            self.context.set_forkserver_preload(["tunewise.comparison.preload"])

    def ask(self, target: Callable[..., None], task: object, stop: Stop | None = None) -> Any:
        """Runs a function in a process and returns what it sends.

        Raises:
            Interrupted: a stop was asked for; the process is ended.
            TunewiseError: what the process met, or that it died.
        """
        worker = self.start(0, target, task)
        died = TunewiseError("the process that measures died")
        answer = died if worker is None else _answer_of(worker, died, stop or Stop())
        if isinstance(answer, TunewiseError):
            raise answer
        return answer

    def run(
        self,
        tasks: Iterable[tuple[int, object]],
        target: Callable[..., None],
        side_by_side: int,
        stop: Stop,
        on_start: Callable[[int], None],
        on_message: Callable[[int, Any], None],
        on_end: Callable[[int, int | None, float], None],
    ) -> None:
        """Carries out the tasks in their order, `side_by_side` at a time.

        When a stop is asked for, those at work are told to save and end, and no other is started.
        """
        waiting, working, told = list(tasks), {}, False
        while waiting or working:
            while waiting and len(working) < side_by_side and not stop.requested:
                number, task = waiting.pop(0)
                worker = self.start(number, target, task)
                on_start(number)
                if worker is None:
                    on_end(number, None, 0.0)
                else:
                    working[number] = worker
            if stop.requested and not told:
                told, waiting = True, []
                for worker in working.values():
                    worker.process.terminate()
            for worker in self._heard(list(working.values()), on_message):
                worker.process.join()
                del working[worker.number]
                worker.pipe.close()
                on_end(worker.number, worker.process.exitcode, time.perf_counter() - worker.started)

    def start(self, number: int, target: Callable[..., None], task: object) -> Worker | None:
        """The process at work, or None where it died while it was still being sent its task."""
        receiver, sender = self.context.Pipe(duplex=False)
        process = self.context.Process(target=target, args=(task, sender), daemon=False)
        try:
            with _no_main_module(), _told_to_import(self.packages):
                process.start()
        except (BrokenPipeError, ConnectionResetError):
            receiver.close()
            return None
        finally:
            sender.close()
        return Worker(number, process, receiver, time.perf_counter())

    @staticmethod
    def _heard(workers: list[Worker], on_message: Callable[[int, Any], None]) -> list[Worker]:
        """Passes on what workers say within a moment, and returns those that have ended."""
        handles = [*(w.pipe for w in workers), *(w.process.sentinel for w in workers)]
        ready = wait(handles, timeout=SECONDS_BETWEEN_LOOKS)
        ended = [worker for worker in workers if worker.process.sentinel in ready]
        for worker in workers:
            try:
                while worker.pipe.poll():
                    on_message(worker.number, worker.pipe.recv())
            except (EOFError, OSError):  # it has closed its end: wait for the process alone
                if worker not in ended:
                    worker.process.join()
                    ended.append(worker)
        return ended


def _answer_of(worker: Worker, otherwise: object, stop: Stop) -> Any:
    """What a process sends before it ends; `otherwise` where it ends without a word."""
    try:
        while not worker.pipe.poll(SECONDS_BETWEEN_LOOKS):
            stop.check()
        return worker.pipe.recv()
    except EOFError:
        return otherwise
    except Interrupted:
        worker.process.kill()
        raise
    finally:
        worker.process.join()
        worker.pipe.close()


def _keep_sockets_short() -> None:
    """Where the folder for temporary files has a path too long for a socket in it, multiprocessing makes its own in
    /tmp. What else is temporary stays where the user wants it."""
    if len(os.fsencode(tempfile.gettempdir())) + OWN_PART <= LONGEST_SOCKET:
        return
    usual, tempfile.tempdir = tempfile.tempdir, "/tmp"
    try:
        util.get_temp_dir()  # made once, and kept for all sockets of this process
    finally:
        tempfile.tempdir = usual


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Inside, new processes do not import the program's main module, as multiprocessing lets them: a user's script that
    calls `compare` would call it again in every one of them."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _told_to_import(packages: Sequence[str]) -> Iterator[None]:
    """Inside, a process that starts (the fork server is the first) knows what to import."""
    os.environ[PRELOAD_VARIABLE] = ",".join(packages)
    try:
        yield
    finally:
        del os.environ[PRELOAD_VARIABLE]
