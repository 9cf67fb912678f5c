"""The metrics of token classification: each takes a Sample and gives (R,).

An entity counts as found where type, first and last word are right (Tjong Kim Sang and De Meulder 2003). Entities are
read by seqeval in its strict mode, IOB2: one begins with B-.

Shape legend: n rows, W most words in a row, K types of entity, R weightings of the rows.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np

from tunewise.data.tags import OUTSIDE, as_iob2, entity_types, is_plain, type_of
from tunewise.errors import RecipeError
from tunewise.evaluate.sample import Counts, Sample
from tunewise.evaluate.weighted import ratio
from tunewise.types import Predictions

Part = Literal["precision", "recall", "f1"]

# Reading the entities of 1,287 rows took 0.4 s on one core, weighting them 2 ms: each set of predictions is read once.
_READ: WeakKeyDictionary[Predictions, Counts] = WeakKeyDictionary()


def check_seqeval() -> None:
    """Makes sure that entities can be scored.

    Raises:
        RecipeError: seqeval is not installed.
    """
    if importlib.util.find_spec("seqeval") is None:
        raise RecipeError(
            "entities are scored by the package seqeval, which is not installed", fix="pip install 'tunewise[entities]'"
        )


def of_entities(part: Part, kind: str | None = None) -> Callable[[Sample], np.ndarray]:
    """The metric that counts entities of all types together, or of one."""

    def metric(sample: Sample) -> np.ndarray:
        counts = counts_of(sample.predictions, sample.labels)
        if kind is None:
            hits, predicted, support = (marks.sum(axis=0) for marks in (counts.hits, counts.predicted, counts.support))
        else:
            row = entity_types(sample.labels).index(kind)
            hits, predicted, support = counts.hits[row], counts.predicted[row], counts.support[row]
        hits, predicted, support = (marks @ sample.weights_nR for marks in (hits, predicted, support))
        if part == "f1":
            return ratio(2 * hits, predicted + support)
        return ratio(hits, predicted if part == "precision" else support)

    return metric


def token_accuracy(sample: Sample) -> np.ndarray:
    """Share of words with the right tag."""
    said = sample.predictions
    right = (said.decisions == said.targets) & (said.targets >= 0)
    return ratio(right.sum(axis=1) @ sample.weights_nR, (said.targets >= 0).sum(axis=1) @ sample.weights_nR)


def counts_of(predictions: Predictions, labels: Sequence[str]) -> Counts:
    """Entities found, said and there, per type and row: each (K, n)."""
    if predictions not in _READ:
        said, there = (_entities(tags, labels) for tags in (predictions.decisions, predictions.targets))
        found = [ours & theirs for ours, theirs in zip(said, there, strict=True)]
        types = len(entity_types(labels))
        _READ[predictions] = Counts(*(_count(entities, types) for entities in (found, said, there)))
    return _READ[predictions]


def _entities(tags_nW: np.ndarray, labels: Sequence[str]) -> list[set[tuple[int, int, int]]]:
    """Number of the type, first word, and the word behind the last, of the entities of each row."""
    from seqeval.scheme import IOB2, Entities

    plain, types = is_plain(labels), entity_types(labels)
    # seqeval takes hyphens off the ends of a type's name; of a number there is nothing to take.
    number = {label: str(types.index(kind)) for label in labels if (kind := type_of(label, plain)) is not None}
    names = [OUTSIDE if label == OUTSIDE else ("" if plain else label[:2]) + number[label] for label in labels]
    rows = [as_iob2([names[tag] for tag in row if tag >= 0], plain) for row in tags_nW.tolist()]
    found: list[set[tuple[int, int, int]]] = [set() for _ in rows]
    some = [place for place, row in enumerate(rows) if set(row) - {OUTSIDE}]
    for place, entities in zip(some, Entities([rows[place] for place in some], IOB2).entities, strict=True):
        found[place] = {(int(each.tag), each.start, each.end) for each in entities}
    return found


def _count(entities: list[set[tuple[int, int, int]]], types: int) -> np.ndarray:
    counts = np.zeros((types, len(entities)))
    for row, found in enumerate(entities):
        for kind, _, _ in found:
            counts[kind, row] += 1
    return counts
