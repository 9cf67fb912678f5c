"""Supervised fine-tuning beside trl's SFTTrainer: prompts with an answer that is to be learnt.

`tuned` has batches of similar length. Ours has them as it comes; `ours, packed` puts the rows of any batch behind one
another instead.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.language_models import own, peers
from benchmarks.language_models.asked import Asked, Found, Measured, learnt
from benchmarks.language_models.material import words_of

COLUMNS = ("prompt", "completion")


def tokens_of(folder: Path) -> int:
    """Tokens of all rows, with the end of each, padding left out."""
    return sum(int((words_of(folder, column) + end).sum()) for column, end in zip(COLUMNS, (0, 1), strict=True))


def ours(asked: Asked, **train: Any) -> Found:
    return own.run(own.recipe(asked, train))


def trl(asked: Asked, tuned: bool) -> Found:
    from trl import SFTConfig, SFTTrainer

    more = {**peers.tuned(asked), "train_sampling_strategy": "group_by_length"} if tuned else {}
    return peers.run(
        asked, lambda out, given: SFTTrainer(args=SFTConfig(**peers.settings(asked, out), **more), **given)
    )


def line(asked: Asked, found: Found) -> dict[str, Any]:
    return learnt(asked, found, tokens_of(Path(asked.folder)))


SFT = Measured(
    sides={
        "defaults": partial(trl, tuned=False),
        "tuned": partial(trl, tuned=True),
        "ours": ours,
        "ours, packed": partial(ours, packing=True, group_by_length=False),
        "ours, checkpointing": partial(ours, gradient_checkpointing=True),
    },
    columns=COLUMNS,
    defaults={"rows": 64, "batch": 8, "steps": 3, "rate": 1e-3},
    others=8,
    line=line,
)
