"""Ctrl-C and SIGTERM: the first asks the run to stop at the next step, the second stops it at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from tunewise.errors import Interrupted


class Stop:
    """A context in which SIGINT and SIGTERM set `requested` instead of raising."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, object] = {}

    def check(self) -> None:
        """Raises Interrupted where a stop was asked for."""
        if self.requested:
            raise Interrupted("stopped by the user", fix="run the same command with --resume to go on")

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is signal.SIG_IGN:
                    continue  # a worker of a comparison leaves Ctrl-C to its parent
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            os._exit(130)
        self.requested = True
