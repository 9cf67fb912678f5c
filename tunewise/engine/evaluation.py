"""What the trained model says of validation and of every test set, and how good that is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tunewise.data.cuts import Losses
from tunewise.data.strided import in_windows, summed
from tunewise.data.tokenise import with_prompt
from tunewise.engine.train import Trained
from tunewise.engine.written import Written, by_package, texts_told, writer_of
from tunewise.errors import RecipeError
from tunewise.evaluate.cut_rows import told_effect
from tunewise.evaluate.decide import choose_threshold, to_predictions
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.metrics import default_metric
from tunewise.evaluate.predict import predict_logits
from tunewise.evaluate.sample import confusion_by_split
from tunewise.models.load import UNLIMITED, Net
from tunewise.types import DataBundle, Predictions, Score, Split


@dataclass(frozen=True, eq=False)
class Results:
    """`predictions` and `confusion` by split, `scores` by test set and metric; `threshold` where one was chosen.
    `texts`: how a language model wrote for test rows, with samples (`written.texts_told`).
    `forgetting`: see `forgetting.Forgetting.told`; `drawn`: see `drawn_figures.DrawnImages.told`."""

    predictions: dict[str, Predictions]
    validation: dict[str, Score]
    scores: dict[str, dict[str, Score]]
    confusion: dict[str, list[list[int]]]
    threshold: float | None
    predict_ms_per_example: float
    texts: dict[str, Any] = field(default_factory=dict)
    forgetting: dict[str, Any] = field(default_factory=dict)
    drawn: dict[str, Any] = field(default_factory=dict)


def evaluate(
    trained: Trained,
    data: DataBundle,
    evaluator: Evaluator,
    stop: Callable[[], None],
    warn: Callable[[str], None] = lambda message: None,
    metric: str | None = None,
    texts_before: Sequence[str] = (),
) -> Results:
    """Predicts with the weights to hand over, in fp32; the threshold is chosen on validation, never on test.

    Args:
        warn: is told what was cut of each test set, or read in windows, and how that goes with `metric` (None for the
            task's default).
        texts_before: what the model wrote before it was trained (`written.Writer.samples`).
    """
    batch_size = evaluator.config.batch_size
    validation, threshold = data.splits["validation"], None
    logits_NC = trained.outputs_of(validation, batch_size, stop)
    predictions = {"validation": to_predictions(logits_NC, validation, evaluator)}
    if evaluator.config.threshold:
        threshold = choose_threshold(evaluator.config.threshold, predictions["validation"], evaluator)
        predictions["validation"] = to_predictions(logits_NC, validation, evaluator, threshold)
    seconds = 0.0
    metric = metric or default_metric(data.schema.task)
    for name, split in data.tests.items():
        found: list[Losses] = []
        start, before = time.perf_counter(), trained.reader.spent
        if evaluator.config.stride is None:
            logits_NC = trained.outputs_of(split, batch_size, stop, found.append)
        else:
            logits_NC = _in_windows(trained, split, batch_size, stop, evaluator.config.stride)
        # As if nothing had been kept: forward passes that were read count, what keeping them took does not.
        kept = trained.reader.spent - before
        seconds += time.perf_counter() - start - kept.seconds + kept.forward_seconds
        predictions[name] = to_predictions(logits_NC, split, evaluator, threshold)
        for losses in found:
            warn(_told(losses, split, trained))
            long = (losses.chunked_rows, "were read in windows") if losses.chunked else (losses.rows, "were cut")
            if told := told_effect(name, predictions[name], long[0], metric, evaluator, long[1]):
                warn(told)
    written = _write(trained, data, evaluator, stop, warn)
    predictions |= {name: found.beside(predictions[name]) for name, found in written.items()}
    scores = {name: evaluator.score_with_intervals(said) for name, said in predictions.items()}
    return Results(
        predictions=predictions,
        validation=scores.pop("validation"),
        scores=scores,
        confusion=confusion_by_split(predictions, data.schema.task),
        threshold=threshold,
        predict_ms_per_example=1000 * seconds / sum(len(split) for split in data.tests.values()),
        texts=texts_told(written, texts_before, evaluator, data.splits["train"], data.schema.form),
    )


def _in_windows(trained: Trained, split: Split, batch_size: int, stop: Callable[[], None], stride: int) -> np.ndarray:
    """The numbers of each row (n, K), read to its end."""
    net, objective = trained.net, trained.objective
    rows = objective.encode(split, net.tokenizer, UNLIMITED, False)
    windows, row_W = in_windows(rows, net.max_length, stride)
    numbers_WK = predict_logits(
        net.model,
        with_prompt(windows, net.prompt),
        batch_size,
        stop=stop,
        size=trained.pass_size,
        outputs=objective.outputs,
    )
    return summed(numbers_WK, row_W, len(rows))


def check_stride(net: Net, evaluator: Evaluator) -> None:
    """Refuses windows that would leave tokens out.

    Raises:
        RecipeError: the stride is not smaller than what the model reads, or the model has an encoder.
    """
    stride = evaluator.config.stride
    if stride is None:
        return
    if net.model.config.is_encoder_decoder:
        raise RecipeError("windows are for models without an encoder", where="evaluate.stride", fix="leave it out")
    if stride >= net.max_length:
        raise RecipeError(
            f"windows that begin {stride} tokens after each other would leave tokens without any before them: the "
            f"model reads {net.max_length}",
            where="evaluate.stride",
            fix=f"take half of that, {max(1, net.max_length // 2)}",
        )


def _write(
    trained: Trained,
    data: DataBundle,
    evaluator: Evaluator,
    stop: Callable[[], None],
    warn: Callable[[str], None],
) -> dict[str, Written]:
    """What a language model writes for each test set; nothing by a model that answers with numbers."""
    writer = writer_of(trained.net, trained.objective, data, evaluator, stop, trained.pass_size)
    if writer is None:
        return {}
    found = {name: writer.write(split) for name, split in data.tests.items()}
    for written in found.values():
        if told := written.told(writer.config):
            warn(told)
    for package, names in by_package(evaluator.missing).items():
        warn(f"{' and '.join(names)} are left out: they need the package {package} (pip install 'tunewise[language]')")
    return found


def _told(losses: Losses, split: Split, trained: Trained) -> str:
    of_what = f"of {len(split)} rows of {split.name}" if trained.head is None else f"texts of {split.name}"
    return losses.told(of_what, trained.net.max_length, trained.net.kept)
