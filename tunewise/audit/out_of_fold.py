"""What a linear model says of rows that it has not learned from.

Shape legend: N rows, F width of the features, C outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from tunewise.audit.view import Progress
from tunewise.types import Schema

FOLDS, REPEATS = 5, 3
C, ALPHA = 1.0, 1.0  # the strengths that found most planted errors; rows have length 1 in each part of the features


def folds_of(texts: Sequence[tuple[str, ...]], strata: Sequence[Hashable], repeat: int = 0) -> np.ndarray:
    """The fold of each row, int64 (N,): each stratum is dealt out evenly, in an order that follows from the texts and
    `repeat`; rows of equal text go together, so that none is judged by its own twin."""

    def place(text: tuple[str, ...]) -> bytes:
        return hashlib.sha256("\x1f".join((str(repeat), *text)).encode(errors="surrogatepass")).digest()

    stratum: dict[tuple[str, ...], str] = {}
    for text, own in zip(texts, strata, strict=True):
        stratum.setdefault(text, str(own))
    ordered = sorted(stratum, key=lambda text: (stratum[text], place(text)))
    fold = {text: number % FOLDS for number, text in enumerate(ordered)}
    return np.array([fold[text] for text in texts], dtype=np.int64)


def out_of_fold(
    texts: Sequence[tuple[str, ...]],
    strata: Sequence[Hashable],
    features_NF: np.ndarray,
    targets: np.ndarray,
    schema: Schema,
    progress: Progress,
) -> np.ndarray:
    """Scores (N, C), or (N,) for regression, of every row by models of the other folds, the mean of several divisions
    into folds."""
    total = np.zeros(len(targets) if schema.task == "regression" else (len(targets), schema.outputs))
    for repeat in range(REPEATS):
        folds = folds_of(texts, strata, repeat)
        for fold in range(FOLDS):
            held = folds == fold
            if held.any() and not held.all():
                total[held] += fitted(features_NF[~held], targets[~held], schema)(features_NF[held]) / REPEATS
            progress((repeat * FOLDS + fold + 1) / (REPEATS * FOLDS))
    return total


def fitted(features_NF: np.ndarray, targets: np.ndarray, schema: Schema) -> Callable[[np.ndarray], np.ndarray]:
    """A linear model: features -> probabilities (N, C) (each on its own for several labels), or values (N,)."""
    from scipy.special import expit, softmax

    from tunewise.engine.feature_head import fit_head

    if schema.task == "regression":
        middle, scale = float(targets.mean()), float(targets.std()) or 1.0
        head = fit_head("ridge", schema, features_NF, (targets - middle) / scale, ALPHA, 0, None)
        return lambda asked_NF: head.logits(asked_NF)[:, 0] * scale + middle
    head = fit_head("logistic", schema, features_NF, targets, C, 0, None)
    if schema.task == "multilabel":
        return lambda asked_NF: expit(head.logits(asked_NF))
    return lambda asked_NF: softmax(head.logits(asked_NF), axis=1)
