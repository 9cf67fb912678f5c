"""What is asked of a side, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Asked:
    """The same for all sides. `folder` holds the rows and the model; every optimiser step reads all `rows`, `batch` of
    them at a time. `samples`, `new_tokens` and `ends`: answers to a prompt, tokens of each at most, and after how many
    one ends on average (0: none ends before)."""

    folder: str
    rows: int
    batch: int
    steps: int
    rate: float
    threads: int = 1
    precision: str = "fp32"
    samples: int = 8
    new_tokens: int = 64
    ends: int = 0

    @property
    def accumulate(self) -> int:
        """Batches of a step."""
        return self.rows // self.batch

    def file(self, name: str) -> Path:
        return Path(self.folder) / name


@dataclass
class Found:
    """Of one training: seconds, the most memory above the imported process in bytes, the loss of each step; where the
    model writes, the mean `length` of the answers of each step in tokens, and their mean `reward`."""

    seconds: float
    above_bytes: int | None
    losses: list[float]
    figures: list[dict[str, float]] = field(default_factory=list)


Side = Callable[[Asked], Found]


@dataclass(frozen=True)
class Measured:
    """An objective: its sides by name, in the order in which they take turns, the columns of its rows, its options
    where the command names none, rows of validation and of test, and the line that is printed of what a side found.
    `ends`: whether the model is made to end its answers as `Asked.ends` says."""

    sides: dict[str, Side]
    columns: tuple[str, ...]
    defaults: dict[str, Any]
    others: int
    line: Callable[[Asked, Found], dict[str, Any]]
    ends: bool = False


def learnt(asked: Asked, found: Found, tokens: int) -> dict[str, Any]:
    """The line of a side that learns `tokens` tokens in each step."""
    return {
        "tokens_per_second": round(tokens * asked.steps / found.seconds, 1),
        "above_mib": mib(found),
        "losses": [round(loss, 5) for loss in found.losses],
    }


def mib(found: Found) -> int:
    return round((found.above_bytes or 0) / 2**20)
