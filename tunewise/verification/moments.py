"""What a watched process tells of its run: the moment it is at, the rows of each step, the state it ends with."""

from __future__ import annotations

from dataclasses import dataclass

DANGEROUS = ("saving", "validating", "evaluating", "exporting")
"""Phases in which something is written, or much would be lost."""

HARMLESS = ("loading", "training")


@dataclass(frozen=True)
class Moment:
    """The phase that a run enters, the steps it has done, and when, on `time.monotonic`."""

    phase: str
    step: int
    at: float


@dataclass(frozen=True)
class Begun:
    """A session begins after step `step` of `total_steps`."""

    step: int
    total_steps: int


@dataclass(frozen=True)
class Read:
    """The rows of a step that is about to be done, `step` being those before it; an epoch has `of` rows, and
    reads some of them `again`, so many times in all, where batches are balanced."""

    step: int
    epoch: int
    rows: tuple[int, ...]
    of: int
    again: int = 0


@dataclass(frozen=True)
class EndState:
    """sha256 of what a training ends with, by what it is."""

    digests: dict[str, str]


@dataclass(frozen=True)
class Span:
    """A phase of the uninterrupted run: after which step, and its seconds."""

    phase: str
    step: int
    seconds: float


def spans_of(moments: list[Moment], ended: float) -> list[Span]:
    """How long a run was in each phase, in order."""
    ends = [moment.at for moment in moments[1:]] + [ended]
    return [Span(moment.phase, moment.step, end - moment.at) for moment, end in zip(moments, ends, strict=True)]
