"""What a language model writes for rows of the test sets, after training and, for some of them, before."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tunewise.chat.messages import from_text, to_text
from tunewise.chat.messages import text_of as text_of_message
from tunewise.data.conversations import Prompts, encode_prompts
from tunewise.data.taken import taken
from tunewise.engine.generation import end_tokens, generate, text_of
from tunewise.engine.kept import Context, Parts, kept_array
from tunewise.engine.prefix_key import surroundings
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.generation_settings import GenerationConfig
from tunewise.evaluate.overlap import overlap
from tunewise.evaluate.texts import signatures
from tunewise.models.load import Net
from tunewise.models.memory import PassSize
from tunewise.objectives.base import Objective
from tunewise.types import DataBundle, Form, Predictions, Schema, Split

SAMPLES = 8
"""Rows of the first test set that the report shows before and after training."""
LONGEST_SAMPLE = 2000  # characters


@dataclass(frozen=True, eq=False)
class Written:
    """What was written for some rows of a split, at `places` (int64, ascending). `given` is what `prompts` were written
    from: of conversations the messages, as the data has them. `tokens` of all texts took `seconds`; `unfinished` texts
    were not ended by the model; `cut_prompts` were longer than it reads."""

    split: Split
    places: np.ndarray
    prompts: tuple[str, ...]
    given: tuple[str, ...]
    references: tuple[str, ...]
    texts: tuple[str, ...]
    tokens: int
    seconds: float
    unfinished: int
    cut_prompts: int

    def beside(self, predictions: Predictions) -> Predictions:
        """Predictions of the split with the texts."""
        columns: list[list[str | None]] = [[None] * len(self.split) for _ in range(3)]
        for column, texts in zip(columns, (self.texts, self.references, self.given), strict=True):
            for place, text in zip(self.places, texts, strict=True):
                column[place] = text
        return replace(
            predictions, generated=tuple(columns[0]), references=tuple(columns[1]), prompts=tuple(columns[2])
        )

    def told(self, config: GenerationConfig) -> str | None:
        """A line for the user, where not everything was continued or ended."""
        parts = []
        if len(self.places) < len(self.split):
            parts.append(f"{len(self.places):,} of {len(self.split):,} rows were continued (evaluate.generation.rows)")
        if self.unfinished:
            parts.append(f"{self.unfinished:,} of {len(self.texts):,} texts had no end after {config.longest:,} tokens")
        if self.cut_prompts:
            parts.append(f"{self.cut_prompts:,} prompts were longer than the model reads and lost their beginning")
        return f"{self.split.name}: {'; '.join(parts)}" if parts else None

    def as_dict(self) -> dict[str, Any]:
        """What a record keeps of how it went."""
        return {
            "rows": len(self.places),
            "of": len(self.split),
            "tokens": self.tokens,
            "seconds": self.seconds,
            "tokens_per_second": self.tokens / self.seconds if self.seconds > 0 else None,
            "unfinished": self.unfinished,
            "cut_prompts": self.cut_prompts,
        }


@dataclass(frozen=True)
class Writer:
    """Lets a net continue rows. `context`: where texts of the untrained model are kept between runs."""

    net: Net
    schema: Schema
    config: GenerationConfig
    batch_size: int
    stop: Callable[[], None] = lambda: None
    size: PassSize | None = None
    context: Context | None = None

    def write(self, split: Split) -> Written:
        """Continues the rows that the options choose."""
        return self._written(split, chosen_rows(len(split), self.config.rows, self.config.seed))

    def samples(self, split: Split) -> tuple[str, ...]:
        """What is written for the first of these rows; read from the cache where it was kept. Only of a model that is
        as it was loaded."""
        places = chosen_rows(len(split), self.config.rows, self.config.seed)[:SAMPLES]
        if self.context is None or not all(tensor.pretrained for tensor in self.net.map.tensors):
            return self._written(split, places).texts
        about = {
            "kind": "texts",
            "what": "untrained",
            "model": self.net.located.name,
            "data": self.context.data,
            "precision": "fp32",
            "rows": len(places),
        }
        found, _ = kept_array(
            self.context,
            self._key(split, places),
            about,
            lambda: Parts.whole(np.array(self._written(split, places).texts, dtype=np.str_), 0.0),
        )
        return tuple(str(text) for text in found)

    def prompts(self, split: Split) -> Prompts:
        """What the model reads, with room behind it for what it is to write, or for half of its positions."""
        net, both = self.net, self.net.model.config.is_encoder_decoder
        room = net.positions - len(net.prompt)
        if not both:
            room -= min(self.config.longest, room // 2)
        return encode_prompts(split, self.schema, net.tokenizer, min(room, net.max_length), both)

    def _written(self, split: Split, places: np.ndarray) -> Written:
        rows = taken(split, places)
        read = self.prompts(rows)
        start = time.perf_counter()
        found = self._generated(read, places)
        seconds = time.perf_counter() - start
        ends = end_tokens(self.net.model, self.net.tokenizer)
        texts = tuple(text_of(self.net.tokenizer, ids, self.config) for ids in found)
        stopped = [ids[-1] in ends or _stopped(self.net.tokenizer, ids, self.config) for ids in found]
        return Written(
            split=split,
            places=places,
            prompts=read.texts,
            given=_conversations(rows) if self.schema.form == "chat" else read.texts,
            references=read.references,
            texts=texts,
            tokens=sum(map(len, found)),
            seconds=seconds,
            unfinished=stopped.count(False),
            cut_prompts=len(read.cut_rows),
        )

    def _generated(self, read: Prompts, places: np.ndarray) -> list[list[int]]:
        return generate(
            self.net.model,
            self.net.tokenizer,
            [ids.tolist() for ids in read.ids],
            self.config,
            seed=self.config.seed,
            rows=places.tolist(),
            virtual=self.net.prompt,
            batch_size=self.batch_size,
            stop=self.stop,
            size=self.size,
        )

    def _key(self, split: Split, places: np.ndarray) -> str:
        """Of everything that decides what the untrained model writes."""
        read = self.prompts(taken(split, places))
        described = {
            "kind": "texts",
            "model": self.net.located.fingerprint,
            **surroundings(self.net, next(self.net.model.parameters()).device),
            "options": self.config.as_dict(),
            "rows": places.tolist(),
            "prompts": [ids.tolist() for ids in read.ids],
            "rows_at_once": self.batch_size,
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def texts_told(
    written: Mapping[str, Written], before: Sequence[str], evaluator: Evaluator, train: Split, form: Form | None
) -> dict[str, Any]:
    """What a record keeps of texts: how they were made and scored, what of them stands in the training rows, and
    samples of the first test set."""
    if not written:
        return {}
    config = evaluator.config
    scored = any(metric.reads == "texts" for metric in evaluator.metrics.values())
    first = next(iter(written.values()))
    copied = {}
    if config.overlap:
        ours, theirs = (
            [text for found in written.values() for text in getattr(found, name)] for name in ("texts", "references")
        )
        copied = {"overlap": overlap(ours, theirs, _plain_texts(train, form))}
    return copied | {
        "options": config.generation.as_dict(),
        "signatures": signatures(config.bleu_tokenizer) if scored else {},
        "sets": {name: found.as_dict() for name, found in written.items()},
        "samples": _samples(first, before),
    }


def _plain_texts(split: Split, form: Form | None) -> Iterator[str]:
    """All that stands in the rows, a text after the other; of conversations, what each message says."""
    for row in split.texts:
        for text in row:
            yield from (text_of_message(said) for said in from_text(text).messages) if form == "chat" else (text,)


def _conversations(split: Split) -> tuple[str, ...]:
    """The messages before the answers, as a row has them: in a string of their own, or before the last answer."""
    return tuple(row[0] if len(row) > 1 else to_text(from_text(row[0]).parted[0]) for row in split.texts)


def chosen_rows(rows: int, wanted: int, seed: int) -> np.ndarray:
    """Places of the rows to continue, ascending: the same whatever the model, the method and the run's seed."""
    if rows <= wanted:
        return np.arange(rows)
    return np.sort(np.random.default_rng([seed, rows]).permutation(rows)[:wanted])


