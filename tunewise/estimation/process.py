"""What runs in a process of its own: one question, and its answer through a pipe."""

from __future__ import annotations

import os
import signal
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from tunewise.comparison.worker import stop_with_parent, work
from tunewise.errors import TunewiseError
from tunewise.estimation.answers import Question, Refused
from tunewise.estimation.resources import free_memory
from tunewise.tracking.record import Problem

MEMORY_RAN_OUT = 77
"""Exit code of a process that ended itself for want of memory."""

SECONDS_BETWEEN_LOOKS = 0.05
TOO_LARGE = "take a smaller train.batch_size, train.max_length or model, or a method that trains less"


def answer(question: Question, pipe: Connection) -> None:
    """Sends words of what it does, then a RunCost, or why there is none."""
    _begin(question)
    from tunewise.estimation.run_cost import measure

    try:
        pipe.send(measure(question, pipe.send))
    except TunewiseError as problem:
        pipe.send(Refused(Problem.of(problem)))
    except Exception as problem:
        if not is_out_of_memory(problem):
            raise
        told = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        pipe.send(Refused(Problem(f"it does not fit into memory: {told}", fix=TOO_LARGE), fits=False))


def run_for_real(question: Question, pipe: Connection) -> None:
    """Carries out the run itself, as a comparison does; its record says how it went."""
    _begin(question)
    work([question.task], pipe)


def _begin(question: Question) -> None:
    stop_with_parent()
    # What an estimate computes from few rows is of no use to a run, and nothing may stay behind.
    os.environ["TUNEWISE_CACHE"] = str(Path(question.scratch) / "cache")
    threading.Thread(target=_guard, args=(question.reserve_bytes,), daemon=True).start()


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether memory was refused: Python and numpy have a class for that, torch one for GPUs, and words for the CPU."""
    if isinstance(problem, MemoryError) or type(problem).__name__ == "OutOfMemoryError":
        return True
    told = str(problem).lower()
    return isinstance(problem, RuntimeError) and ("allocate memory" in told or "out of memory" in told)


def died(exit_code: int | None) -> Refused:
    """What to say of a process that ended without an answer."""
    if exit_code == MEMORY_RAN_OUT:
        return Refused(Problem("it does not fit into memory: hardly any was left", fix=TOO_LARGE), fits=False)
    if exit_code == -signal.SIGKILL:
        what = "it was killed, as the system does when memory runs out"
        return Refused(Problem(what, fix=TOO_LARGE), fits=False)
    return Refused(Problem(f"the process that measured it ended with exit code {exit_code}", fix="see what it printed"))


def _guard(reserve: int) -> None:
    """Ends this process before the machine runs out of memory: the system would swap first, or kill another."""
    while free_memory() >= reserve:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(MEMORY_RAN_OUT)
