"""Scores predictions by every metric that fits the task and the recipe."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tunewise.errors import NonFiniteError, RecipeError
from tunewise.evaluate import texts
from tunewise.evaluate.classification import mean_cost
from tunewise.evaluate.entities import check_seqeval
from tunewise.evaluate.functions import MAX_RESAMPLES, load_function
from tunewise.evaluate.intervals import CELLS_AT_ONCE, interval, resamples
from tunewise.evaluate.metrics import METRICS, Metric, metrics_of_types
from tunewise.evaluate.sample import Sample
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.types import Predictions, Schema, Score


class Evaluator:
    """The metrics of one task, checked against the recipe when it is made: before any model is loaded.

    Attributes:
        missing: metrics of texts that need a package which is not installed, by its name.
        metrics: every metric that is computed, by name: those of the table that fit the task, `cost` where the recipe
            gives costs, those of each type of entity, and the user's own functions.
        positive: index of the class that binary metrics look for; None where there are not two classes.

    Raises:
        RecipeError: an unknown class in `positive` or `costs`, a threshold metric that cannot choose one, a function
            that cannot be loaded, or entities without the package that scores them.
    """

    def __init__(self, schema: Schema, config: EvaluateConfig, folder: Path, allow_code: bool = False):
        self.schema, self.config = schema, config
        self.positive = _positive(schema, config)
        self.metrics: dict[str, Metric] = {
            metric.name: metric
            for metric in METRICS.values()
            if schema.task in metric.tasks and not (metric.binary and self.positive is None)
        }
        self.missing = _without_missing(self.metrics, config)
        if schema.task == "token_classification":
            check_seqeval()
            self.metrics |= metrics_of_types(schema.labels)
        if config.costs is not None:
            self.metrics["cost"] = _cost_metric(schema, config.costs)
        self._functions: set[str] = set()
        for reference in config.functions:
            metric = load_function(reference, folder, allow_code, schema.task)
            if metric.name in METRICS or metric.name in self.metrics:
                raise RecipeError(
                    f"there is already a metric called '{metric.name}'",
                    where=f"evaluate.functions: {reference}",
                    fix="give the function another name",
                )
            self.metrics[metric.name] = metric
            self._functions.add(metric.name)
        if config.threshold is not None:
            self._check_threshold(config.threshold)

    @property
    def names(self) -> list[str]:
        return list(self.metrics)

    def check_metric(self, name: str) -> None:
        """Makes sure that a metric can be computed here.

        Raises:
            RecipeError: there is no such metric, or it is not one for this task; names the nearest.
        """
        if name in self.metrics:
            return
        known = METRICS.get(name)
        if known is not None and known.reads == "texts" and self.schema.task in known.tasks:
            raise _unwritten(name, self.missing)
        if known is None:
            what = f"there is no metric '{name}'"
        elif known.binary and self.schema.task in known.tasks:
            what = f"the metric '{name}' needs two classes, the data has {len(self.schema.labels)}"
        else:
            what = f"the metric '{name}' is for {' and '.join(known.tasks)}, the task is {self.schema.task}"
        nearest = _nearest(name, self.names)
        raise RecipeError(what, where="metric", fix=f"{nearest}The metrics are: {', '.join(self.names)}")

    def check_choice(self, name: str) -> None:
        """Makes sure that runs can be chosen by a metric, on validation.

        Raises:
            RecipeError: as `check_metric`, or it is about texts, which are written for test sets alone.
        """
        self.check_metric(name)
        if self.metrics[name].reads == "texts":
            others = [metric.name for metric in self.metrics.values() if metric.reads != "texts"]
            raise RecipeError(
                f"'{name}' is about texts that the model writes, which it does for test sets at the end of a run; "
                "what to choose by is known after each epoch",
                where="metric",
                fix=f"choose by one of: {', '.join(others)}; '{name}' is computed all the same",
            )

    def greater_is_better(self, name: str) -> bool:
        self.check_metric(name)
        return self.metrics[name].greater_is_better

    def resamples_for(self, name: str) -> int:
        """Bootstrap resamples for a metric: the recipe's number, at most 200 for the user's own functions."""
        return min(self.config.resamples, MAX_RESAMPLES) if name in self._functions else self.config.resamples

    def score(self, predictions: Predictions) -> dict[str, float]:
        """The value of every metric; those of texts, where the model has written some.

        Raises:
            NonFiniteError: a score is NaN or infinite.
            RecipeError: a function of the user fails or gives no finite number.
        """
        _check_finite(predictions)
        whole = self._sample(predictions, np.ones((1, len(predictions.targets))))
        metrics = _fitting(self.metrics, predictions)
        return {name: float(metric.compute(whole)[0]) for name, metric in metrics.items()}

    def score_one(self, name: str, predictions: Predictions) -> float:
        """The value of one metric."""
        return float(self.values(name, predictions, np.ones((1, len(predictions.targets))))[0])

    def score_with_intervals(self, predictions: Predictions, seed: int = 0) -> dict[str, Score]:
        """The value of every metric with its percentile bootstrap interval over rows.

        All metrics see the same resamples. An interval whose resamples leave the metric undefined too often is nan.
        """
        points, metrics = self.score(predictions), _fitting(self.metrics, predictions)
        found: dict[str, list[np.ndarray]] = {name: [] for name in metrics}
        left = {name: self.resamples_for(name) for name in metrics}
        rng = np.random.default_rng(seed)
        for weights in resamples(len(predictions.targets), max(left.values()), rng):
            sample = self._sample(predictions, weights)
            for name, metric in metrics.items():
                if left[name] <= 0:
                    continue
                part = self._sample(predictions, weights[: left[name]]) if left[name] < len(weights) else sample
                found[name].append(metric.compute(part))
                left[name] -= len(weights)
        return {
            name: Score(points[name], *interval(np.concatenate(values), self.config.confidence))
            for name, values in found.items()
        }

    def values(self, name: str, predictions: Predictions, weights: np.ndarray) -> np.ndarray:
        """The metric under R weightings of the rows.

        Args:
            weights: (R, n); how often each row counts. Whole numbers where the metric is a function of the user.

        Returns:
            (R,); nan where the metric is undefined.
        """
        self.check_metric(name)
        _check_finite(predictions)
        compute = self.metrics[name].compute
        return np.concatenate([compute(self._sample(predictions, block)) for block in _blocks(weights)])

    def _sample(self, predictions: Predictions, weights: np.ndarray) -> Sample:
        weights_nR = np.ascontiguousarray(weights.T, dtype=np.float64)
        return Sample(predictions, weights_nR, self.positive, self.schema.labels)

    def _check_threshold(self, name: str) -> None:
        if self.schema.task != "multilabel" and self.positive is None:
            raise RecipeError(
                f"a decision threshold is chosen for two classes or for multi-label tasks; this one is "
                f"{self.schema.task} with {self.schema.outputs} outputs",
                where="evaluate.threshold",
                fix="leave evaluate.threshold out",
            )
        self.check_metric(name)
        if self.metrics[name].reads == "scores":
            fitting = [metric.name for metric in self.metrics.values() if metric.reads == "decisions"]
            raise RecipeError(
                f"'{name}' does not depend on the threshold, so none can be chosen by it",
                where="evaluate.threshold",
                fix=f"choose by one of: {', '.join(fitting)}",
            )


def _positive(schema: Schema, config: EvaluateConfig) -> int | None:
    binary = schema.task == "classification" and len(schema.labels) == 2
    if config.positive is None:
        return 1 if binary else None
    if not binary:
        raise RecipeError(
            f"a positive class can be named where there are two classes; this task is {schema.task} with "
            f"{schema.outputs} outputs",
            where="evaluate.positive",
            fix="leave evaluate.positive out",
        )
    return _class_index(config.positive, schema, "evaluate.positive")


def _class_index(name: str, schema: Schema, where: str) -> int:
    if name in schema.labels:
        return schema.labels.index(name)
    shown = ", ".join(schema.labels[:20]) + (", ..." if len(schema.labels) > 20 else "")
    raise RecipeError(
        f"there is no class '{name}'", where=where, fix=f"{_nearest(name, schema.labels)}The classes are: {shown}"
    )


def _cost_metric(schema: Schema, costs: dict[str, dict[str, float]]) -> Metric:
    if schema.task != "classification":
        raise RecipeError(
            f"costs of mistakes are for classification, the task is {schema.task}",
            where="evaluate.costs",
            fix="leave evaluate.costs out",
        )
    matrix = np.zeros((len(schema.labels), len(schema.labels)))
    for true, row in costs.items():
        for predicted, cost in row.items():
            first = _class_index(true, schema, "evaluate.costs")
            matrix[first, _class_index(predicted, schema, f"evaluate.costs.{true}")] = cost
    return Metric(
        name="cost",
        tasks=("classification",),
        greater_is_better=False,
        words="mean cost per row, by the cost of each mistake",
        source="Elkan (2001), The foundations of cost-sensitive learning",
        compute=mean_cost(matrix),
    )


def _fitting(metrics: dict[str, Metric], predictions: Predictions) -> dict[str, Metric]:
    return {name: metric for name, metric in metrics.items() if metric.reads != "texts" or predictions.generated}


def _without_missing(metrics: dict[str, Metric], config: EvaluateConfig) -> dict[str, str]:
    """Takes out (in place) metrics of texts where none are written, and returns those without their package."""
    lost = {}
    for name in [name for name, metric in metrics.items() if metric.reads == "texts"]:
        if package := texts.missing(name):
            lost[name] = package
        if config.generation is None or name in lost:
            del metrics[name]
    if "bleu" in metrics:
        metrics["bleu"] = replace(metrics["bleu"], compute=texts.bleu(config.bleu_tokenizer))
    return lost


def _unwritten(name: str, missing: dict[str, str]) -> RecipeError:
    """Why a metric of texts is not there."""
    if name in missing:
        what, fix = f"needs the package {missing[name]}, which is not installed", "pip install 'tunewise[language]'"
    else:
        what, fix = "is about texts that the model writes, and evaluate.generation is null", "leave it out"
    return RecipeError(f"the metric '{name}' {what}", where="metric", fix=fix)


def _check_finite(predictions: Predictions) -> None:
    finite = np.isfinite(predictions.scores)
    if finite.ndim == 3:  # of words; where a row has none, there is nothing to be finite
        finite |= (predictions.targets < 0)[:, :, None]
    bad = ~finite.reshape(len(finite), -1).all(axis=1)
    if bad.any():
        raise NonFiniteError(
            f"the model gives NaN or infinity for {int(bad.sum())} of {len(bad)} rows",
            where=f"row {', '.join(str(row) for row in predictions.rows[bad][:5])}",
            fix="train with a lower learning rate or in fp32",
        )


def _blocks(weights: np.ndarray) -> Iterator[np.ndarray]:
    at_once = max(1, CELLS_AT_ONCE // max(weights.shape[1], 1))
    return (weights[start : start + at_once] for start in range(0, len(weights), at_once))


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'? " if near else ""
