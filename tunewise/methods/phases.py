"""Which phase of a training a step is in, for methods that plan more than once."""

from __future__ import annotations

from collections.abc import Sequence

from tunewise.types import Signals


def current_phase(starts: Sequence[int], signals: Signals) -> tuple[int, int | None]:
    """The number of the phase at this step, and the step at which the next begins (None: none within the training).

    `starts` are the first steps of the phases, in order. In a short training several may be the same; the last of them
    counts, the others are left out.
    """
    phase = max(number for number, start in enumerate(starts) if start <= signals.step)
    until = next((start for start in starts if start > signals.step), None)
    return phase, until if until is not None and until < signals.total_steps else None
