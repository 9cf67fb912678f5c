"""What a run gives and costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Handover = Literal["transformers", "diffusers", "peft", "tunewise"]
CARD = "README.md"
"""The file of a model folder that people may edit."""


Status = Literal["finished", "failed", "interrupted", "running", "pending"]


@dataclass(frozen=True)
class Score:
    """A metric with its bootstrap confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Costs:
    """What a run costs. `train_seconds` is the time in optimiser steps and in filling the cache that they read (for
    `features`: embedding and solving),
    `total_seconds` everything from the start of the process to the saved record. FLOPs are those of training, without
    evaluation; one multiply-add is 2 FLOPs. `peak_memory_bytes` is the resident memory of the process (on a GPU:
    of the device). `saved_bytes` counts the files of the model handed over."""

    train_seconds: float
    total_seconds: float
    peak_memory_bytes: int
    forward_flops: float
    backward_flops: float
    trainable_parameters: int
    total_parameters: int
    saved_bytes: int
    predict_ms_per_example: float
