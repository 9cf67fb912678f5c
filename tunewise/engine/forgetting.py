"""What a model knows of a text of another domain, before and after it is tuned.

A language model: -ln p of every token. A classifier whose pretrained model can fill in words: -ln p of tokens that are
hidden from it, by the layers that it was pretrained with on top of the blocks that were tuned.

Shape legend: W windows of the text, K numbers of a window: sum of -ln p, tokens, and those that are right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tunewise.data.labelled import UNLABELLED, LabelledTokens
from tunewise.data.ragged import Ragged
from tunewise.data.strided import in_windows
from tunewise.engine.kept import Context, Parts, kept_array
from tunewise.engine.prefix_key import key_of
from tunewise.errors import ModelError, RecipeError
from tunewise.evaluate.intervals import interval, resamples
from tunewise.evaluate.predict import predict_logits
from tunewise.models.load import Net
from tunewise.models.masked_words import load_masked_words
from tunewise.models.memory import PassSize
from tunewise.models.token_losses import token_log_probs
from tunewise.models.wrapped import plain_model

MOST_TOKENS = 20_000
WINDOW = 256
HIDDEN = 0.15
"""Share of tokens that are hidden: what BERT was pretrained with, all of them by the mask here."""
FIX = "leave evaluate.forgetting out"


@dataclass
class Forgetting:
    """The measure of a run. `language`: the net gives the next token."""

    net: Net
    file: Path
    language: bool
    batch_size: int
    stop: Callable[[], None] = lambda: None
    size: PassSize | None = None
    context: Context | None = None
    _before_WK: np.ndarray | None = None

    def before(self) -> None:
        """Measures the untrained model; read from the cache where another run has.

        Raises:
            RecipeError: the file is not there, is not UTF-8, or is too short.
            ModelError: the pretrained model can neither write nor fill in words.
        """
        if self.language and self.net.model.config.is_encoder_decoder:
            raise ModelError("forgetting is measured of models without an encoder, or of encoders", fix=FIX)
        rows = self._rows()
        if self.context is None or not all(tensor.pretrained for tensor in self.net.map.tensors):
            self._before_WK = self._numbers(rows, trained=False)
            return
        key = key_of(
            self.net, self.context.exact, self.net.located.fingerprint, rows, kind="forgetting", size=self.batch_size
        )
        about = {
            "kind": "losses",
            "what": "forgetting",
            "model": self.net.located.name,
            "data": str(self.file),
            "precision": "fp32",
            "rows": len(rows),
        }
        made, _ = kept_array(self.context, key, about, lambda: Parts.whole(self._numbers(rows, trained=False), 0.0))
        self._before_WK = made

    def told(self, confidence: float) -> dict[str, Any]:
        """What a record keeps: perplexity before and after, and their ratio, with bootstrap intervals over windows."""
        after_WK = self._numbers(self._rows(), trained=True)
        both = np.stack([self._before_WK, after_WK]).astype(np.float64)
        drawn = np.concatenate(list(resamples(both.shape[1], 1000, np.random.default_rng(0))))
        points, spread = _perplexities(both, np.ones((1, both.shape[1])))[0], _perplexities(both, drawn)
        ratio = spread[:, 1] / spread[:, 0]
        return {
            "file": self.file.name,
            "measure": "perplexity" if self.language else "perplexity of hidden tokens",
            "tokens": int(both[0, :, 1].sum()),
            "before": _score(points[0], spread[:, 0], confidence),
            "after": _score(points[1], spread[:, 1], confidence),
            "ratio": _score(points[1] / points[0], ratio, confidence),
        }

    def _rows(self) -> LabelledTokens | HiddenTokens:
        """The text in windows: of a decoder, each token with half a window before it where there is so much."""
        tokenizer = self.net.tokenizer
        ids = tokenizer(_read(self.file), add_special_tokens=False, verbose=False)["input_ids"][:MOST_TOKENS]
        if len(ids) < 2:
            raise RecipeError("there are no words in it", where=f"evaluate.forgetting: {self.file}", fix="name a text")
        window = min(self.net.max_length, WINDOW)
        if self.language:
            opening = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
            whole = [*opening, *ids]
            row = LabelledTokens(
                Ragged.of([whole], np.int32),
                Ragged.of([[0] + [1] * (len(whole) - 1)], np.int8),
                tokenizer.pad_token_id,
            )
            return in_windows(row, window, window // 2)[0]
        return hidden_tokens(ids, tokenizer, window)

    def _numbers(self, rows: LabelledTokens | HiddenTokens, trained: bool) -> np.ndarray:
        """(W, K), float32."""
        device = next(self.net.model.parameters()).device
        if self.language:
            return self._predicted(self.net.model, rows.with_prompt(self.net.prompt), _next_token)
        try:
            filling = load_masked_words(self.net.located, device).model
        except ModelError as problem:
            raise ModelError(problem.what, where=problem.where, fix=FIX) from None
        if trained:
            setattr(filling, filling.base_model_prefix, plain_model(self.net.model).base_model)
            if isinstance(filling.get_input_embeddings(), nn.Embedding):
                filling.tie_weights()
            rows = rows.with_prompt(self.net.prompt)
        return self._predicted(filling, rows, _hidden_token)

    def _predicted(self, model: nn.Module, rows: LabelledTokens | HiddenTokens, outputs: Any) -> np.ndarray:
        return predict_logits(model, rows, self.batch_size, stop=self.stop, size=self.size, outputs=outputs)


@dataclass(frozen=True, eq=False)
class HiddenTokens:
    """Windows for a model that fills in words. `labels`: what stands where the mask is, UNLABELLED elsewhere; both
    int32. `opens`: how many tokens come before the text."""

    ids: Ragged
    labels: Ragged
    pad: int
    opens: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        return self.ids.lengths

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        return len(rows), int(self.lengths[np.asarray(rows)].max())

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """input_ids, attention_mask and labels, int64 (B, T), padded on the right."""
        ids_BT, held_BT = self.ids.padded(np.asarray(rows), self.pad)
        labels_BT, _ = self.labels.padded(np.asarray(rows), UNLABELLED)
        batch = {"input_ids": ids_BT, "attention_mask": held_BT.astype(np.int64), "labels": labels_BT}
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def with_prompt(self, prompt: Sequence[int]) -> HiddenTokens:
        """The same with virtual ids behind the token that opens a text."""
        labels = self.labels.with_items(self.opens, [UNLABELLED] * len(prompt))
        return replace(self, ids=self.ids.with_items(self.opens, prompt), labels=labels)


def hidden_tokens(ids: Sequence[int], tokenizer: Any, window: int) -> HiddenTokens:
    """A text in windows, some tokens of each hidden: the same ones every time."""
    ends = tokenizer("")["input_ids"]
    opening, closing = ends[:1], ends[1:]
    room, generator = window - len(ends), np.random.default_rng(0)
    read, labels = [], []
    for start in range(0, len(ids), room):
        part = np.array(ids[start : start + room])
        hide = generator.random(len(part)) < HIDDEN
        hide[generator.integers(len(part))] = True  # one at least
        read.append([*opening, *np.where(hide, tokenizer.mask_token_id, part).tolist(), *closing])
        inside = np.where(hide, part, UNLABELLED).tolist()
        labels.append([*([UNLABELLED] * len(opening)), *inside, *([UNLABELLED] * len(closing))])
    return HiddenTokens(Ragged.of(read, np.int32), Ragged.of(labels, np.int32), tokenizer.pad_token_id, len(opening))


def _next_token(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return token_log_probs(model, batch).row_numbers()


def _hidden_token(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """(B, 3)"""
    labels_BT = batch["labels"]
    logits_BTV = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()
    losses_BT = nn.functional.cross_entropy(
        logits_BTV.transpose(1, 2), labels_BT, ignore_index=UNLABELLED, reduction="none"
    )
    hidden_BT = labels_BT != UNLABELLED
    right_BT = (logits_BTV.argmax(-1) == labels_BT) & hidden_BT
    return torch.stack([losses_BT.sum(1), hidden_BT.sum(1).float(), right_BT.sum(1).float()], dim=1)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        why = "is not UTF-8" if isinstance(problem, UnicodeDecodeError) else "cannot be read"
        raise RecipeError(
            f"the text {file.name} {why}", where=f"evaluate.forgetting: {file}", fix="name a file of plain text"
        ) from None


def _perplexities(both: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Before and after (R, 2), of numbers (2, W, K) under weightings (R, W)."""
    sums_2RK = weights @ both
    return np.exp(sums_2RK[:, :, 0] / sums_2RK[:, :, 1]).T


def _score(value: float, values: np.ndarray, confidence: float) -> dict[str, float]:
    low, high = interval(values, confidence)
    return {"value": float(value), "low": low, "high": high}
