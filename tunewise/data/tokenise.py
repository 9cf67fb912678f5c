"""Texts -> token ids, with the number of rows that were cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewise.data.sentences import words_of
from tunewise.types import CUT, NO_WORD

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Tokens:
    """Token ids per row, unpadded. `kinds` (token type ids) where the tokeniser makes them. `cut` counts the rows
    that were longer than the limit, `lost` the tokens they lost. `opens`: how many tokens (1 or 0) the tokeniser puts
    before every text. `words`, where the model answers for each word: the place of each word's first token in its row,
    CUT where it has none."""

    ids: tuple[np.ndarray, ...]
    kinds: tuple[np.ndarray, ...] | None
    pad: int
    cut: int
    lost: int
    opens: int = 0
    words: tuple[np.ndarray, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(row) for row in self.ids], dtype=np.int64)

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """Pads the rows on the right: input_ids, attention_mask (and token_type_ids), int64 (B, T); and `word_places`
        (B, W), NO_WORD where a row has fewer words."""
        import torch

        width = max(len(self.ids[row]) for row in rows)
        ids_BT = np.full((len(rows), width), self.pad, dtype=np.int64)
        mask_BT = np.zeros((len(rows), width), dtype=np.int64)
        kinds_BT = np.zeros((len(rows), width), dtype=np.int64)
        for place, row in enumerate(rows):
            length = len(self.ids[row])
            ids_BT[place, :length] = self.ids[row]
            mask_BT[place, :length] = 1
            if self.kinds is not None:
                kinds_BT[place, :length] = self.kinds[row]
        batch = {"input_ids": torch.from_numpy(ids_BT), "attention_mask": torch.from_numpy(mask_BT)}
        if self.kinds is not None:
            batch["token_type_ids"] = torch.from_numpy(kinds_BT)
        if self.words is not None:
            places_BW = np.full((len(rows), max(len(self.words[row]) for row in rows)), NO_WORD, dtype=np.int64)
            for place, row in enumerate(rows):
                places_BW[place, : len(self.words[row])] = self.words[row]
            batch["word_places"] = torch.from_numpy(places_BW)
        return batch

    @property
    def cut_words(self) -> int:
        """How many words have no token: they were cut off, or the tokeniser drops them."""
        return sum(int((places == CUT).sum()) for places in self.words or ())

    def seen(self, targets: np.ndarray) -> np.ndarray:
        """Tags (n, W) with -1 for words without a token, of which a model cannot learn anything."""
        targets = targets.copy()
        for row, places in enumerate(self.words or ()):
            targets[row, : len(places)][places == CUT] = -1
        return targets


def tokenise(texts: Sequence[tuple[str, ...]], tokenizer: Any, max_length: int) -> Tokens:
    """Encodes rows of one text or two. Rows longer than `max_length` tokens are cut at the end (of pairs: the longer
    text first) and counted."""
    if not texts:
        return Tokens((), None, tokenizer.pad_token_id, 0, 0)
    whole = _encode(texts, tokenizer)
    ids, kinds = whole["input_ids"], whole.get("token_type_ids")
    too_long = [row for row, tokens in enumerate(ids) if len(tokens) > max_length]
    lost = 0
    if too_long:
        short = _encode([texts[row] for row in too_long], tokenizer, truncation="longest_first", max_length=max_length)
        for place, row in enumerate(too_long):
            lost += len(ids[row]) - len(short["input_ids"][place])
            ids[row] = short["input_ids"][place]
            if kinds is not None:
                kinds[row] = short["token_type_ids"][place]
    # A row without any token (an empty text for a tokeniser without special tokens) becomes one of padding.
    return Tokens(
        ids=tuple(np.asarray(row or [tokenizer.pad_token_id], dtype=np.int32) for row in ids),
        kinds=None if kinds is None else tuple(np.asarray(row or [0], dtype=np.int32) for row in kinds),
        pad=tokenizer.pad_token_id,
        cut=len(too_long),
        lost=lost,
        opens=_opens(tokenizer),
    )


def tokenise_words(texts: Sequence[tuple[str, ...]], tokenizer: Any, max_length: int) -> Tokens:
    """Encodes rows of words as the text they make, so that a word is cut into the tokens it has in any text, and finds
    the first token of each, which stands for it. Rows longer than `max_length` tokens are cut at the end and counted.
    """
    if not texts:
        return Tokens((), None, tokenizer.pad_token_id, 0, 0, words=())
    whole = _encode(texts, tokenizer)["input_ids"]
    short = _encode(texts, tokenizer, truncation=True, max_length=max_length, return_offsets_mapping=True)
    ids, kinds = short["input_ids"], short.get("token_type_ids")
    lost = [len(before) - len(after) for before, after in zip(whole, ids, strict=True)]
    pad = tokenizer.pad_token_id
    return Tokens(
        ids=tuple(np.asarray(row or [pad], dtype=np.int32) for row in ids),
        kinds=None if kinds is None else tuple(np.asarray(row or [0], dtype=np.int32) for row in kinds),
        pad=pad,
        cut=sum(count > 0 for count in lost),
        lost=sum(lost),
        opens=_opens(tokenizer),
        words=tuple(_first_places(text, spans) for (text,), spans in zip(texts, short["offset_mapping"], strict=True)),
    )


def _first_places(text: str, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """The first token of each word. A token may begin with the space before its word.

    Args:
        spans: of each token, its first letter in the text and the one behind its last; equal for special tokens.
    """
    places = np.full(len(words_of(text)), CUT, dtype=np.int64)
    for place in range(len(spans) - 1, -1, -1):
        start, end = spans[place]
        letters = text[start:end]
        if letters.strip(" "):
            places[text.count(" ", 0, start + len(letters) - len(letters.lstrip(" ")))] = place
    return places


def _opens(tokenizer: Any) -> int:
    """Whether the tokeniser opens every text with a token of its own."""
    empty, word = _encode([("",), ("a",)], tokenizer)["input_ids"]
    return int(empty[:1] == word[:1] != [])


def with_prompt(tokens: Tokens, prompt: Sequence[int]) -> Tokens:
    """The same rows with virtual ids put in behind the token that opens each text ([CLS]; the first place where the
    tokeniser has none), so that poolers and position numbers are right whatever the model."""
    if not prompt:
        return tokens
    at = tokens.opens
    ids = tuple(np.concatenate([row[:at], np.asarray(prompt, dtype=row.dtype), row[at:]]) for row in tokens.ids)
    kinds = tokens.kinds
    if kinds is not None:
        none = np.zeros(len(prompt), dtype=np.int32)
        kinds = tuple(np.concatenate([row[:at], none, row[at:]]) for row in kinds)
    words = tokens.words
    if words is not None:
        words = tuple(np.where(places >= at, places + len(prompt), places) for places in words)
    return replace(tokens, ids=ids, kinds=kinds, words=words)


def _encode(texts: Sequence[tuple[str, ...]], tokenizer: Any, **options: Any) -> Any:
    columns = [list(column) for column in zip(*texts, strict=True)]
    return tokenizer(*columns, return_attention_mask=False, verbose=False, **options)
