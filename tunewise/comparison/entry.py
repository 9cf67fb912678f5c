"""One run that belongs to a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tunewise.recipe import MethodChoice
from tunewise.report.contents import Kind


@dataclass(frozen=True)
class Entry:
    """A run that belongs to the comparison. Runs of one `name` differ in seed and fold alone. `share`: of the training
    rows that the seed draws, where it does not train on all. `fold`: what tests, in a cross-validation. `soup`: its
    kind, where the run is one, made of the runs in the folders `members`; `warnings` are to be told of it."""

    name: str
    method: str
    model: str
    seed: int
    kind: Kind
    folder: Path
    choice: MethodChoice | None = field(default=None, compare=False)
    share: float | None = None
    fold: int | None = None
    soup: str | None = None
    members: tuple[Path, ...] = field(default=(), compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
