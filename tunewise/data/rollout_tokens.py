"""What a model has written: the answers to the prompts of a round, several to each, with what is known of each token.

Shape legend: N prompts, G answers to each, B prompts of a batch, T tokens of the longest answer with its prompt,
K tokens of all answers, M those of the answers of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tunewise.data.labelled import LabelledTokens
from tunewise.data.packing import shared_batch, shared_shape
from tunewise.data.ragged import Ragged

if TYPE_CHECKING:
    import torch

SIGNAL = "signal_"
"""In front of the names of those entries of a batch that are not for the model."""


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """Prompts that are still to be answered. Their tokens decide the batches of a training. `cut` of them lost their
    beginnings, `lost` tokens in all. `longest_answer`: tokens of an answer at most. `sharing`: where a prompt has
    several answers, it is read once for all of them."""

    ids: Ragged
    texts: tuple[str, ...]
    cut: int = 0
    lost: int = 0
    longest_answer: int = 1
    sharing: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each prompt, int64 (N,)."""
        return self.ids.lengths

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """See `Inputs`."""
        return len(rows), int(self.lengths[np.asarray(rows)].max())

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        raise TypeError("prompts are read when they have been answered")

    def with_prompt(self, prompt: Sequence[int]) -> PromptTokens:
        """Virtual ids are put in when the model writes."""
        return self


@dataclass(frozen=True, eq=False)
class RolloutTokens:
    """Row i is a prompt with its answers: G sequences in a row of `answers`, of which the answers' tokens are learnt.
    `signals`: numbers of each of these tokens, (K,), in their order. `sharing`: the answers of a row are one sequence,
    in which their prompt is read once (`packing.shared_batch`)."""

    answers: LabelledTokens
    group: int
    signals: Mapping[str, np.ndarray] = field(default_factory=dict)
    sharing: bool = False

    def __len__(self) -> int:
        return len(self.answers) // self.group

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 (N,): of all its answers, the prompt with each."""
        return self.answers.lengths.reshape(-1, self.group).sum(1)

    @cached_property
    def widths(self) -> np.ndarray:
        """Places of the longest sequence of each row, int64 (N,)."""
        if not self.sharing:
            return self.answers.lengths.reshape(-1, self.group).max(1)
        return np.array([self.shape([row])[1] for row in range(len(self))], np.int64)

    @cached_property
    def counts(self) -> np.ndarray:
        """Tokens of each answer, int64 (N, G)."""
        return self.answers.counts.reshape(-1, self.group)

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.answers.counts)])

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """See `Inputs`."""
        sequences = self.sequences(rows)
        if self.sharing:
            return shared_shape(self.answers, sequences, self._groups(len(rows)))
        return self.answers.shape(sequences)

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """As `LabelledTokens.batch` or `shared_batch`, of all answers of the rows; and under `signal_...` the signals
        (M,) of the tokens to learn, row by row."""
        import torch

        sequences = self.sequences(rows)
        if self.sharing:
            batch = shared_batch(self.answers, sequences, self._groups(len(rows)))
        else:
            batch = self.answers.batch(sequences)
        places_M = np.concatenate([np.arange(self._starts[i], self._starts[i + 1]) for i in sequences])
        signals = {f"{SIGNAL}{name}": torch.from_numpy(values[places_M]) for name, values in self.signals.items()}
        return {**batch, **signals}

    def sequences(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """The places of the rows' answers."""
        return (np.asarray(rows, np.int64)[:, None] * self.group + np.arange(self.group)).ravel()

    def _groups(self, rows: int) -> list[range]:
        """The places of the answers of each row of a batch."""
        return [range(row * self.group, (row + 1) * self.group) for row in range(rows)]
