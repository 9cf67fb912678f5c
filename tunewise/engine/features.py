"""The `features` solver: embeddings once, then logistic regression, ridge or a small MLP on them.

Shape legend: N rows, B rows of a batch, T tokens, W most words in a row, K words of all rows, D width of an embedding,
F width of the features, C outputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from tunewise.data.batches import pass_batches
from tunewise.data.cuts import Losses
from tunewise.data.pixels import Pixels
from tunewise.data.sentences import words_of
from tunewise.data.tokenise import Tokens
from tunewise.data.windows import Windows
from tunewise.engine.encode import encode
from tunewise.engine.feature_head import FeatureHead, fit_head
from tunewise.engine.kept import Context, Parts, Spent, kept_array
from tunewise.engine.output_layer import read_by_output_layer
from tunewise.engine.prefix_key import digest_of, key_of
from tunewise.engine.strengths import Judged, best_strength, strengths_to_try
from tunewise.errors import MethodError
from tunewise.models.cost import StepFlops, watch_flops
from tunewise.models.load import Net
from tunewise.models.memory import PassSize
from tunewise.models.windows import pooled
from tunewise.models.words import CERTAIN
from tunewise.objectives.base import Objective
from tunewise.types import CUT, DataBundle, Split

ROWS_OF_A_PART = 8192  # are sorted by length and embedded: 12 MB of 384 numbers each, of however many rows in all
POOLED_AT_ONCE = 1000  # texts in windows: 8 windows of 384 numbers each are 12 MB


@dataclass
class Embedder:
    """Texts -> features of a frozen encoder.

    Attributes:
        context: where vectors are kept between runs, None where they are not.
        size: of batches that are known to fit into memory.
        flops: of all forward passes so far.
        spent: on reading vectors that were kept, and on keeping them.
        losses: what was cut so far, and read in windows; the numbers of rows are those of the last call.
    """

    net: Net
    pooling: str | None = None
    normalize: bool = True
    batch_size: int = 64
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    stop: Callable[[], None] = lambda: None
    context: Context | None = None
    flops: float = 0.0
    spent: Spent = field(default_factory=Spent)
    losses: Losses = field(default_factory=Losses)
    size: PassSize = field(default_factory=PassSize)
    _counted: StepFlops | None = field(default=None, init=False)

    def __call__(self, texts: Sequence[tuple[str, ...]], among: Sequence[tuple[str, ...]] = ()) -> np.ndarray:
        """Features (N, F), float32: the embedding, or for pairs (u, v, |u - v|, u * v). Where the model answers for
        words (K, F): that of each word's first token, row by row; NaN for words without one.

        Args:
            among: more texts, of which these are some: all of them are embedded, so that whoever wants others of them
                finds their vectors where they were kept.
        """
        self.losses = self.losses.counts
        parts = [self._embed(_column(texts, place), _column(among, place)) for place in range(len(texts[0]))]
        if len(parts) == 1:
            return parts[0]
        first, second = parts
        return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)

    @property
    def cut(self) -> int:
        """How many texts were longer than the model reads, so far."""
        return self.losses.texts

    @property
    def cut_rows(self) -> np.ndarray:
        """The numbers of the rows of the last call of which a text was cut, in order."""
        return self.losses.rows

    def _embed(self, texts: Sequence[tuple[str]], among: Sequence[tuple[str]] = ()) -> np.ndarray:
        tokens = self._encoded(texts)
        self.losses += tokens.losses
        if not among:
            return self._of_tokens(tokens)
        known = set(among)
        rest = [text for text in dict.fromkeys(texts) if text not in known]  # made of others, by augmentation
        parts = [self._of_tokens(self._encoded(part)) for part in filter(None, (among, rest))]
        return _of_texts(texts, [*among, *rest], np.concatenate(parts), self.net.by_word)

    def _encoded(self, texts: Sequence[tuple[str]]) -> Tokens:
        tokens = encode(texts, self.net, self.context)
        self.spent += Spent(elsewhere_seconds=tokens.elsewhere_seconds)
        return tokens

    def _of_tokens(self, tokens: Tokens) -> np.ndarray:
        """The vectors of texts (N, D), or of words."""
        if tokens.windows is None:
            return self._kept(tokens)
        return self._pooled(self._kept(tokens.each_window), tokens.windows)

    def _pooled(self, vectors_WD: np.ndarray, windows: Windows) -> np.ndarray:
        """The vectors of texts (N, D): those of texts in one window as they are, of others pooled, and as long."""
        vectors_ND = vectors_WD[windows.starts[:-1]]
        several = np.flatnonzero(windows.counts > 1)
        for start in range(0, len(several), POOLED_AT_ONCE):
            rows = several[start : start + POOLED_AT_ONCE]
            parts_WD, places_BK = (
                torch.from_numpy(found) for found in (vectors_WD[windows.of(rows)], windows.places(rows))
            )
            pooled_BD = pooled(parts_WD, places_BK, self.net.kept.pooling)
            vectors_ND[rows] = nn.functional.normalize(pooled_BD, dim=-1) if self.normalize else pooled_BD
        return vectors_ND

    def _kept(self, tokens: Tokens) -> np.ndarray:
        """The vectors of rows that are one window each, read from the cache where they are there."""
        before = self.flops

        def make() -> Parts:
            count = len(tokens) if tokens.words is None else len(tokens.words.flat)
            return Parts(count, self._vectors(tokens), lambda: self.flops - before)

        if self.context is None:
            return make().array()
        about = {
            "kind": "features",
            "what": self.pooling or "default",
            "model": self.net.located.name,
            "data": self.context.data,
            "precision": self.context.precision,
            "rows": len(tokens),
        }
        vectors_NF, spent = kept_array(self.context, self._key(tokens), about, make)
        self.spent += spent
        return vectors_NF

    def _key(self, tokens: Tokens) -> str:
        """Of everything that decides the vectors."""
        return key_of(
            self.net,
            self.context,
            self._weights,
            tokens,
            kind="features",
            pooling=self.pooling,
            normalize=self.normalize,
            rows_at_once=self.batch_size,
        )

    @cached_property
    def _weights(self) -> str:
        """A pooler, of first values that may vary from seed to seed, has no part in the vectors."""
        tensors = self._encoder.state_dict().items()
        return digest_of((name, tensor) for name, tensor in tensors if not name.startswith("pooler."))

    @property
    def _encoder(self) -> nn.Module:
        encoder = self.net.model.base_model
        return encoder.get_encoder() if self.net.model.config.is_encoder_decoder else encoder

    def _vectors(self, tokens: Tokens) -> Iterator[np.ndarray]:
        """The vectors of so many rows after another, in their order."""
        self._encoder.eval()
        self._counted = None
        for start, batches in self.batches(tokens):
            found = self.size.run(batches, tokens.lengths, lambda batch: self._of_batch(tokens, batch))
            if tokens.words is None:
                yield _in_order(found, sum(map(len, batches)), start)
            else:
                rows, vectors = zip(*found, strict=True)
                words = [words_WD for of_batch in vectors for words_WD in of_batch]
                yield np.concatenate([words[place] for place in np.argsort(np.concatenate(rows))])

    def batches(self, tokens: Tokens) -> Iterator[tuple[int, list[np.ndarray]]]:
        """The first row of each part, and the rows of each of its batches."""
        device = next(self._encoder.parameters()).device.type
        for start in range(0, len(tokens), ROWS_OF_A_PART):
            part = np.arange(start, min(start + ROWS_OF_A_PART, len(tokens)))
            yield start, pass_batches(tokens, self.batch_size, device, part)

    def _of_batch(self, tokens: Tokens, rows: np.ndarray) -> list[np.ndarray]:
        """The vectors of these rows in one array, or an array for the words of each."""
        self.stop()
        if self.net.processor is not None:
            return [self._of_images(tokens, rows)]
        encoder = self._encoder
        device = next(encoder.parameters()).device
        batch = {key: value.to(device) for key, value in tokens.batch(rows).items()}
        batch.pop("word_places", None)
        watch = nullcontext(self._counted) if self._counted else watch_flops(self.net.model, self.net.map)
        with torch.inference_mode(), watch as counted, self.autocast():
            hidden_BTD = encoder(**batch).last_hidden_state
        self._counted = counted
        self.flops += counted.forward(*batch["input_ids"].shape)
        if tokens.words is None:
            return [self._pool(hidden_BTD.float(), batch["attention_mask"]).cpu().numpy()]
        return self._of_words(hidden_BTD.float().cpu(), [tokens.words[row] for row in rows])

    def _of_images(self, images: Pixels, rows: np.ndarray) -> np.ndarray:
        """What the output layer reads of these images."""
        model = self.net.model
        device = next(model.parameters()).device
        batch = {key: value.to(device) for key, value in images.batch(rows).items()}
        watch = nullcontext(self._counted) if self._counted else watch_flops(model, self.net.map)
        with torch.inference_mode(), watch as counted, self.autocast(), read_by_output_layer(self.net) as read:
            model.eval()(**batch)
        self._counted = counted
        self.flops += counted.forward(*images.shape(rows))
        vectors_BD = read[0].float()
        return (nn.functional.normalize(vectors_BD, dim=-1) if self.normalize else vectors_BD).cpu().numpy()

    def _of_words(self, hidden_BTD: torch.Tensor, places_BW: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The vectors of the words of each row."""
        found = []
        for hidden_TD, places_W in zip(hidden_BTD, places_BW, strict=True):
            vectors_WD = hidden_TD[torch.from_numpy(np.maximum(places_W, 0))]
            vectors_WD = nn.functional.normalize(vectors_WD, dim=-1) if self.normalize else vectors_WD
            found.append(np.where(places_W[:, None] == CUT, np.float32(np.nan), vectors_WD.numpy()))
        return found

    def _pool(self, hidden_BTD: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        pooling = self.pooling or ("last" if _reads_left_to_right(self.net.map.family) else "mean")
        if pooling == "first":
            pooled_BD = hidden_BTD[:, 0]
        elif pooling == "last":
            pooled_BD = hidden_BTD[torch.arange(len(hidden_BTD)), mask_BT.sum(1) - 1]
        else:
            weights_BT1 = mask_BT.unsqueeze(-1).float()
            pooled_BD = (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1)
        return nn.functional.normalize(pooled_BD, dim=-1) if self.normalize else pooled_BD


def _in_order(found: Iterable[tuple[np.ndarray, list[np.ndarray]]], count: int, first: int) -> np.ndarray:
    """Vectors of so many rows from this one on, in order. Each goes to its place at once: as pieces they would lie
    between the larger blocks of the passes, which then do not find room there."""
    vectors_ND = None
    for rows_B, (vectors_BD,) in found:
        if vectors_ND is None:
            vectors_ND = np.empty((count, *vectors_BD.shape[1:]), vectors_BD.dtype)
        vectors_ND[rows_B - first] = vectors_BD
    return vectors_ND


def _column(rows: Sequence[tuple[str, ...]], place: int) -> Sequence[tuple[str]]:
    """One text of each row: the rows as they are, where there is no other."""
    return rows if not rows or len(rows[0]) == 1 else [(row[place],) for row in rows]


def _of_texts(
    texts: Sequence[tuple[str]], among: Sequence[tuple[str]], vectors: np.ndarray, by_word: bool
) -> np.ndarray:
    """The vectors of these texts, of those of the texts that they are among; row by row where they are of words."""
    place_of = {text: place for place, text in enumerate(among)}
    places = [place_of[text] for text in texts]
    if not by_word:
        return vectors[places]
    ends = np.cumsum([len(words_of(text)) for (text,) in among])
    of_row = np.split(vectors, ends[:-1])
    return np.concatenate([of_row[place] for place in places])


def _reads_left_to_right(family: str) -> bool:
    """Whether only the last token has seen the whole text: families that transformers has a causal language model of,
    and no masked one."""
    return family in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and family not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def head_outputs(head: FeatureHead, embed: Embedder, texts: Sequence[tuple[str, ...]]) -> np.ndarray:
    """What a head says of texts (N, C), or of their words (N, W, C): those without a token are outside of entities."""
    return _in_rows(head.logits(embed(texts)), embed.net, texts)


def _in_rows(logits: np.ndarray, net: Net, texts: Sequence[tuple[str, ...]]) -> np.ndarray:
    if not net.by_word:
        return logits
    outputs = logits.shape[1]
    logits[np.isnan(logits).any(axis=1)] = CERTAIN * np.eye(outputs)[net.model.config.label2id.get("O", 0)]
    counts = np.array([len(words_of(text)) for (text,) in texts], dtype=np.int64)
    logits_NWC = np.full((len(texts), counts.max(initial=0), outputs), np.nan)
    logits_NWC[np.arange(counts.max(initial=0)) < counts[:, None]] = logits
    return logits_NWC


@dataclass(frozen=True)
class FeatureFit:
    """What the solver found: the head, the regularisation it chose, and what each tried is worth on validation."""

    head: FeatureHead
    classifier: str
    strength: float
    tried: Mapping[float, Judged]
    seconds: float


def fit_features(
    embed: Embedder,
    data: DataBundle,
    objective: Objective,
    options: Mapping[str, Any],
    seed: int,
    judge: Callable[[np.ndarray], Judged],
) -> FeatureFit:
    """Embeds train and validation, fits a head for each strength, and takes the best on validation (`best_strength`).

    Args:
        judge: says what outputs on validation are worth.

    Raises:
        MethodError: the classifier or pooling is not one for the task.
    """
    start = time.perf_counter()
    task, train = data.schema.task, data.splits["train"]
    kind = options["classifier"]
    if kind == "auto":
        kind = "ridge" if task == "regression" else "logistic"
    if kind == "logistic" and task == "regression":
        raise MethodError(
            "features: logistic regression is for classes; the task is regression",
            where="classifier",
            fix="take ridge, mlp or auto",
        )
    if embed.net.by_word and options["pooling"]:
        raise MethodError(
            "features: of a word's tokens the first one's vector is taken; pooling is for whole texts",
            where="pooling",
            fix="leave it out",
        )
    validation = data.splits["validation"]
    train_NF = embed(train.texts, data.drawn_from if options.get("embed_whole") else ())
    (train_NF, targets), validation_NF = _learnable(train_NF, train, embed.net), embed(validation.texts)
    schema = replace(data.schema, task="classification") if embed.net.by_word else data.schema
    seconds = time.perf_counter() - start
    tried, heads = {}, {}
    for strength in [options["strength"]] if options["strength"] else strengths_to_try(kind, train_NF):
        embed.stop()
        start = time.perf_counter()
        heads[strength] = fit_head(kind, schema, train_NF, targets, strength, seed, getattr(objective, "weights", None))
        seconds += time.perf_counter() - start
        tried[strength] = judge(_in_rows(heads[strength].logits(validation_NF), embed.net, validation.texts))
    best = best_strength(tried)
    return FeatureFit(heads[best], kind, best, tried, seconds)


def _learnable(features: np.ndarray, split: Split, net: Net) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of what a head can learn from: of words, those that have a token."""
    if not net.by_word:
        return features, split.targets
    seen_K = ~np.isnan(features).any(axis=1)
    return features[seen_K], split.targets[split.targets >= 0][seen_K]