def _samples(written: Written, before: Sequence[str]) -> list[dict[str, Any]]:
    found = []
    for number in range(min(SAMPLES, len(written.texts))):
        texts = {
            "prompt": written.prompts[number],
            "reference": written.references[number],
            "before": before[number] if number < len(before) else None,
            "after": written.texts[number],
        }
        row = int(written.split.rows[written.places[number]])
        found.append({"row": row, **{name: _short(text) for name, text in texts.items()}})
    return found


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= LONGEST_SAMPLE else f"{text[: LONGEST_SAMPLE - 1]}…"


def _stopped(tokenizer: Any, ids: Sequence[int], config: GenerationConfig) -> bool:
    whole = tokenizer.decode(list(ids), skip_special_tokens=True)
    return any(word in whole for word in config.stop)


def writer_of(
    net: Net,
    objective: Objective | None,
    data: DataBundle,
    evaluator: Evaluator,
    stop: Callable[[], None],
    size: PassSize,
    context: Context | None = None,
) -> Writer | None:
    """Who continues the test rows; None where the recipe wants no texts, or the model gives numbers for rows."""
    config = evaluator.config
    if config.generation is None or objective is None or objective.answers != "language":
        return None
    return Writer(net, data.schema, config.generation, config.batch_size, stop, size, context)


def by_package(missing: Mapping[str, str]) -> dict[str, list[str]]:
    """The metrics that are left out for want of each package."""
    found: dict[str, list[str]] = {}
    for name, package in missing.items():
        found.setdefault(package, []).append(name)
    return found
