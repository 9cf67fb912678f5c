"""Texts -> token ids, with the rows that were cut.

Shape legend: N rows, B rows of a batch, T tokens of the longest row in it, W most words in a row of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewise.config.reading import Chunks, Reading
from tunewise.data.cuts import Losses, call, encode_cut
from tunewise.data.ragged import Ragged
from tunewise.data.sentences import words_of
from tunewise.data.windows import Windows, check_room, windows_of_rows
from tunewise.types import CUT, NO_WORD

if TYPE_CHECKING:
    import torch

# What a tokeniser gives are lists of Python numbers, so much at a time: 200,000 rows of banking77 in one call took
# 1,120 MB, 1,000,000 in parts take 320 MB, of which 115 MB are the result.
ROWS_AT_ONCE = 10_000
LETTERS_AT_ONCE = 1_000_000


@dataclass(frozen=True, eq=False)
class Tokens:
    """Token ids per row, unpadded, int32. `kinds` (token type ids), int8, where the tokeniser makes them. `cut` counts
    the rows that were longer than the limit, `lost` the tokens they lost, and `cut_rows` are their numbers, int64.
    `opens`: how many tokens (1 or 0) the tokeniser puts before every text. `words`, where the model answers for each
    word: the place of each word's first token in its row, int32, CUT where it has none. `windows`, where a text is read
    in more than one: `ids` and `kinds` are theirs. `elsewhere_seconds` is what they would have taken longer here, had
    not another run kept them."""

    ids: Ragged
    kinds: Ragged | None
    pad: int
    cut: int
    lost: int
    opens: int = 0
    words: Ragged | None = None
    windows: Windows | None = None
    elsewhere_seconds: float = 0.0
    cut_rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.ids) if self.windows is None else len(self.windows)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, of all its windows, int64 (N,)."""
        return self.ids.lengths if self.windows is None else self.windows.sums(self.ids.lengths)

    @property
    def each_window(self) -> Tokens:
        """The same with a row for each window."""
        return replace(self, windows=None)

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """See `Inputs`."""
        rows = np.asarray(rows) if self.windows is None else self.windows.of(np.asarray(rows))
        return len(rows), int(self.ids.lengths[rows].max())

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """Pads the rows on the right: input_ids, attention_mask (and token_type_ids), int64 (B, T); and `word_places`
        (B, W), NO_WORD where a row has fewer words. Where a row has more than one window, the windows of all rows, and
        `window_places` (see `data.windows`)."""
        import torch

        rows = np.asarray(rows, dtype=np.int64)
        if self.windows is not None:
            return self.windows.batch(self.each_window, rows)
        ids_BT, held_BT = self.ids.padded(rows, self.pad)
        batch = {"input_ids": ids_BT, "attention_mask": held_BT.astype(np.int64)}
        if self.kinds is not None:
            batch["token_type_ids"], _ = self.kinds.padded(rows, 0)
        if self.words is not None:
            batch["word_places"], _ = self.words.padded(rows, NO_WORD)
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    @property
    def cut_words(self) -> int:
        """How many words have no token: they were cut off, or the tokeniser drops them."""
        return 0 if self.words is None else int((self.words.flat == CUT).sum())

    @property
    def losses(self) -> Losses:
        """What was cut, all in one."""
        counts = np.ones(0, np.int64) if self.windows is None else self.windows.counts
        chunked = np.flatnonzero(counts > 1)
        windows = int(counts[chunked].sum())
        return Losses(self.cut, self.lost, self.cut_words, self.cut_rows, len(chunked), windows, chunked)

    def seen(self, targets: np.ndarray) -> np.ndarray:
        """Tags (N, W) with -1 for words without a token, of which a model cannot learn anything."""
        targets = targets.copy()
        if self.words is not None:
            row_S, column_S = self.words.places
            unseen_S = self.words.flat == CUT
            targets[row_S[unseen_S], column_S[unseen_S]] = -1
        return targets


def tokenise(
    texts: Sequence[tuple[str, ...]], tokenizer: Any, max_length: int, *, by_word: bool = False, kept: Reading = "head"
) -> Tokens:
    """Encodes rows of one text or two. Rows longer than `max_length` tokens are cut (see `data.cuts`), or read in
    windows (see `data.windows`), and counted.

    Args:
        kept: which end of a text that is cut stays, or how windows are made; the beginning, where the rows are words.
        by_word: the rows are words with a space between each; finds the first token of each word, which stands for it.
            They are encoded as the text they make, so that a word is cut into the tokens it has in any text.

    Raises:
        RecipeError: windows would have no room for the texts.
    """
    pad = tokenizer.pad_token_id
    if isinstance(kept, Chunks) and texts:
        check_room(tokenizer, len(texts[0]) > 1, max_length, kept)
    parts = [_tokenise(part, tokenizer, max_length, by_word, kept) for part in _parts(texts)]
    if not parts:
        none = Ragged.of([], np.int32)
        return Tokens(none, None, pad, 0, 0, words=none if by_word else None)
    first, starts = parts[0], np.cumsum([0, *map(len, parts)])
    return Tokens(
        ids=Ragged.joined([part.ids for part in parts]),
        kinds=None if first.kinds is None else Ragged.joined([part.kinds for part in parts]),
        pad=pad,
        cut=sum(part.cut for part in parts),
        lost=sum(part.lost for part in parts),
        opens=_opens(tokenizer),
        words=None if first.words is None else Ragged.joined([part.words for part in parts]),
        windows=_joined_windows(parts),
        cut_rows=np.concatenate([start + part.cut_rows for start, part in zip(starts, parts, strict=False)]),
    )


