"""Words that a masked language model would put in the place of those of the training rows, found once per run.

The words of a text are masked in turns, a share of them at a time (that of `augment.synonyms`), so that each word has a
turn and most of its neighbours are there to predict it from: at most 1 / share passes over the rows.

Shape legend: S words of all rows that have candidates, K most candidates of a word, W words of a text.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from tunewise.data.augment_settings import AugmentConfig
from tunewise.data.batches import sorted_batches
from tunewise.data.sentences import parted, words_of
from tunewise.data.tokenise import Tokens, tokenise
from tunewise.engine.checkpoint import random_state, set_random_state
from tunewise.models.masked_words import MaskedWords
from tunewise.models.memory import PassSize

ROWS_AT_ONCE = 2048
TEXTS_PER_PASS = 32
Texts = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Masked:
    """A text with some of its words masked: whose it is, and the places of those words."""

    row: int
    column: int
    words: list[str]
    chosen: list[int]


@dataclass
class Synonyms:
    """Candidates for the words of rows, by row, text and place.

    Attributes:
        seconds, flops: of finding them.
        words: how many words have any.
    """

    masked_words: MaskedWords
    seconds: float = 0.0
    flops: float = 0.0
    words: int = 0
    _starts: np.ndarray = field(init=False)  # of the words of each text (N, 1 or 2) among all; -1: not looked at
    _ids: np.ndarray = field(init=False)  # int32 (S, K), -1 where there are fewer
    _chances: np.ndarray = field(init=False)  # float32 (S, K), 0 there

    def replaced(
        self, row: int, column: int, words: list[str], chosen_W: np.ndarray, generator: np.random.Generator
    ) -> list[str]:
        """The words with a candidate in the place of those chosen, drawn by its probability; those without one stay."""
        draws_W, changed = generator.random(len(words)), list(words)
        for place in np.flatnonzero(chosen_W):
            ids_K = self._ids[self._starts[row, column] + place] if self._starts[row, column] >= 0 else self._none
            count = int((ids_K >= 0).sum())
            if count:
                sums_K = np.cumsum(self._chances[self._starts[row, column] + place, :count])
                at = min(int(np.searchsorted(sums_K, draws_W[place] * sums_K[-1], side="right")), count - 1)
                changed[place] = self.masked_words.in_place_of(words[place], int(ids_K[at]))
        return changed

    def find(
        self,
        texts: Texts,
        rows: np.ndarray,
        config: AugmentConfig,
        *,
        by_word: bool,
        seed: int,
        size: PassSize,
        stop: Callable[[], None],
        tell: Callable[[int, int], None],
    ) -> None:
        """Finds candidates for the words of these rows; the random numbers of torch are afterwards as they were.

        Args:
            by_word: texts are words with a space between each.
            size: of batches that are known to fit into memory.
            stop: is called before each batch, and may raise.
            tell: is told how many of how many rows are done.
        """
        begun, random = time.perf_counter(), random_state()
        split = words_of if by_word else parted
        self._make_room(texts, rows, split, config.synonym_top_k)
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[start : start + ROWS_AT_ONCE]
            self._find(list(self._masked(texts, part, split, config.synonyms, seed)), config.synonym_top_k, size, stop)
            tell(start + len(part), len(rows))
        set_random_state(random)
        self.words = int((self._ids[:, 0] >= 0).sum())
        self.seconds += time.perf_counter() - begun

    def _make_room(self, texts: Texts, rows: np.ndarray, split: Callable[[str], list[str]], top_k: int) -> None:
        self._starts, total = np.full((len(texts), len(texts[0])), -1, dtype=np.int64), 0
        for row in rows.tolist():
            for column, text in enumerate(texts[row]):
                self._starts[row, column] = total
                total += len(split(text))
        self._ids = np.full((total, top_k), -1, dtype=np.int32)
        self._chances = np.zeros((total, top_k), dtype=np.float32)
        self._none = np.full(top_k, -1, dtype=np.int32)

    def _masked(
        self, texts: Texts, rows: np.ndarray, split: Callable[[str], list[str]], share: float, seed: int
    ) -> Iterator[Masked]:
        for row in rows.tolist():
            for column, text in enumerate(texts[row]):
                words = split(text)
                places = np.flatnonzero(self.masked_words.fits(words))
                turns = min(len(places), math.ceil(1 / share))
                order = np.random.default_rng([seed, row, column, 17]).permutation(places)
                for turn in range(turns):
                    yield Masked(row, column, words, sorted(order[turn::turns].tolist()))

    def _find(self, masked: list[Masked], top_k: int, size: PassSize, stop: Callable[[], None]) -> None:
        if not masked:
            return
        model, limit = self.masked_words, self.masked_words.limit
        tokens = tokenise([(model.hidden(one.words, one.chosen),) for one in masked], model.tokenizer, limit)
        batches = sorted_batches(tokens.lengths, TEXTS_PER_PASS)

        def work(batch: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
            stop()
            return self._predicted(tokens, batch, top_k)

        for batch, found in size.run(batches, tokens.lengths, work):
            self._keep([masked[place] for place in batch], tokens, batch, found, top_k)

    def _predicted(self, tokens: Tokens, batch: np.ndarray, top_k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        device = next(self.masked_words.model.parameters()).device
        inputs = {name: values.to(device) for name, values in tokens.batch(batch).items()}
        found = self.masked_words.predict(inputs, top_k)
        self.flops += self.masked_words.token_flops * inputs["input_ids"].numel()
        return found

    def _keep(
        self,
        masked: Sequence[Masked],
        tokens: Tokens,
        batch: np.ndarray,
        found: list[tuple[np.ndarray, np.ndarray]],
        top_k: int,
    ) -> None:
        """What was predicted for each mask, from the left; masks of words that were cut off are not there."""
        model, predicted = self.masked_words, iter(found)
        for one, row in zip(masked, batch, strict=True):
            seen = int((tokens.ids[row] == model.tokenizer.mask_token_id).sum())
            for place in one.chosen[:seen]:
                ids, chances = model.candidates(one.words[place], *next(predicted), top_k)
                at = self._starts[one.row, one.column] + place
                self._ids[at, : len(ids)], self._chances[at, : len(ids)] = ids, chances
