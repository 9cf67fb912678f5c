"""Direct preference optimisation beside trl's DPOTrainer: prompts with a chosen and a rejected answer.

The longest sequence has 801 tokens, and 1,024 are read on every side, so that nothing is cut. What is counted is the
training with the reference's log-probabilities. DPOTrainer as it comes computes those in each step, beside a second
model; `tuned` and ours once for all rows, before the first step, in seconds that count as training; ours of the two
rows each of validation and test too. `tuned` also has batches of similar length, for which the trainer has to be told
the lengths. Ours has them as it comes; `ours, prompts shared` reads a prompt once for both answers.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.language_models import own, peers
from benchmarks.language_models.asked import Asked, Found, Measured, learnt
from benchmarks.language_models.material import words_of

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import Trainer

COLUMNS = ("prompt", "chosen", "rejected")
END = 1
"""The token that ends an answer."""
LENGTH = "length"


def tokens_of(folder: Path) -> int:
    """Tokens of all rows, padding left out: of a prompt, once, and of both answers with the end of each."""
    return sum(int((words_of(folder, column) + END * (column != "prompt")).sum()) for column in COLUMNS)


def longest_of(folder: Path) -> int:
    """Tokens of the longest prompt with one of its answers."""
    prompt, *answers = (words_of(folder, column) for column in COLUMNS)
    return int(max((prompt + answer + END).max() for answer in answers))


def ours(asked: Asked, **train: Any) -> Found:
    return own.run(own.recipe(asked, train, objective="dpo"))


def tuning(asked: Asked) -> dict[str, Any]:
    """The length is a column of the rows, which must not be removed before batches are made of it."""
    lengths = {
        "train_sampling_strategy": "group_by_length",
        "length_column_name": LENGTH,
        "remove_unused_columns": False,
    }
    return {**peers.tuned(asked), "precompute_ref_log_probs": True, **lengths}


def trl(asked: Asked, tuned: bool) -> Found:
    from trl import DPOConfig, DPOTrainer

    spent = [0.0]

    class Timed(DPOTrainer):
        """Computes the reference where it is made, before a callback can tell the time."""

        def _precompute_ref_logps(self, *args: Any) -> Dataset:
            begun = time.perf_counter()
            read = super()._precompute_ref_logps(*args)
            spent[0] += time.perf_counter() - begun
            return read

    def make(out: str, given: dict[str, Any]) -> Trainer:
        if tuned:
            given["train_dataset"] = with_lengths(given["train_dataset"])
        more = tuning(asked) if tuned else {}
        return Timed(args=DPOConfig(**peers.settings(asked, out), **more), **given)

    found = peers.run(asked, make)
    if tuned and not spent[0]:
        raise RuntimeError("the trainer computed no reference before its first step, where its time is counted")
    found.seconds += spent[0]
    return found


def with_lengths(read: Dataset) -> Dataset:
    """With a column of how many tokens both sequences of a row have."""
    totals = [sum(len(row[column].split()) for column in COLUMNS) for row in read]
    return read.add_column(LENGTH, totals)


def line(asked: Asked, found: Found) -> dict[str, Any]:
    return learnt(asked, found, tokens_of(Path(asked.folder)))


DPO = Measured(
    sides={
        "defaults": partial(trl, tuned=False),
        "tuned": partial(trl, tuned=True),
        "ours": ours,
        "ours, prompts shared": partial(ours, packing=True),
        "ours, checkpointing": partial(ours, gradient_checkpointing=True),
    },
    columns=COLUMNS,
    defaults={"rows": 32, "batch": 4, "steps": 3, "rate": 1e-4},
    others=2,
    line=line,
)
