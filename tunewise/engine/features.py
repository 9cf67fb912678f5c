"""The `features` solver: embeddings once, then logistic regression, ridge or a small MLP on them.

Shape legend: N rows, T tokens, D width of an embedding, F width of the features, C outputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tunewise.data.batches import sorted_batches
from tunewise.data.tokenise import tokenise
from tunewise.models.cost import watch_flops
from tunewise.models.load import Net
from tunewise.objectives.base import Objective
from tunewise.types import DataBundle, Task

# Embeddings of length 1 need weak regularisation: on 384 dimensions the best C was 10 to 100 (banking77, sms-spam).
GRIDS = {"logistic": (1.0, 10.0, 100.0), "ridge": (0.01, 0.1, 1.0, 10.0), "mlp": (1e-4, 1e-2)}
DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "opt",
            "gpt_neox", "olmo", "olmo2")  # fmt: skip
HIDDEN = 128


@dataclass(frozen=True, eq=False)
class FeatureHead:
    """Dense layers on features, ReLU between them: [(weight (F, C), bias (C,)), ...], float32."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]

    def logits(self, features_NF: np.ndarray) -> np.ndarray:
        out = features_NF.astype(np.float64)
        for number, (weight, bias) in enumerate(self.layers):
            out = out @ weight + bias
            if number < len(self.layers) - 1:
                out = np.maximum(out, 0.0)
        return out

    @property
    def size(self) -> int:
        return sum(weight.size + bias.size for weight, bias in self.layers)


