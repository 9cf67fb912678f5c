"""The crash harness: runs killed by SIGKILL at seeded moments and resumed are, bit by bit, the run that never was."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunewise.recipe import Recipe
from tunewise.verification.results import Proof, Proofs
from tunewise.verification.resume import verify_resume

CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "full": ("full", {"save_steps": 3}),
    "full, accumulated": ("full", {"save_steps": 2, "batch_size": 2, "accumulate": 4}),
    "lora": ({"lora": {"rank": 2, "dropout": 0.1}}, {"save_steps": 3}),
    "lora, accumulated": ({"lora": {"rank": 2}}, {"save_steps": 2, "batch_size": 2, "accumulate": 4}),
    "head, from the cache": ("head", {"save_steps": 4, "epochs": 3}),
    "head, from the cache, accumulated": ("head", {"save_steps": 4, "epochs": 3, "batch_size": 2, "accumulate": 4}),
    "gradual": ("gradual", {"save_steps": 4, "epochs": 3}),
    "stops early": (
        "full",
        {"save_steps": 3, "epochs": 4, "evaluate_every": 2, "early_stopping": 2, "learning_rate": 1e-7},
    ),
    "best kept": ("full", {"save_steps": 4, "evaluate_every": 2, "keep_best": True, "learning_rate": 0.05}),
    "solver": ("features", {}),
}
ORDINARY = {"full, accumulated": 3, "lora": 3, "head, from the cache": 3, "stops early": 2}
SOAK_KILLS = int(os.environ.get("TUNEWISE_SOAK_KILLS", "30"))


class Quiet:
    """Says nothing."""

    def on_plan(self, names: Sequence[str], kills: int) -> None: ...

    def on_whole(self, name: str, steps: int, seconds: float) -> None: ...

    def on_kill(self, name: str, kill: Any) -> None: ...

    def on_end(self, name: str, proof: Proof) -> None: ...


def prove(case: str, kills: int, seed: int, recipe: Callable[..., Recipe], folder: Path) -> Proofs:
    method, train = CASES[case]
    return verify_resume(
        recipe(method, **train), folder=folder, watcher=Quiet(), out=folder / "runs", kills=kills, seed=seed
    )


@pytest.mark.parametrize("case", ORDINARY)
def test_killed_and_resumed_is_uninterrupted(case: str, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    proofs = prove(case, ORDINARY[case], 7, recipe, tmp_path)
    (proof,) = proofs.runs
    assert proof.differs == () and proofs.equal
    assert len(proof.kills) == ORDINARY[case] and all(kill.redone <= proof.save_every for kill in proof.kills)
    assert not (tmp_path / "runs").exists()


@pytest.mark.soak
@pytest.mark.parametrize("case", CASES)
def test_soak(case: str, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    """10 cases, 30 kills each (or as many as TUNEWISE_SOAK_KILLS says). docs/reliability.md has the lines it prints."""
    proofs = prove(case, SOAK_KILLS, int(np.frombuffer(case.encode(), np.uint8).sum()), recipe, tmp_path)
    landed = {kill.landed: 0 for kill in proofs.kills}
    for kill in proofs.kills:
        landed[kill.landed] += 1
    print(f"\n{case}: {len(proofs.kills)} kills, {proofs.in_danger} in danger, {landed}")
    assert proofs.runs[0].differs == () and len(proofs.kills) == SOAK_KILLS
    assert proofs.in_danger >= 0.4 * SOAK_KILLS
