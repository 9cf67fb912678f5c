"""Where a call of a model's output layer stands for tokens to learn only: how its FLOPs are to be counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class OutputCall:
    """A call that stands for all tokens to learn of the batch (`counts`), or is a part of what such a call stood for.
    `again`: its outputs are computed once more in the backward pass, for a batch of more than `beyond` tokens to
    learn."""

    counts: bool
    again: bool = False
    beyond: int = 0


_CALL: ContextVar[OutputCall | None] = ContextVar("output_call", default=None)


def output_call() -> OutputCall | None:
    """The call at work; None for every other layer, and for an output layer that reads all places."""
    return _CALL.get()


def begin_call(call: OutputCall) -> None:
    """The output layer is called next."""
    _CALL.set(call)


def end_call() -> None:
    """The output layer has been called."""
    _CALL.set(None)


@contextmanager
def uncounted() -> Iterator[None]:
    """Inside, the output layer computes what another call stands for."""
    before = _CALL.get()
    _CALL.set(OutputCall(counts=False))
    try:
        yield
    finally:
        _CALL.set(before)
