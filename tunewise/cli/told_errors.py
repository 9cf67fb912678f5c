"""How errors, warnings and a stop are told on the command line."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from tunewise.errors import TunewiseError, TunewiseWarning


@contextmanager
def told_errors() -> Iterator[None]:
    """An error of ours is printed without a traceback, and is the exit code; a warning of ours takes one line. Before a
    run can save anything, SIGTERM ends a command as Ctrl-C does."""
    try:
        with _terminated_as_interrupted(), warnings.catch_warnings():
            warnings.showwarning = _warn_by(warnings.showwarning)
            yield
    except TunewiseError as problem:
        from tunewise.tracking.progress import plain_text

        for number, line in enumerate(str(problem).splitlines()):
            print(
                ("error: " if number == 0 else "") + line[: len(line) - len(line.lstrip())] + plain_text(line.strip()),
                file=sys.stderr,
            )
        raise typer.Exit(problem.exit_code) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise typer.Exit(130) from None


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _warn_by(show: Callable[..., None]) -> Callable[..., None]:
    """Shows warnings of ours as a line, others as before."""

    def show_warning(message: Warning | str, category: type[Warning], *rest: Any) -> None:
        if issubclass(category, TunewiseWarning):
            from tunewise.tracking.progress import plain_text

            print(f"warning: {plain_text(str(message))}", file=sys.stderr)
        else:
            show(message, category, *rest)

    return show_warning
