"""Lets a language model continue prompts, many at once, and drops the rows that have ended from the batch.

Shape legend: B rows of a batch that still write, T tokens they have read, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from tunewise.data.batches import sorted_batches, written_batches
from tunewise.data.labelled import with_virtual
from tunewise.data.ragged import Ragged
from tunewise.engine.beams import beam_search
from tunewise.engine.sampling import Chooser
from tunewise.errors import ModelError
from tunewise.evaluate.generation_settings import GenerationConfig
from tunewise.models.continuation import Continuation, cache_serves
from tunewise.models.memory import PassSize
from tunewise.models.modes import eval_mode
from tunewise.models.wrapped import plain_model

Tell = Callable[[int, int], None]


def generate(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    *,
    seed: int = 0,
    rows: Sequence[int] | None = None,
    virtual: Sequence[int] = (),
    ends: Sequence[int] | None = None,
    batch_size: int = 32,
    stop: Callable[[], None] = lambda: None,
    size: PassSize | None = None,
    tell: Tell | None = None,
) -> list[list[int]]:
    """Continues each prompt; the model is in eval mode meanwhile, without gradients.

    Prompts go in batches by their lengths. Whatever the batch, a row draws the same random numbers; its logits differ
    by rounding alone, which can decide between tokens that are as good as equal. Keys and values are cached where that
    is found to give what reading everything again gives, which methods that look across the text may break.

    Args:
        prompts: token ids, without padding, at least one each; what the encoder reads of a model that has one.
        seed: with the number of a row and its place in the text, decides what is drawn.
        rows: the number of each prompt; where left out, its place. Prompts of one number draw alike.
        virtual: ids beyond the vocabulary that an insert gives vectors to (`Net.prompt`), to be put into each prompt.
        ends: ids that end a text; where left out, those of `end_tokens`.
        batch_size: half the rows of 128 tokens at once: see `data.batches.written_batches`.
        stop: is called before each token, and may raise.
        size: of batches that are known to fit into memory.
        tell: is called with the place of a prompt and each token that follows it, at once.

    Returns:
        New tokens of each prompt, without padding; the one that ends a text included. A row whose last token is none
        of `ends` was cut short by `max_new_tokens`, the model's positions, or a stop string.

    Raises:
        ModelError: a prompt is empty, or leaves the model no position to write at.
        OutOfMemoryError: a single row does not fit.
    """
    if not len(prompts):
        return []
    ends = end_tokens(model, tokenizer) if ends is None else tuple(ends)
    numbers = list(range(len(prompts)) if rows is None else rows)
    prompts = _with_virtual(prompts, virtual)
    room = _room(model, prompts, config.longest)
    lengths = np.array([len(prompt) for prompt in prompts]) + config.longest
    found: list[list[int]] = [[] for _ in prompts]
    with eval_mode(model), torch.no_grad():
        cached = cache_serves(model, prompts[0], tokenizer.pad_token_id)

        def of_batch(places: np.ndarray) -> list[list[int]]:
            some = [prompts[place] for place in places]
            if config.beams > 1:
                most = int(min(room[place] for place in places))
                return beam_search(model, tokenizer, some, config, ends, most, cached, stop)
            batch = _Batch(model, tokenizer, config, ends, [numbers[place] for place in places], cached, stop)
            told = None if tell is None else lambda row, token: tell(int(places[row]), token)
            return batch.write(some, [int(room[place]) for place in places], Chooser(config, seed), told)

        in_batches = written_batches if cached else sorted_batches
        batches = in_batches(lengths, max(1, batch_size // config.beams))
        for places, texts in (size or PassSize()).run(batches, lengths, of_batch):
            for place, ids in zip(places, texts, strict=True):
                found[place] = ids
    return found


def text_of(tokenizer: Any, ids: Sequence[int], config: GenerationConfig) -> str:
    """New tokens as text: without special tokens, and up to the first stop string."""
    text = tokenizer.decode(list(ids), skip_special_tokens=True)
    places = [place for word in config.stop if (place := text.find(word)) >= 0]
    return text[: min(places)] if places else text


def end_tokens(model: nn.Module, tokenizer: Any) -> tuple[int, ...]:
    """The ids that end a text: the tokeniser's, and those that the model's generation_config.json names."""
    named = getattr(plain_model(model).generation_config, "eos_token_id", None)
    several = named if isinstance(named, (list, tuple)) else [named]
    return tuple(dict.fromkeys(number for number in (tokenizer.eos_token_id, *several) if number is not None))


@dataclass
class _Batch:
    """Rows that write together. `rows` are their numbers."""

    model: nn.Module
    tokenizer: Any
    config: GenerationConfig
    ends: tuple[int, ...]
    rows: list[int]
    cached: bool
    stop: Callable[[], None]
    new: list[list[int]] = field(default_factory=list)

    def write(
        self, prompts: Sequence[Sequence[int]], room: Sequence[int], choose: Chooser, tell: Tell | None
    ) -> list[list[int]]:
        """The new tokens of each row; `room`: how many it may write."""
        self.new = [[] for _ in prompts]
        writing = list(range(len(prompts)))
        going = Continuation(self.model, prompts, self.tokenizer.pad_token_id, self.cached)
        logits_BV = going.start()
        for written in range(max(room)):
            self.stop()
            read = going.read
            tokens = choose(logits_BV, read, [self.rows[row] for row in writing], written)
            for row, token in zip(writing, tokens, strict=True):
                self.new[row].append(token)
                if tell is not None:
                    tell(row, token)
            keep = [place for place, row in enumerate(writing) if not self._ended(row, room[row])]
            if not keep:
                break
            writing = [writing[place] for place in keep]
            logits_BV = going.go_on([tokens[place] for place in keep], keep)
        return self.new

    def _ended(self, row: int, room: int) -> bool:
        ids = self.new[row]
        if len(ids) >= room or ids[-1] in self.ends:
            return True
        return bool(self.config.stop) and stops(self.tokenizer, ids, self.config.stop)


def stops(tokenizer: Any, ids: Sequence[int], words: Sequence[str]) -> bool:
    """Whether one of the strings stands at the end of what was written. Looks at the last tokens alone: so many that
    they hold the longest string, were each token a byte of it."""
    tail = list(ids)[-(4 * max(map(len, words)) + 1) :]
    text = tokenizer.decode(tail, skip_special_tokens=True)
    return any(word in text for word in words)


def _with_virtual(prompts: Sequence[Sequence[int]], virtual: Sequence[int]) -> list[list[int]]:
    """Virtual ids stand where they stand in training."""
    if not all(len(prompt) for prompt in prompts):
        raise ModelError(
            "a prompt without tokens cannot be continued", fix="give each prompt at least the token that opens a text"
        )
    return [ids.tolist() for ids in with_virtual(Ragged.of(prompts, np.int64), virtual)]


def _room(model: nn.Module, prompts: Sequence[Sequence[int]], wanted: int) -> np.ndarray:
    """How many tokens each row may write, where the model numbers its positions."""
    config = plain_model(model).config
    positions = getattr(config, "max_position_embeddings", None)
    taken = np.array([1 if config.is_encoder_decoder else len(prompt) for prompt in prompts])
    if not positions:
        return np.full(len(prompts), wanted)
    room = np.minimum(positions - taken, wanted)
    if room.min() < 1:
        longest = int(taken.max())
        raise ModelError(
            f"a prompt of {longest} tokens leaves no room to write: the model has {positions} positions",
            fix="shorten the prompt, or set train.max_length lower",
        )
    return room
