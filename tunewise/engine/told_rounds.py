"""What a training that learns from its own answers tells of itself, for its record: the last figures, and their course.

The course has at most `MOST` steps: where there are more, every second, every fourth and so on, told from the number of
steps alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST = 200


def add_step(told: dict[str, Any], step: int, epoch: float, figures: Mapping[str, float]) -> None:
    """Adds the figures of a step (from 1) to what was told before.

    Args:
        told: {} at first; `last` is the latest step, `steps` the course: each has `step`, `epoch`, and the figures.
    """
    entry = {"step": step, "epoch": epoch, **figures}
    told["last"] = entry
    kept, every = told.setdefault("steps", []), told.setdefault("every", 1)
    if (step - 1) % every:
        return
    kept.append(entry)
    if len(kept) > MOST:
        told["steps"], told["every"] = kept[::2], 2 * every
