"""The rows on which methods decide differently: where a look at the data pays most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunewise.comparison.statistics import Runs
from tunewise.data.sentences import words_of
from tunewise.data.tags import entities_of, is_plain
from tunewise.types import Predictions, Schema

Decision = str | float | tuple[str, ...]


@dataclass(frozen=True)
class Disagreement:
    """A row that splits the methods.

    `row` is its number in the source, `index` its place in the split. `truth` and the decisions (of most seeds of a
    method; mean over seeds for numbers) are a class name, a number, the names of the labels that are set, or the
    entities ("Redondo: location"). `split`: share of the pairs of methods that differ, per label in multi-label tasks
    and per word for entities; for numbers largest less smallest.
    """

    row: int
    index: int
    truth: Decision
    decisions: dict[str, Decision]
    split: float


def disagreements(
    runs: Runs, schema: Schema, at_most: int = 50, *, texts: Sequence[tuple[str, ...]] = ()
) -> tuple[Disagreement, ...]:
    """The rows on which methods differ, most split first, then in the order of the data.

    Args:
        texts: of the rows; entities are named by their words.
    """
    if schema.gives_numbers:  # texts and rewards are no decisions: any two differ
        return ()
    methods = {method: _common(seeds, schema) for method, seeds in runs.items() if len(seeds)}
    if len(methods) < 2:
        return ()
    by_word = schema.task == "token_classification"
    decisions = np.stack(list(methods.values()))
    split = _split(decisions, schema)
    order = np.argsort(-split, kind="stable")[:at_most]
    reference = next(seeds[0] for seeds in runs.values() if len(seeds))

    def name(value: np.ndarray, index: int) -> Decision:
        return _entities(value, schema, texts[index][0]) if by_word else _named(value, schema)

    return tuple(
        Disagreement(
            row=int(reference.rows[index]),
            index=int(index),
            truth=name(reference.targets[index], index),
            decisions={method: name(said[index], index) for method, said in methods.items()},
            split=float(split[index]),
        )
        for index in order
        if split[index] > 0
    )


def _common(seeds: Sequence[Predictions], schema: Schema) -> np.ndarray:
    """What most seeds decide; where votes are equal, the mean score does."""
    score = np.mean([predictions.scores for predictions in seeds], axis=0)
    if schema.task == "regression":
        return score
    if schema.task == "multilabel":
        share = np.mean([predictions.decisions for predictions in seeds], axis=0)
        return np.where(share == 0.5, score >= 0.5, share > 0.5).astype(np.int64)
    votes = sum(np.eye(score.shape[-1])[predictions.decisions] for predictions in seeds)
    # A probability is at most 1, so half of it never outweighs a vote.
    chosen = (votes + score / 2).argmax(axis=-1)
    return np.where(seeds[0].decisions < 0, -1, chosen)  # where a row has no such word


def _split(decisions: np.ndarray, schema: Schema) -> np.ndarray:
    """How split the methods are on each row: (n,), of decisions (M, n) or (M, n, C)."""
    if schema.task == "regression":
        return decisions.max(axis=0) - decisions.min(axis=0)
    methods = len(decisions)
    pairs = methods * (methods - 1) / 2
    differing = sum((decisions[first] != decisions[first + 1 :]).sum(axis=0) for first in range(methods - 1))
    share = differing / pairs
    if schema.task == "token_classification":
        return share.sum(axis=1) / np.maximum(1, (decisions[0] >= 0).sum(axis=1))
    return share.mean(axis=1) if share.ndim == 2 else share


def _entities(value: np.ndarray, schema: Schema, text: str) -> Decision:
    words, tags = words_of(text), [schema.labels[tag] for tag in value if tag >= 0]
    found = entities_of(tags, is_plain(schema.labels))
    return tuple(f"{' '.join(words[start:end])}: {kind}" for kind, start, end in found)


def _named(value: np.ndarray, schema: Schema) -> Decision:
    if schema.task == "regression":
        return float(value)
    if schema.task == "multilabel":
        return tuple(label for label, marked in zip(schema.labels, value, strict=True) if marked > 0.5)
    return schema.labels[int(value)]
