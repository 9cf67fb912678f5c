"""Several rows in one sequence: rows behind one another, and answers that share their prompt.

A row sees itself alone: positions start anew with each, and attention is block-diagonal. Rows that share a prompt (the
chosen and the rejected answer, the answers of a group) are one tree: what they have in common stands there once, and
each goes on from it without seeing the others. The last token in common is repeated in each branch, so that every
branch gives its own first token, one place before it, as any row does.

Shape legend: B rows of a batch, P packed sequences, L places of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tunewise.config.reading import PACKED_ROWS, UNLABELLED
from tunewise.data.labelled import LabelledTokens

if TYPE_CHECKING:
    import torch

NOBODY = -1
LAYER_FLOPS = 6.0
"""A token costs a block 24 D^2 FLOPs in its linear layers and 4 L D in attention: the same as LAYER_FLOPS D + L."""


def best_fit(lengths: np.ndarray, capacity: int) -> list[list[int]]:
    """Places of the lengths in bins of this capacity: the longest first, each into the bin that it fills best. Bins in
    the order in which they were opened; equal lengths in their order. A length above the capacity has a bin alone."""
    bins: list[list[int]] = []
    room: list[int] = []
    for place in np.argsort(-lengths, kind="stable"):
        length = int(lengths[place])
        fitting = [number for number, left in enumerate(room) if left >= length]
        if fitting:
            number = min(fitting, key=room.__getitem__)
        else:
            number = len(bins)
            bins.append([])
            room.append(capacity)
        bins[number].append(int(place))
        room[number] -= length
    return bins


def cheapest_bins(lengths: np.ndarray, most: int, width: int) -> list[list[int]]:
    """Bins of at most `most` tokens, of the capacity at which a model of this width has least to compute: long ones
    have less padding, and more attention between tokens that do not see each other."""
    total, longest = int(lengths.sum()), int(lengths.max())
    found: list[tuple[float, list[list[int]]]] = []
    for count in range(max(1, -(-total // max(most, longest))), len(lengths) + 1):
        bins = best_fit(lengths, max(longest, -(-total // count)))
        columns = max(int(lengths[rows].sum()) for rows in bins)
        found.append((len(bins) * columns * (LAYER_FLOPS * width + columns), bins))
    return min(found, key=lambda entry: entry[0])[1]


@dataclass(frozen=True)
class Branches:
    """Rows that stand in a sequence as a tree. `rows` are places in a batch; `shared` is how many of their first tokens
    stand there once (0 for a row alone)."""

    rows: tuple[int, ...]
    shared: int = 0

    def length(self, lengths: np.ndarray) -> int:
        """Places that they take."""
        return self.shared + sum(int(lengths[row]) - self.shared for row in self.rows)


@dataclass(frozen=True, eq=False)
class PackedTokens:
    """Labelled tokens of which the rows of a batch are packed into sequences; rows stay rows for everybody else.

    Args:
        most: tokens of a sequence.
        width: of the model, by which the cheapest packing is told.
        masked: for models that do not read from positions where a row begins.
    """

    tokens: LabelledTokens
    most: int
    width: int
    masked: bool = False

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def lengths(self) -> np.ndarray:
        return self.tokens.lengths

    @cached_property
    def counts(self) -> np.ndarray:
        """See `LabelledTokens`."""
        return self.tokens.counts

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """See `Inputs`."""
        lengths = self.lengths[np.asarray(rows)]
        bins = cheapest_bins(lengths, self.most, self.width)
        return len(bins), max(int(lengths[places].sum()) for places in bins)

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """input_ids, position_ids, labels and PACKED_ROWS, int64 (P, L). Most models of transformers read from
        positions that start anew where a row begins (`masking_utils.find_packed_sequence_indices`); for others
        attention_mask, bool (P, 1, L, L), is true where a place may look."""
        rows = np.asarray(rows, dtype=np.int64)
        bins = cheapest_bins(self.lengths[rows], self.most, self.width)
        sequences = [[Branches((place,)) for place in places] for places in bins]
        return packed_batch(self.tokens, rows, sequences, self.masked)


def shared_batch(
    tokens: LabelledTokens, rows: Sequence[int] | np.ndarray, groups: Sequence[Sequence[int]]
) -> dict[str, torch.Tensor]:
    """A sequence for each group of rows, in which what they have in common before the first token to learn stands once:
    as `PackedTokens.batch`, with a mask.

    Args:
        groups: places in `rows`, each in one group; PACKED_ROWS are these places.
    """
    rows = np.asarray(rows, dtype=np.int64)
    trees = [[Branches(tuple(group), _in_common(tokens, rows[list(group)]))] for group in groups]
    return packed_batch(tokens, rows, trees, masked=True)


def shared_shape(
    tokens: LabelledTokens, rows: Sequence[int] | np.ndarray, groups: Sequence[Sequence[int]]
) -> tuple[int, int]:
    """Sequences, and places of each, of `shared_batch`."""
    rows = np.asarray(rows, dtype=np.int64)
    trees = [Branches(tuple(group), _in_common(tokens, rows[list(group)])) for group in groups]
    return len(groups), max(tree.length(tokens.lengths[rows]) for tree in trees)


def _in_common(tokens: LabelledTokens, group: np.ndarray) -> int:
    """How many first tokens can stand there once: the same in all rows, with another behind them that is neither to be
    learnt nor different (it opens each branch)."""
    first = tokens.ids[group[0]]
    same = len(first)
    for row in group:
        other, learnt = tokens.ids[row], tokens.learnt[row]
        short = min(same, len(other))
        unlike = np.flatnonzero(first[:short] != other[:short])
        to_learn = np.flatnonzero(learnt)
        same = min(short, *(found[0] for found in (unlike, to_learn) if len(found)))
    return max(int(same) - 1, 0)


def packed_batch(
    tokens: LabelledTokens, rows: np.ndarray, sequences: Sequence[Sequence[Branches]], masked: bool
) -> dict[str, torch.Tensor]:
    """The batch of `PackedTokens` and `shared_batch`; `masked` with a mask, which branches need."""
    import torch

    lengths = tokens.lengths[rows]
    columns = max(sum(tree.length(lengths) for tree in trees) for trees in sequences)
    shape = (len(sequences), columns)
    ids, labels, owners = np.full(shape, tokens.pad), np.full(shape, UNLABELLED), np.full(shape, NOBODY)
    positions, trees_at = np.zeros(shape, np.int64), np.full(shape, NOBODY)
    for number, trees in enumerate(sequences):
        at = 0
        for tree_number, tree in enumerate(trees):
            begun = at
            for place, start in _parts(tree):
                row = rows[place]
                end = tree.shared if start is None else lengths[place]
                piece = slice(start or 0, end)
                here = (number, slice(at, at + piece.stop - piece.start))
                ids[here] = tokens.ids[row][piece]
                positions[here] = np.arange(piece.start, piece.stop)
                if start is not None:
                    owners[here] = place
                    learnt = tokens.learnt[row][piece].copy()
                    learnt[:1] = 0  # nothing before it gives it
                    labels[here] = np.where(learnt > 0, ids[here], UNLABELLED)
                at = here[1].stop
            trees_at[number, begun:at] = tree_number
        positions[number, at:] = np.arange(columns - at)
    batch = {"input_ids": ids, "position_ids": positions, "labels": labels, PACKED_ROWS: owners}
    if masked:
        batch["attention_mask"] = _may_look(trees_at, owners)[:, None]
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in batch.items()}


def _parts(tree: Branches) -> list[tuple[int, int | None]]:
    """Rows of a tree with where each starts; None for what they share."""
    shared: list[tuple[int, int | None]] = [(tree.rows[0], None)] if tree.shared else []
    return shared + [(place, tree.shared) for place in tree.rows]


def _may_look(trees_PL: np.ndarray, owners_PL: np.ndarray) -> np.ndarray:
    """Which place may look at which, bool (P, L, L): back, within its tree, at what is shared or of its own row.
    Padding looks at padding, so that no place looks at nothing."""
    columns = trees_PL.shape[1]
    back_LL = np.tri(columns, dtype=bool)
    same_tree = trees_PL[:, :, None] == trees_PL[:, None, :]
    own = (owners_PL[:, :, None] == owners_PL[:, None, :]) | (owners_PL[:, None, :] == NOBODY)
    return back_LL & same_tree & own
