"""Token ids of which a model is to learn some: texts to continue, answers to prompts.

Shape legend: N rows, B rows of a batch, T tokens of the longest row in it, S those of the longest source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tunewise.config.reading import UNLABELLED
from tunewise.data.ragged import Ragged

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class LabelledTokens:
    """Token ids per row, unpadded, int32. `learnt`: 1 where a token is to be learnt, else 0, int8. `sources`, for an
    encoder with a decoder, is what the encoder reads; `ids` are then the decoder's. `cut_rows` are the numbers (from 0)
    of the rows that were longer than the limit, `lost` the tokens they lost, `empty_rows` those of the rows of which
    nothing is left to learn; all int64."""

    ids: Ragged
    learnt: Ragged
    pad: int
    sources: Ragged | None = None
    lost: int = 0
    cut_rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    empty_rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, its source included, int64 (N,)."""
        return self.ids.lengths if self.sources is None else self.ids.lengths + self.sources.lengths

    @cached_property
    def counts(self) -> np.ndarray:
        """How many tokens of each row are to be learnt, int64 (N,)."""
        total = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.learnt.flat, dtype=np.int64)])
        return np.diff(total[self.learnt.offsets])

    def told(self, name: str, max_length: int) -> list[str]:
        """Lines for the log on what was cut of a split, and on its rows that teach nothing; none where all is whole."""
        told = []
        if many := len(self.cut_rows):
            told.append(
                f"{many:,} of {len(self):,} rows of {name} are longer than {max_length:,} tokens and were cut: "
                f"{self.lost:,} tokens lost (prompts at their beginnings, answers and texts at their ends)"
            )
        if many := len(self.empty_rows):
            told.append(f"{many:,} of {len(self):,} rows of {name} have no token left to learn")
        return told

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """See `Inputs`."""
        return len(rows), int(self.lengths[np.asarray(rows)].max())

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """Pads the rows on the right: input_ids, attention_mask and labels, int64 (B, T). A label stands at the place
        of its own token, UNLABELLED where none is to be learnt. Of an encoder with a decoder, input_ids and
        attention_mask (B, S) are the source's, labels (B, T) the decoder's."""
        import torch

        rows = np.asarray(rows, dtype=np.int64)
        ids_BT, held_BT = self.ids.padded(rows, self.pad)
        learnt_BT, _ = self.learnt.padded(rows, 0)
        labels_BT = np.where(learnt_BT > 0, ids_BT, UNLABELLED)
        if self.sources is not None:
            ids_BT, held_BT = self.sources.padded(rows, self.pad)
        batch = {"input_ids": ids_BT, "attention_mask": held_BT.astype(np.int64), "labels": labels_BT}
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def with_prompt(self, prompt: Sequence[int]) -> LabelledTokens:
        """The same rows with virtual ids before each, as peft puts them; of an encoder with a decoder, before what the
        encoder reads."""
        if self.sources is not None:
            return replace(self, sources=self.sources.with_items(0, prompt))
        learnt = self.learnt.with_items(0, [0] * len(prompt))
        return replace(self, ids=self.ids.with_items(0, prompt), learnt=learnt)
