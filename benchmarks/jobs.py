"""The jobs in which the product and its peers do the same work: who does it, how, and what is to be reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import own
from benchmarks.peers.single_script import Script
from benchmarks.process import measure_in_process
from benchmarks.rows import Files

GUIDE, EXPERT, OURS = "guide", "expert", "ours"
SIDES = (GUIDE, EXPERT, OURS)
SINGLE_SCRIPT, FEATURES_SCRIPT = "benchmarks.peers.single_script", "benchmarks.peers.features_script"
BATCH = 8  # the default of the Trainer

HEAD_RATE = {"head_rate": 1}  # the Trainer has one rate for all
OPTIONS: dict[str, dict[str, Any]] = {
    "features": {"strength": 10.0},
    "last_k": {"k": 2, **HEAD_RATE},
    "full": HEAD_RATE,
    "layerwise": HEAD_RATE,
    "gradual": HEAD_RATE,
    "lora": {"rank": 8, "alpha": 16, "dropout": 0.1, "targets": ["query", "value"]},
}
# For all sides: near tunewise's defaults at this width. Full fine-tuning gave 0.82 on banking77 at 2.5e-4 (2,000 rows,
# one seed), and 0.64 at 5e-4, where it is not steady enough to compare sides within a point.
RATES = {
    "head": 1e-2,
    "last_k": 8e-4,
    "full": 2.5e-4,
    "layerwise": 4e-4,
    "gradual": 4e-4,
    "lora": 1e-3,
    "adapter": 2e-3,
    "prefix_tuning": 1e-2,
    "prompt_tuning": 1e-2,
    "norms": 2e-3,
    "bitfit": 2e-3,
}
COMPARED = ("features", *RATES)


@dataclass(frozen=True)
class Bench:
    """What the jobs share. `threads`: what an expert's scripts are told to take."""

    model: str
    files: Files
    folder: Path
    threads: int | None = None


@dataclass(frozen=True)
class Job:
    """One piece of work. `targets` are the ratios to reach, by peer: times as fast."""

    name: str
    title: str
    measure: Callable[[Bench, str, int], dict[str, Any]]
    sides: tuple[str, ...] = SIDES
    targets: Mapping[str, float] = field(default_factory=dict)
    memory_target: float | None = None
    every_seed: bool = True


def method_of(name: str) -> dict[str, Any]:
    """A method of ours with the options and the rate that all sides take."""
    rate = {"learning_rate": RATES[name]} if name in RATES else {}
    return {name: {**OPTIONS.get(name, {}), **rate}}


def script(bench: Bench, method: str, side: str, seed: int, batch_size: int = BATCH, **more: Any) -> Script:
    """What a peer is asked to do."""
    return Script(
        model=bench.model,
        train=str(bench.files.train),
        validation=str(bench.files.validation),
        test=str(bench.files.test),
        method=method,
        learning_rate=RATES.get(method, 0.0),
        batch_size=batch_size,
        seed=seed,
        expert=side == EXPERT,
        threads=bench.threads if side == EXPERT else None,
        **more,
    )


def training(method: str, batch_size: int = BATCH) -> Callable[[Bench, str, int], dict[str, Any]]:
    """Three epochs of a method."""

    def measure(bench: Bench, side: str, seed: int) -> dict[str, Any]:
        if side == OURS:
            described = own.recipe(bench.model, bench.files, own.Training(batch_size), seed)
            return own.train(described, method_of(method))
        return _peer(script(bench, method, side, seed, batch_size))

    return measure


def _peer(asked: Script) -> dict[str, Any]:
    module = FEATURES_SCRIPT if asked.method == "features" else SINGLE_SCRIPT
    return measure_in_process(module, asked.to_json())


def comparison(bench: Bench, side: str, seed: int) -> dict[str, Any]:
    """All methods, validated at each epoch; peers: a script for each, one after the other."""
    if side == OURS:
        described = own.recipe(bench.model, bench.files, own.Training(BATCH), seed)
        return own.compare(described, [method_of(name) for name in COMPARED])
    found = {name: _peer(script(bench, name, side, seed, validate=True)) for name in COMPARED}
    return {
        "command_seconds": sum(one["command_seconds"] for one in found.values()),
        "accuracies": {name: one["accuracy"] for name, one in found.items()},
        "train_seconds": {name: one["train_seconds"] for name, one in found.items()},
    }


SIDE_BY_SIDE = (
    Job("full", "full, 3 epochs, batch 8", training("full"), targets={GUIDE: 5, EXPERT: 1.8}, memory_target=0.6),
    Job("lora", "LoRA, 3 epochs, batch 8", training("lora"), targets={GUIDE: 5, EXPERT: 1.6}, memory_target=0.6),
    Job("last_k", "last 2 blocks, 3 epochs, batch 8", training("last_k"), targets={GUIDE: 8, EXPERT: 2.5}),
    Job("head", "output layers only, 3 epochs, batch 8", training("head"), targets={GUIDE: 15, EXPERT: 5}),
    Job("features", "frozen features + logistic regression", training("features"), targets={GUIDE: 3, EXPERT: 1.2}),
    Job("full_32", "full, 3 epochs, batch 32", training("full", 32)),
    Job("comparison", "a comparison of twelve methods, whole commands", comparison, targets={GUIDE: 6, EXPERT: 2.2}),
)
