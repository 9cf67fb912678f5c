"""A process at work on a run, as its parent sees it: left to its end, or killed at a moment."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from tunewise.comparison.schedule import SECONDS_BETWEEN_LOOKS, Pool, Worker
from tunewise.engine.stop import Stop
from tunewise.errors import TrainingError, TunewiseError
from tunewise.verification.kills import Aim
from tunewise.verification.moments import Begun, EndState, Moment, Read
from tunewise.verification.watched import WatchedRun, carry_out


@dataclass
class Session:
    """What one process told.

    Attributes:
        killed: whether it was killed before it was done.
        ended: when the last word came, on `time.monotonic`.
    """

    moments: list[Moment] = field(default_factory=list)
    reads: dict[int, Read] = field(default_factory=dict)
    begun: Begun | None = None
    state: EndState | None = None
    problem: TunewiseError | None = None
    killed: bool = False
    ended: float = 0.0

    @property
    def last(self) -> Moment:
        return self.moments[-1] if self.moments else Moment("loading", 0, 0.0)

    def hear(self, said: object) -> None:
        if isinstance(said, Moment):
            self.moments.append(said)
        elif isinstance(said, Read):
            self.reads[said.step] = said
        elif isinstance(said, Begun):
            self.begun = said
        elif isinstance(said, EndState):
            self.state = said
        elif isinstance(said, TunewiseError):
            self.problem = said


def follow(pool: Pool, watched: WatchedRun, stop: Stop, aim: Aim | None = None) -> Session:
    """Starts or resumes a run in a process, and follows it to its end, or to the moment at which it is killed.

    Raises:
        Interrupted: a stop was asked for; the process is killed.
        TrainingError: the process died, and nobody here killed it.
    """
    session, worker = Session(), pool.start(0, carry_out, watched)
    if worker is None:
        raise _died(watched)
    try:
        deadline = None
        while _hears(session, worker, deadline):
            stop.check()
            if aim is not None and deadline is None and session.moments and aim.begins_at(session.last):
                deadline = session.last.at + aim.seconds
        if deadline is not None and worker.process.is_alive():
            worker.process.kill()
            session.killed = True
            while _hears(session, worker, None):  # what it had told before it died
                pass
        worker.process.join()
    finally:
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
    session.killed = session.killed and worker.process.exitcode < 0
    if not session.killed and worker.process.exitcode and session.problem is None:
        raise _died(watched)
    session.ended = time.monotonic()
    return session


def _hears(session: Session, worker: Worker, deadline: float | None) -> bool:
    """Takes the next word, or waits for a moment; False where the process is silent for ever, or time is up."""
    wait = SECONDS_BETWEEN_LOOKS if deadline is None else min(SECONDS_BETWEEN_LOOKS, deadline - time.monotonic())
    if deadline is not None and wait <= 0:
        return False
    try:
        if worker.pipe.poll(max(0.0, wait)):
            session.hear(worker.pipe.recv())
    except (EOFError, OSError):
        return False
    return True


def _died(watched: WatchedRun) -> TrainingError:
    return TrainingError(
        "the process of the run died, and it was not this program that killed it",
        where=str(Path(watched.task.out)),
        fix="see what it printed; the system kills processes when memory runs out",
    )
