"""What came of a proof, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from tunewise.verification.kills import Kill
from tunewise.verification.moments import DANGEROUS


@dataclass(frozen=True)
class Proof:
    """What came of one run.

    Attributes:
        save_every: steps between checkpoints.
        differs: parts in which a run that was killed and resumed is not the uninterrupted one, and what it lost.
        repeatable: whether a second uninterrupted run equals the first; looked at only where something differs.
    """

    name: str
    model: str
    steps: int
    save_every: int
    kills: tuple[Kill, ...]
    differs: tuple[str, ...] = ()
    repeatable: bool | None = None
    seconds: float = 0.0

    @property
    def equal(self) -> bool:
        return not self.differs

    def as_dict(self) -> dict[str, Any]:
        kills = [{**asdict(kill), "redone": kill.redone} for kill in self.kills]
        return {**asdict(self), "equal": self.equal, "kills": kills, "differs": list(self.differs)}


@dataclass(frozen=True)
class Proofs:
    """All runs; `folder` holds what they left, where it was kept."""

    runs: tuple[Proof, ...]
    folder: Path | None = None

    @property
    def equal(self) -> bool:
        return all(run.equal for run in self.runs)

    @property
    def kills(self) -> list[Kill]:
        return [kill for run in self.runs for kill in run.kills]

    @property
    def in_danger(self) -> int:
        """How many kills landed where something was written or evaluated."""
        return sum(kill.landed in DANGEROUS for kill in self.kills)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "equal": self.equal,
            "kills": len(self.kills),
            "in_danger": self.in_danger,
            "runs": [run.as_dict() for run in self.runs],
            "folder": self.folder and str(self.folder),
        }


class Watcher(Protocol):
    """What is told of a proof as it goes."""

    def on_plan(self, names: Sequence[str], kills: int) -> None: ...

    def on_whole(self, name: str, steps: int, seconds: float) -> None: ...

    def on_kill(self, name: str, kill: Kill) -> None: ...

    def on_end(self, name: str, proof: Proof) -> None: ...
