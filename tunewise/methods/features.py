"""Frozen features and a classical classifier: the encoder is only read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunewise.config.base import Config as BaseConfig
from tunewise.methods.base import Method
from tunewise.types import LABEL_TASKS, ModelMap, Plan, Signals, Solver


class FeaturesConfig(BaseConfig):
    pooling: Literal["mean", "first", "last"] | None = None
    """How token vectors become one: their mean, the first token, the last. Where left out: mean for encoders, last
    for decoders. Not for entities, where each word has its first token's vector, nor for images, whose vector is what
    the model's own output layer reads."""

    classifier: Literal["auto", "logistic", "ridge", "mlp"] = "auto"
    """logistic regression, ridge regression, or an MLP with one hidden layer of 128. auto: logistic for classes, ridge
    for numbers."""

    normalize: bool = True
    """Scale every embedding to length 1, as the sentence-embedding models expect."""

    strength: float | None = Field(default=None, gt=0)
    """Regularisation: the C of logistic regression, the alpha of ridge and MLP. Where left out: chosen on validation
    from a grid that goes by the spread of the embeddings: by the metric where it can tell strengths apart (by more than
    1.5 standard errors of the difference, bootstrap over rows), and among those that it cannot tell from the best by
    the loss. Few validation rows would else choose by the luck of a row."""

    embed_whole: bool = False
    """With `data.share`: embed all the training rows that the share is drawn from, and learn from the share. Runs with
    other shares then find their vectors in the cache; this run alone pays for all. `tunewise curve` sets it."""


class Features(Method):
    """Embeddings are computed once, then a convex solver fits the rest: no gradient goes through the encoder. Pairs
    of sentences (u, v) are encoded apart and joined as (u, v, |u - v|, u * v). Entities: a classifier of words. Images:
    what the model's output layer reads of them."""

    name = "features"
    tasks = LABEL_TASKS
    group = "frozen features"
    trains = "nothing in the encoder; logistic or ridge regression on its embeddings"
    source = "Peters et al. 2019, To Tune or Not to Tune?; Reimers and Gurevych 2019, Sentence-BERT (pairs)"
    handover = "tunewise"
    descends = False
    instead = "head"
    Config = FeaturesConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        if model.modality == "image" and self.config.pooling:
            self.refuse("of an image it takes what the model's output layer reads: leave out pooling")
        return Plan(rules=(), learning_rate=0.0, solver=Solver("features", self.config.model_dump()))
