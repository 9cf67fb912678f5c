"""What a masked language model puts into the place of a word.

Shape legend: B texts of a batch, T tokens, V tokens of the vocabulary, K candidates.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from tunewise.errors import ModelError
from tunewise.models.finite_values import all_finite
from tunewise.models.from_files import choose_attention, from_weights, read_config, told_as
from tunewise.models.load import check_vocabulary, drop_unread_inputs, load_tokenizer
from tunewise.models.located import LocatedModel

_BARE = re.compile(r"^(\W*)(.*?)(\W*)$", re.DOTALL)
_SPACE_MARKS = ("Ġ", "▁")  # of byte-level and SentencePiece vocabularies: the token begins a word
_INSIDE = "##"  # of WordPiece: the token goes on with one
_MORE = 100  # candidates looked at beyond those that are wanted: parts of words, numbers and the word itself fall out
FIX = "name one that has in augment.synonym_model, or leave synonyms out"


@dataclass
class MaskedWords:
    """A masked language model in eval mode, with its tokeniser.

    Attributes:
        limit: tokens that it reads of a text.
        token_flops: of a forward pass, for each token: its linear layers, without the products of attention.
    """

    model: nn.Module
    tokenizer: Any
    limit: int
    token_flops: float = field(default=0.0, init=False)
    _words: dict[int, str | None] = field(default_factory=dict, init=False)
    _mark: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        layers = [module for module in self.model.modules() if isinstance(module, nn.Linear)]
        self.token_flops = sum(2.0 * layer.weight.numel() for layer in layers)
        tokens = self.tokenizer.convert_ids_to_tokens(list(range(len(self.tokenizer))))
        for mark in _SPACE_MARKS:
            if sum(str(token).startswith(mark) for token in tokens) > 0.1 * len(tokens):
                self._mark = mark

    def forget(self) -> None:
        """Gives back the memory of the model; words can still be read."""
        self.model = nn.Module()

    def hidden(self, words: Sequence[str], chosen: Sequence[int]) -> str:
        """The text with the mask in the place of these words; punctuation around them stays."""
        masked = list(words)
        for place in chosen:
            before, _, after = parts_of(words[place])
            masked[place] = f"{before}{self.tokenizer.mask_token}{after}"
        return " ".join(masked)

    def fits(self, words: Sequence[str]) -> np.ndarray:
        """Which words may be replaced: those of letters alone, punctuation around them aside, bool (W,)."""
        whole = not any(self.tokenizer.mask_token in word for word in words)
        return np.array([whole and parts_of(word)[1].isalpha() for word in words], dtype=bool)

    def word(self, token: int) -> str | None:
        """The whole word that a token stands for; None for parts of words, special tokens, numbers and punctuation."""
        if token not in self._words:
            self._words[token] = self._read(token)
        return self._words[token]

    def _read(self, token: int) -> str | None:
        if token in self.tokenizer.all_special_ids:
            return None
        written = self.tokenizer.convert_ids_to_tokens(token)
        if written is None or written.startswith(_INSIDE) or (self._mark and not written.startswith(self._mark)):
            return None
        word = self.tokenizer.convert_tokens_to_string([written]).strip()
        return word if word.isalpha() else None

    def predict(self, batch: dict[str, torch.Tensor], top_k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each mask of the batch, row by row from the left: the most probable tokens and their probabilities."""
        with torch.inference_mode():
            logits_BTV = self.model(**batch).logits
            masks_BT = batch["input_ids"] == self.tokenizer.mask_token_id
            chances = logits_BTV[masks_BT].float().softmax(-1)
            best = chances.topk(min(top_k + _MORE, chances.shape[-1]))
        ids, values = best.indices.cpu().numpy(), best.values.cpu().numpy()
        return list(zip(ids, values, strict=True))

    def candidates(
        self, original: str, ids: np.ndarray, chances: np.ndarray, top_k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """At most `top_k` tokens that are other whole words than the original, most probable first, and probabilities
        that add up to 1."""
        bare = parts_of(original)[1].casefold()
        found = [
            (token, chance)
            for token, chance in zip(ids.tolist(), chances.tolist(), strict=True)
            if (word := self.word(token)) is not None and word.casefold() != bare
        ][:top_k]
        kept = np.array([token for token, _ in found], dtype=np.int32)
        share = np.array([chance for _, chance in found], dtype=np.float64)
        return kept, share / share.sum() if share.sum() > 0 else np.full(len(share), 1 / max(1, len(share)))

    def in_place_of(self, original: str, token: int) -> str:
        """The word of a token with the original's punctuation, and its capital where the token has none."""
        before, bare, after = parts_of(original)
        word = str(self.word(token))
        return f"{before}{word.capitalize() if bare.istitle() and word.islower() else word}{after}"


def parts_of(word: str) -> tuple[str, str, str]:
    """Punctuation before, the word, and punctuation behind it."""
    return _BARE.match(word).groups()  # type: ignore[union-attr,return-value]


def load_masked_words(located: LocatedModel, device: torch.device) -> MaskedWords:
    """The model in fp32, in eval mode.

    Raises:
        ModelError: it has no layers that predict words, NaN in its weights, or its tokeniser no mask.
    """
    from transformers import AutoModelForMaskedLM

    def without(said: str) -> ModelError:
        told = said.split("for this kind")[0].strip()[:150]
        return ModelError(
            f"a '{located.family}' model cannot predict masked words: {told}", where=located.name, fix=FIX
        )

    with told_as(without):  # transformers says by ValueError and others that a family has none
        config = read_config(located)
        choose_attention(config, None)
        model, report = from_weights(AutoModelForMaskedLM, located, config)
    if lost := sorted(report["missing_keys"]):
        raise ModelError(
            f"the model has no layers that predict masked words: its files lack {', '.join(lost[:3])}",
            where=located.name,
            fix=FIX,
        )
    if not all(map(all_finite, model.parameters())):
        raise ModelError("the weights hold NaN or infinity", where=located.name, fix=FIX)
    tokenizer = load_tokenizer(located)
    if tokenizer.mask_token_id is None or tokenizer.pad_token_id is None:
        raise ModelError("the tokeniser has no mask or no padding token", where=located.name, fix=FIX)
    tokenizer.padding_side = "right"
    check_vocabulary(model, tokenizer, located)
    drop_unread_inputs(model, tokenizer)
    positions = getattr(model.config, "max_position_embeddings", None) or 512
    limit = min(positions - 2, tokenizer.model_max_length)  # RoBERTa numbers positions from 2 on
    return MaskedWords(model.to(device).eval(), tokenizer, int(limit))