def _joined_windows(parts: Sequence[Tokens]) -> Windows | None:
    if all(part.windows is None for part in parts):
        return None
    counts = [np.ones(len(part), np.int64) if part.windows is None else part.windows.counts for part in parts]
    return Windows.of_counts(np.concatenate(counts))


def _parts(texts: Sequence[tuple[str, ...]]) -> Iterator[Sequence[tuple[str, ...]]]:
    """The rows, as many at a time as are encoded together."""
    start, letters = 0, 0
    for place, row in enumerate(texts):
        if place - start == ROWS_AT_ONCE or letters > LETTERS_AT_ONCE:
            yield texts[start:place]
            start, letters = place, 0
        letters += sum(map(len, row))
    if start < len(texts):
        yield texts[start:]


def _tokenise(
    texts: Sequence[tuple[str, ...]], tokenizer: Any, max_length: int, by_word: bool, kept: Reading
) -> Tokens:
    if isinstance(kept, Chunks):
        return _in_windows(texts, tokenizer, max_length, kept)
    spans = {"return_offsets_mapping": True} if by_word else {}
    found = call(tokenizer, texts, **spans)
    before = np.array([len(row) for row in found["input_ids"]], dtype=np.int64)
    too_long = np.flatnonzero(before > max_length)
    if len(too_long):
        short = encode_cut([texts[row] for row in too_long], tokenizer, max_length, kept, **spans)
        for name in short.keys() & found.keys():
            for place, row in enumerate(too_long):
                found[name][row] = short[name][place]
    # A row without any token (an empty text for a tokeniser without special tokens) becomes one of padding.
    pad, kinds = tokenizer.pad_token_id, found.get("token_type_ids")
    ids = Ragged.of([row or [pad] for row in found["input_ids"]], np.int32)
    words = None
    if by_word:
        places = [_first_places(text, of) for (text,), of in zip(texts, found["offset_mapping"], strict=True)]
        words = Ragged.of(places, np.int32)
    return Tokens(
        ids=ids,
        kinds=None if kinds is None else Ragged.of([row or [0] for row in kinds], np.int8),
        pad=pad,
        cut=len(too_long),
        lost=int(sum(before[row] - len(found["input_ids"][row]) for row in too_long)),
        words=words,
        cut_rows=too_long,
    )


def _in_windows(texts: Sequence[tuple[str, ...]], tokenizer: Any, max_length: int, chunks: Chunks) -> Tokens:
    """Rows in as many windows as they need."""
    found = call(tokenizer, texts, return_special_tokens_mask=True)
    before = np.array([len(row) for row in found["input_ids"]], dtype=np.int64)
    too_long = np.flatnonzero(before > max_length)
    windows = windows_of_rows(found, too_long, max_length, chunks)

    def of_windows(name: str, empty: int) -> list[list[int]]:
        parts: list[list[int]] = []
        for row, values in enumerate(found[name]):
            whole = row not in windows
            parts += [values or [empty]] if whole else [[values[place] for place in one] for one in windows[row]]
        return parts

    counts = np.ones(len(texts), dtype=np.int64)
    counts[too_long] = [len(windows[row]) for row in too_long]
    read = [len(np.unique(np.concatenate(windows[row]))) for row in too_long]
    lost = before[too_long] - np.array(read, dtype=np.int64)
    pad = tokenizer.pad_token_id
    return Tokens(
        ids=Ragged.of(of_windows("input_ids", pad), np.int32),
        kinds=Ragged.of(of_windows("token_type_ids", 0), np.int8) if "token_type_ids" in found else None,
        pad=pad,
        cut=int((lost > 0).sum()),
        lost=int(lost.sum()),
        windows=Windows.of_counts(counts) if counts.max() > 1 else None,
        cut_rows=too_long[lost > 0],
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
    empty, word = call(tokenizer, [("",), ("a",)])["input_ids"]
    return int(empty[:1] == word[:1] != [])


def with_prompt(tokens: Any, prompt: Sequence[int]) -> Any:
    """The same rows with virtual ids put in behind the token that opens each text ([CLS]; the first place where the
    tokeniser has none), so that poolers and position numbers are right whatever the model. Inputs of language tasks do
    it themselves (`with_prompt`)."""
    if not prompt:
        return tokens
    if not isinstance(tokens, Tokens):  # other inputs know themselves where the ids go
        return tokens.with_prompt(prompt)
    at, words = tokens.opens, tokens.words
    if words is not None:
        words = Ragged(np.where(words.flat >= at, words.flat + len(prompt), words.flat), words.offsets)
    kinds = None if tokens.kinds is None else tokens.kinds.with_items(at, [0] * len(prompt))
    return replace(tokens, ids=tokens.ids.with_items(at, prompt), kinds=kinds, words=words)
