"""What needs no pretrained model: the yardsticks that fine-tuning has to beat."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tunewise.errors import RecipeError
from tunewise.evaluate.decide import choose_threshold, decide
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.lookup import constant_tags, lookup
from tunewise.evaluate.tfidf import fit_tfidf
from tunewise.types import DataBundle, Predictions, Schema, Split, Task

Predict = Callable[[Split], np.ndarray]


@dataclass(frozen=True)
class Baseline:
    """A yardstick: its name in the results, its tasks, and what it does in one line."""

    name: str
    tasks: tuple[Task, ...]
    words: str


BASELINES: dict[str, Baseline] = {
    baseline.name: baseline
    for baseline in (
        Baseline(
            "majority",
            ("classification", "multilabel", "token_classification"),
            "gives every row the share of each class (or label; every word that of each tag) in the training rows, so "
            "decides for the most frequent",
        ),
        Baseline("mean", ("regression",), "gives every row the mean of the training targets"),
        Baseline(
            "tfidf",
            ("classification", "multilabel", "regression"),
            "TF-IDF of words and word pairs, then logistic regression (one per label in multi-label tasks) or ridge "
            "regression, the strength of regularisation chosen on validation",
        ),
        Baseline(
            "lookup",
            ("token_classification",),
            "gives every word the tags it had in the training rows, by their shares; words that are not there, the "
            "shares over all words",
        ),
    )
}


@dataclass(frozen=True, eq=False)
class BaselineResult:
    """What a baseline says of validation and each test split, and what it cost.

    `costs` bears names of `types.Costs`: `train_seconds` (the whole search on validation included),
    `predict_ms_per_example`, `trainable_parameters`, `total_parameters`. `settings` is what was chosen on validation.
    """

    predictions: dict[str, Predictions]
    costs: dict[str, float]
    settings: dict[str, float]


def baselines_for(task: Task, images: bool = False) -> list[str]:
    """Names of the baselines of a task, simplest first; of images, those that read no words."""
    names = [baseline.name for baseline in BASELINES.values() if task in baseline.tasks]
    return [name for name in names if not (images and name == "tfidf")]


def run_baseline(name: str, data: DataBundle, evaluator: Evaluator, metric: str, seed: int = 0) -> BaselineResult:
    """Fits a baseline to the training rows, as the methods are: what is chosen is chosen on validation by `metric`.

    Where the recipe asks for a decision threshold, the baseline gets one too.

    Raises:
        RecipeError: there is no such baseline for the task.
        DataError: TF-IDF finds no word in the training texts.
    """
    schema, validation = data.schema, data.splits["validation"]
    known = baselines_for(schema.task, bool(schema.image))
    if name not in known:
        raise RecipeError(
            f"there is no baseline '{name}' for {schema.task}{' of images' * bool(schema.image)}",
            fix=f"the baselines for it are: {', '.join(known)}",
        )

    def predictions(split: Split, scores: np.ndarray, threshold: float | None = None) -> Predictions:
        decisions = decide(scores, schema, threshold, evaluator.config.positive)
        return Predictions(scores=scores, decisions=decisions, targets=split.targets, rows=split.rows)

    def merit(scores: np.ndarray) -> float:
        value = evaluator.score_one(metric, predictions(validation, scores))
        if not np.isfinite(value):
            return -np.inf
        return value if evaluator.greater_is_better(metric) else -value

    if name == "tfidf":
        fitted = fit_tfidf(data.splits["train"], validation, schema, merit, seed)
        predict, parameters, seconds, settings = fitted.predict, fitted.parameters, fitted.seconds, fitted.settings
    else:
        started = time.perf_counter()
        predict, parameters = (lookup if name == "lookup" else _constant)(data.splits["train"], schema)
        seconds, settings = time.perf_counter() - started, {}

    threshold = None
    if evaluator.config.threshold is not None:
        found = predictions(validation, predict(validation))
        threshold = choose_threshold(evaluator.config.threshold, found, evaluator)
        settings = {**settings, "threshold": threshold}
    said, rows, started = {}, 0, time.perf_counter()
    for split_name, split in {"validation": validation, **data.tests}.items():
        said[split_name] = predictions(split, predict(split), threshold)
        rows += len(split)
    predict_seconds = time.perf_counter() - started
    costs = {
        "train_seconds": seconds,
        "predict_ms_per_example": 1000 * predict_seconds / max(rows, 1),
        "trainable_parameters": parameters,
        "total_parameters": parameters,
    }
    return BaselineResult(said, costs, settings)


def _constant(train: Split, schema: Schema) -> tuple[Predict, int]:
    if schema.task == "token_classification":
        return constant_tags(train, schema)
    if schema.task == "classification":
        given = np.bincount(train.targets, minlength=len(schema.labels)) / len(train)
    else:
        given = np.asarray(train.targets, dtype=np.float64).mean(axis=0)
    return lambda split: np.tile(given, (len(split), 1)) if given.ndim else np.full(len(split), given), given.size