@dataclass
class Embedder:
    """Texts -> features of a frozen encoder."""

    net: Net
    pooling: str | None = None
    normalize: bool = True
    batch_size: int = 64
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    stop: Callable[[], None] = lambda: None
    flops: float = 0.0

    def __call__(self, texts: Sequence[tuple[str, ...]]) -> np.ndarray:
        """Features (N, F), float32: the embedding, or for pairs (u, v, |u - v|, u * v)."""
        parts = [self._embed([(text,) for text in column]) for column in zip(*texts, strict=True)]
        if len(parts) == 1:
            return parts[0]
        first, second = parts
        return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)

    def _embed(self, texts: Sequence[tuple[str]]) -> np.ndarray:
        tokens = tokenise(texts, self.net.tokenizer, self.net.max_length)
        encoder = self.net.model.base_model
        device = next(encoder.parameters()).device
        encoder.eval()
        rows, parts, counted = [], [], None
        with torch.inference_mode():
            for batch_rows in sorted_batches(tokens.lengths, self.batch_size):
                self.stop()
                batch = {key: value.to(device) for key, value in tokens.batch(batch_rows).items()}
                with watch_flops(encoder, self.net.map) if counted is None else nullcontext(counted) as counted:
                    with self.autocast():
                        hidden_BTD = encoder(**batch).last_hidden_state
                self.flops += counted.forward(*batch["input_ids"].shape)
                rows.append(batch_rows)
                parts.append(self._pool(hidden_BTD.float(), batch["attention_mask"]).cpu().numpy())
        return np.concatenate(parts)[np.argsort(np.concatenate(rows))]

    def _pool(self, hidden_BTD: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        pooling = self.pooling or ("last" if self.net.map.family in DECODERS else "mean")
        if pooling == "first":
            pooled_BD = hidden_BTD[:, 0]
        elif pooling == "last":
            pooled_BD = hidden_BTD[torch.arange(len(hidden_BTD)), mask_BT.sum(1) - 1]
        else:
            weights_BT1 = mask_BT.unsqueeze(-1).float()
            pooled_BD = (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1)
        return torch.nn.functional.normalize(pooled_BD, dim=-1) if self.normalize else pooled_BD


@dataclass(frozen=True)
class FeatureFit:
    """What the solver found: the head, the regularisation it chose, and every strength tried with its value."""

    head: FeatureHead
    classifier: str
    strength: float
    tried: Mapping[float, float]
    seconds: float


def fit_features(
    embed: Embedder,
    data: DataBundle,
    objective: Objective,
    options: Mapping[str, Any],
    seed: int,
    value_of: Callable[[np.ndarray], float],
) -> FeatureFit:
    """Embeds train and validation, fits a head for each strength, and takes the best on validation.

    Args:
        value_of: from outputs on validation (N, C) to the metric to choose by, higher being better.
    """
    start = time.perf_counter()
    task, train = data.schema.task, data.splits["train"]
    kind = options["classifier"]
    if kind == "auto":
        kind = "ridge" if task == "regression" else "logistic"
    train_NF, validation_NF = embed(train.texts), embed(data.splits["validation"].texts)
    seconds = time.perf_counter() - start
    tried, best = {}, None
    for strength in [options["strength"]] if options["strength"] else GRIDS[kind]:
        embed.stop()
        start = time.perf_counter()
        head = _fit(kind, task, train_NF, train.targets, strength, seed, getattr(objective, "weights", None))
        seconds += time.perf_counter() - start
        tried[strength] = value_of(head.logits(validation_NF))
        if best is None or tried[strength] > tried[best[0]]:
            best = (strength, head)
    return FeatureFit(best[1], kind, best[0], tried, seconds)


def _fit(
    kind: str, task: Task, features_NF: np.ndarray, targets: np.ndarray, strength: float, seed: int,
    weights: np.ndarray | None,
) -> FeatureHead:  # fmt: skip
    if kind == "mlp":
        return _fit_mlp(task, features_NF, targets, strength, seed)
    if kind == "ridge":
        return _fit_ridge(task, features_NF, targets, strength, weights)
    from sklearn.linear_model import LogisticRegression

    class_weight = None if weights is None else dict(enumerate(weights))
    if task == "multilabel":
        layers = []
        for label in range(targets.shape[1]):
            if len(set(targets[:, label])) == 1:  # a label that every row or none has: a constant output
                layers.append((np.zeros(features_NF.shape[1]), 20.0 if targets[0, label] else -20.0))
                continue
            model = LogisticRegression(C=strength, max_iter=1000).fit(features_NF, targets[:, label])
            layers.append((model.coef_[0], model.intercept_[0]))
        weight_FC = np.stack([weight for weight, _ in layers], axis=1)
        return _head([(weight_FC, np.array([bias for _, bias in layers]))])
    model = LogisticRegression(C=strength, max_iter=1000, class_weight=class_weight).fit(features_NF, targets)
    weight_FC, bias_C = model.coef_.T, model.intercept_
    if weight_FC.shape[1] == 1:  # binary: one output z, that is (0, z) for two
        weight_FC = np.concatenate([np.zeros_like(weight_FC), weight_FC], axis=1)
        bias_C = np.array([0.0, bias_C[0]])
    return _head([(weight_FC, bias_C)])


def _fit_ridge(
    task: Task, features_NF: np.ndarray, targets: np.ndarray, strength: float, weights: np.ndarray | None
) -> FeatureHead:
    """Least squares with an L2 penalty; classes as -1 and 1, scaled so that a softmax or sigmoid over them is sharp."""
    from sklearn.linear_model import Ridge

    sample_weight = None
    if task == "classification":
        sample_weight = None if weights is None else weights[targets]
        targets = 2.0 * np.eye(int(targets.max()) + 1)[targets] - 1.0
    elif task == "multilabel":
        targets = 2.0 * targets - 1.0
    model = Ridge(alpha=strength).fit(features_NF, targets, sample_weight=sample_weight)
    weight_FC = np.atleast_2d(model.coef_).T
    scale = 1.0 if task == "regression" else 4.0
    return _head([(scale * weight_FC, scale * np.atleast_1d(model.intercept_))])


def _fit_mlp(task: Task, features_NF: np.ndarray, targets: np.ndarray, strength: float, seed: int) -> FeatureHead:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    options = {"hidden_layer_sizes": (HIDDEN,), "alpha": strength, "random_state": seed, "max_iter": 300,
               "early_stopping": len(targets) >= 200}  # fmt: skip
    if task == "regression":
        mean, deviation = float(targets.mean()), float(targets.std()) or 1.0
        model = MLPRegressor(**options).fit(features_NF, (targets - mean) / deviation)
        (inner, outer), (inner_bias, outer_bias) = model.coefs_, model.intercepts_
        return _head([(inner, inner_bias), (outer * deviation, outer_bias * deviation + mean)])
    model = MLPClassifier(**options).fit(features_NF, targets)
    (inner, outer), (inner_bias, outer_bias) = model.coefs_, model.intercepts_
    if task == "classification" and outer.shape[1] == 1:
        outer = np.concatenate([np.zeros_like(outer), outer], axis=1)
        outer_bias = np.array([0.0, outer_bias[0]])
    return _head([(inner, inner_bias), (outer, outer_bias)])


def _head(layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> FeatureHead:
    return FeatureHead(tuple((weight.astype(np.float32), bias.astype(np.float32)) for weight, bias in layers))
