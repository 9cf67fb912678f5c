"""The TF-IDF baseline: a linear model on counts of words and word pairs, by scikit-learn."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunewise.errors import DataError
from tunewise.types import Schema, Split

# Inverse strengths of the L2 penalty (logistic regression's C) and strengths (ridge's alpha) tried on validation.
CS = (1.0, 10.0, 100.0)
ALPHAS = (0.1, 1.0, 10.0)


@dataclass(frozen=True)
class FittedTfidf:
    """`predict` gives scores as in types.Predictions; `seconds` is the whole search."""

    predict: Callable[[Split], np.ndarray]
    parameters: int
    seconds: float
    settings: dict[str, float]


def fit_tfidf(
    train: Split, validation: Split, schema: Schema, merit: Callable[[np.ndarray], float], seed: int
) -> FittedTfidf:
    """Fits one model per strength of regularisation and keeps the one whose validation scores have most `merit`.

    Words and pairs of neighbouring words, 1 + ln(count), inverse document frequency, rows of length 1. Of a pair of
    texts the model sees both vectors, their absolute difference, their product, and their cosine: without the last
    three a linear model cannot tell whether the two are alike.

    Raises:
        DataError: no training text holds a word.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer

    started = time.perf_counter()
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", dtype=np.float64)
    try:
        vectorizer.fit([text for texts in train.texts for text in texts])
    except ValueError as error:
        raise DataError(
            "the TF-IDF baseline finds no word in the training texts",
            where=f"{train.source}, column {', '.join(schema.text)}",
            fix="check that data.text names the column with the text",
        ) from error
    known, asked = _features(vectorizer, train), _features(vectorizer, validation)
    best: tuple[float, float, Any] | None = None
    for strength in ALPHAS if schema.task == "regression" else CS:
        model = _model(schema, strength, seed)
        with warnings.catch_warnings():
            # 300 steps are enough for the decisions; a label that all rows share is a constant, and may be.
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
            model.fit(known, train.targets)
        gained = merit(_scores(model, asked, schema))
        if best is None or gained > best[0]:
            best = (gained, strength, model)
    _, strength, model = best
    return FittedTfidf(
        predict=lambda split: _scores(model, _features(vectorizer, split), schema),
        parameters=_parameters(model),
        seconds=time.perf_counter() - started,
        settings={"alpha" if schema.task == "regression" else "C": strength},
    )


def _features(vectorizer: Any, split: Split) -> Any:
    from scipy.sparse import csr_array, hstack

    columns = [vectorizer.transform(column) for column in zip(*split.texts, strict=True)]
    if len(columns) == 1:
        return columns[0]
    first, second = columns
    product = first.multiply(second)
    cosine = csr_array(np.asarray(product.sum(axis=1)).reshape(-1, 1))
    return hstack([first, second, abs(first - second), product, cosine], format="csr")


def _model(schema: Schema, strength: float, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier

    if schema.task == "regression":
        return Ridge(alpha=strength, random_state=seed)
    model = LogisticRegression(C=strength, max_iter=300, random_state=seed)
    return OneVsRestClassifier(model) if schema.task == "multilabel" else model


def _scores(model: Any, features: Any, schema: Schema) -> np.ndarray:
    if schema.task == "regression":
        return np.asarray(model.predict(features), dtype=np.float64)
    given = np.asarray(model.predict_proba(features), dtype=np.float64)
    if schema.task == "multilabel":
        return given
    scores = np.zeros((given.shape[0], len(schema.labels)))
    scores[:, model.classes_] = given
    return scores


def _parameters(model: Any) -> int:
    models = getattr(model, "estimators_", [model])
    return sum(np.size(part.coef_) + np.size(part.intercept_) for part in models if hasattr(part, "coef_"))
