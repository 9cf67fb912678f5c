"""When to kill: moments drawn at random from the phases of a run, most of them where something is being written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tunewise.verification.moments import DANGEROUS, HARMLESS, Moment, Span

SHARE_IN_DANGER = 0.65


@dataclass(frozen=True)
class Aim:
    """The moment `seconds` after a phase has begun; `step` is None where it comes once in a session."""

    phase: str
    step: int | None
    seconds: float

    def begins_at(self, moment: Moment) -> bool:
        """Whether the phase that is entered is the one to kill in."""
        return moment.phase == self.phase and self.step in (None, moment.step)


@dataclass(frozen=True)
class Kill:
    """A process that was killed: where it was to be, and where it was by its last word; the steps done by then, None
    where it was still loading; and after which step the run went on, None where it had finished all but in name."""

    aimed: str
    landed: str
    step: int | None
    resumed_at: int | None = None

    @property
    def redone(self) -> int:
        """Steps that had to be done again."""
        return 0 if self.step is None or self.resumed_at is None else self.step - self.resumed_at

    def resumed(self, step: int) -> Kill:
        """The same, with where the run went on."""
        return replace(self, resumed_at=step)


def draw_aims(spans: Sequence[Span], count: int, generator: np.random.Generator) -> list[Aim]:
    """`count` moments, in the order in which one run, resumed each time, comes by them."""
    places = _places(spans, DANGEROUS, round(SHARE_IN_DANGER * count), generator)
    places += _places(spans, HARMLESS, count - len(places), generator)
    return [_aim(spans[place], generator) for place in sorted(places)]


def _places(spans: Sequence[Span], phases: Sequence[str], count: int, generator: np.random.Generator) -> list[int]:
    """Spans of these phases: each phase in turn, one of its spans at random, no span twice where there are others."""
    known = [[place for place, span in enumerate(spans) if span.phase == phase] for phase in phases]
    known = [places for places in known if places]
    left, found = [generator.permutation(places).tolist() for places in known], []
    first = int(generator.integers(len(known))) if known else 0
    while known and len(found) < count:
        turn = (first + len(found)) % len(known)
        if not left[turn]:
            left[turn] = generator.permutation(known[turn]).tolist()
        found.append(left[turn].pop())
    return found


def _aim(span: Span, generator: np.random.Generator) -> Aim:
    once = span.phase in ("loading", "evaluating", "exporting")
    return Aim(span.phase, None if once else span.step, float(generator.uniform()) * span.seconds)
