"""Ctrl-C and SIGTERM: the first asks the run to leave, soon and with nothing lost; the second ends the process."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from tunewise.errors import Interrupted

EXIT_CODE = Interrupted.exit_code
SAME_REQUEST_SECONDS = 0.5
"""Signals so close to the first are one request: `timeout` sends two, a batch system sends them to every process."""

WATCHER = "tunewise waits for a second signal"


class Stop:
    """A context in which SIGINT and SIGTERM ask for a stop.

    The request sets `requested`, for whoever looks at it where work can be left (`check`). Inside `at_once` it also
    raises KeyboardInterrupt, so that loading a model or encoding texts does not have to end first. A second signal ends
    the process at once, even in the midst of a long call of a library: it is told by a thread.

    Args:
        patient: a second signal changes nothing, for a process whose parent decides how it ends.
        fix: what to do to go on, for whoever stopped it.
    """

    def __init__(self, patient: bool = False, fix: str = "run the same command with --resume to go on") -> None:
        self.requested, self.patient, self.fix = False, patient, fix
        self._at_once = False
        self._before: dict[int, object] = {}
        self._closing: list[int] = []
        self._wakeup_before = -1

    def check(self) -> None:
        """Raises Interrupted where a stop was asked for."""
        if self.requested:
            raise Interrupted("stopped by the user", fix=self.fix)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, nothing would be lost: a request is followed on the spot.

        Raises:
            Interrupted: a stop was asked for, before or inside.
        """
        self.check()
        with self._set(at_once=True):
            try:
                self.check()  # the signal may have come before the switch
                yield
            except KeyboardInterrupt:
                self.requested = True
                self.check()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside `at_once`: what has to be brought to an end first. A request sets `requested`, and no more."""
        with self._set(at_once=False):
            yield

    @contextmanager
    def _set(self, at_once: bool) -> Iterator[None]:
        before, self._at_once = self._at_once, at_once
        try:
            yield
        finally:
            self._at_once = before

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is signal.SIG_IGN:
                    continue  # a worker of a comparison leaves Ctrl-C to its parent
                self._before[number] = signal.signal(number, self._handle)
            if not self.patient and self._before:
                self._watch()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if self._closing:
            signal.set_wakeup_fd(self._wakeup_before)
            (writer,) = self._closing
            os.close(writer)  # ends the thread
            self._closing = []

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.requested = not self.requested, True
        if first and self._at_once:
            raise KeyboardInterrupt

    def _watch(self) -> None:
        """Python's handlers wait until a call of a library returns; the byte that a signal leaves here does not."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        self._wakeup_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._closing = [writer]
        watched = frozenset(self._before)
        threading.Thread(target=_end_at_the_second, args=(reader, watched), name=WATCHER, daemon=True).start()


class Told(Stop):
    """The stop of one of several runs in a process: it hears no signals itself, but what another one was asked for."""

    def __init__(self, by: Stop) -> None:
        self._by = by
        super().__init__(by.patient, by.fix)

    @property
    def requested(self) -> bool:
        return self._by.requested

    @requested.setter
    def requested(self, value: bool) -> None:
        self._by.requested = self._by.requested or value

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _end_at_the_second(reader: int, watched: frozenset[int]) -> None:
    first = None
    with suppress(OSError):
        while told := os.read(reader, 1):
            if told[0] not in watched:
                continue
            first = first or time.monotonic()
            if time.monotonic() - first > SAME_REQUEST_SECONDS:
                os._exit(EXIT_CODE)
    os.close(reader)
