"""`tunewise verify resume`: that a run which is killed and resumed is the run that never was, shown on a recipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from tunewise.cli.printing import print_proofs
from tunewise.recipe import Recipe
from tunewise.report.figures import seconds
from tunewise.tracking.progress import plain_text
from tunewise.verification.kills import Kill
from tunewise.verification.results import Proof
from tunewise.verification.resume import verify_resume


class Lines:
    """A line for each run that ends, and for each kill."""

    def __init__(self, stream: TextIO):
        self.stream, self.total, self.done = stream, 0, 0

    def on_plan(self, names: Sequence[str], kills: int) -> None:
        self.total = len(names)
        self._line(f"{self.total} runs; each once uninterrupted, and once killed ({kills} times) and resumed")

    def on_whole(self, name: str, steps: int, took: float) -> None:
        self._line(f"[{self.done + 1}/{self.total}] {name}: {steps} steps uninterrupted, {seconds(took)}")

    def on_kill(self, name: str, kill: Kill) -> None:
        after = f" after step {kill.step}" if kill.step is not None else ""
        self._line(f"[{self.done + 1}/{self.total}] {name}: killed while {kill.landed}{after}")

    def on_end(self, name: str, proof: Proof) -> None:
        self.done += 1
        result = "equal" if proof.equal else f"NOT equal: {', '.join(proof.differs)}"
        self._line(f"[{self.done}/{self.total}] {name}: {result}, {seconds(proof.seconds)}")

    def _line(self, text: str) -> None:
        print(plain_text(text), file=self.stream, flush=True)


def verify_resume_of(
    recipe: Recipe, *, folder: Path, out: Path | None, kills: int, seed: int, allow_code: bool, as_json: bool
) -> bool:
    """Prints what came of it; whether every resumed run equals the uninterrupted one."""
    found = verify_resume(
        recipe, folder=folder, out=out, watcher=Lines(sys.stderr), kills=kills, seed=seed, allow_code=allow_code
    )
    if as_json:
        print(json.dumps(found.as_dict(), allow_nan=False))
    else:
        print_proofs(found.as_dict())
    return found.equal
