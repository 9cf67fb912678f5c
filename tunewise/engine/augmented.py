"""The rows of a training step with other words than in the data, as `augment` wants them: drawn when they are read.

What becomes of a row follows from seed, epoch and row, so that any step can be the first after a resume. Only training
reads them: validation, tests, what methods measure and what the cache keeps are the texts of the data.

Shape legend: N rows of the split, B rows of a step, W most words in a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch

from tunewise.data.augment import augmented_sentence, augmented_texts, row_generator
from tunewise.data.augment_settings import AugmentConfig
from tunewise.data.taken import even_places
from tunewise.data.tokenise import with_prompt
from tunewise.engine.drawn_rows import DrawnRows, StepRows
from tunewise.engine.encode import encode
from tunewise.engine.kept import Spent
from tunewise.engine.synonyms import Synonyms
from tunewise.models.load import Net
from tunewise.models.locate import locate
from tunewise.models.masked_words import load_masked_words
from tunewise.models.memory import PassSize
from tunewise.objectives.settings import ObjectiveConfig
from tunewise.types import Schema, Split


@dataclass
class AugmentedRows(DrawnRows):
    """The training rows of a run with words changed anew in each epoch.

    Attributes:
        spent: on synonyms of all rows.
    """

    net: Net
    split: Split
    schema: Schema
    config: AugmentConfig
    seed: int
    synonyms: Synonyms | None = None
    spent: Spent = field(default_factory=Spent)

    def __post_init__(self) -> None:
        self._places = np.zeros(len(self.split), dtype=np.int64)
        self._begun = False

    def begin(self) -> Spent:
        """What was spent before the first step; nothing the second time."""
        spent, self._begun = Spent() if self._begun else self.spent, True
        return spent

    @property
    def described(self) -> str:
        return self.config.told

    def read(self, rows: np.ndarray, epoch: int, targets: torch.Tensor, step: int = 0) -> StepRows:
        """The rows of a step in an epoch. A row that comes twice in it is the same both times.

        Args:
            targets: of all rows of the split, as they are.
        """
        unique = np.unique(rows)
        self._places[unique] = np.arange(len(unique))
        drawn = [self._row(int(row), epoch) for row in unique]
        texts = [text for text, _ in drawn]
        changed = np.array([text != self.split.texts[row] for text, row in zip(texts, unique, strict=True)])
        tokens = encode(texts, self.net)
        if self.net.by_word:
            tags_BW = np.full((len(unique), targets.shape[1]), -1, dtype=np.int64)
            for place, (_, tags) in enumerate(drawn):
                tags_BW[place, : len(tags)] = [self._numbers[tag] for tag in tags]
            found = torch.as_tensor(tokens.seen(tags_BW), device=targets.device)
        else:
            found = targets[unique]
        cut = int(changed[tokens.cut_rows].sum())
        inputs = with_prompt(tokens, self.net.prompt)
        return StepRows(inputs, found, self._places, int(changed.sum()), cut)

    def _row(self, row: int, epoch: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Texts, and the tags of their words where these have some."""
        generator, texts = row_generator(self.seed, epoch, row), self.split.texts[row]
        replace = partial(self._replaced, row, generator) if self.synonyms else None
        if not self.net.by_word:
            return augmented_texts(texts, self.config, generator, replace), ()
        (text,), numbers = texts, self.split.targets[row]
        tags = [self.schema.labels[number] for number in numbers[numbers >= 0]]
        text, tags = augmented_sentence(text, tags, self.config, generator, replace)
        return (text,), tags

    def _replaced(
        self, row: int, generator: np.random.Generator, column: int, words: list[str], chosen_W: np.ndarray
    ) -> list[str]:
        return self.synonyms.replaced(row, column, words, chosen_W, generator)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.schema.labels)}

    def told(self, changed: int, cut: int, read: int) -> str:
        """What was done, in a sentence.

        Args:
            changed, cut, read: rows of all epochs: with other words, of these longer than the model reads, and all.
        """
        longer = f"; {cut:,} of them are longer than {self.net.max_length} tokens and were cut" if cut else ""
        words = f"; {self.synonyms.words:,} words have candidates" if self.synonyms else ""
        return (
            f"augmentation ({self.config.told}): of {read:,} rows read in training, {changed:,} had other words than "
            f"in the data{longer}{words}"
        )


def augmented_rows(
    net: Net,
    split: Split,
    schema: Schema,
    config: AugmentConfig,
    seed: int,
    *,
    stop: Callable[[], None],
    warn: Callable[[str], None],
    tell: Callable[[str, int, int], None],
    most_rows: int | None = None,
) -> AugmentedRows | None:
    """What training reads in the place of the rows of `split`; None where no words are changed. Finds synonyms.

    Args:
        tell: is told what is done, of how many, and of how many in all.
        most_rows: find synonyms of so many rows only, and calculate what all would take.

    Raises:
        ModelError: no masked language model for synonyms.
    """
    if not config.changes_words:
        return None
    found = AugmentedRows(net, split, schema, config, seed)
    if not config.synonyms:
        return found
    located = net.located if config.synonym_model is None else locate(config.synonym_model, Path.cwd())
    masked_words = load_masked_words(located, next(net.model.parameters()).device)
    found.synonyms = Synonyms(masked_words)
    rows = _some(split.texts, most_rows)
    found.synonyms.find(
        split.texts,
        rows,
        config,
        by_word=net.by_word,
        seed=seed,
        size=PassSize(tell=warn),
        stop=stop,
        tell=partial(tell, "synonyms of rows"),
    )
    masked_words.forget()
    larger = _letters(split.texts, np.arange(len(split))) / max(1, _letters(split.texts, rows))
    here = found.synonyms.seconds
    found.spent = Spent(here * larger, found.synonyms.flops * larger)
    found.not_spent = here * (larger - 1)
    return found


def not_for_solvers(augment: AugmentConfig, objective: ObjectiveConfig) -> list[str]:
    """What a closed solver does without: it reads each row once, and minimises a loss of its own."""
    mixed = ["mixup" if augment.mixup else "", "cutmix" if augment.cutmix else ""]
    given = [augment.told, *mixed, "R-Drop" if objective.r_drop else ""]
    return [f"augmentation ({what}) does not apply to a closed solver" for what in given if what]


def _some(texts: Sequence[tuple[str, ...]], most: int | None) -> np.ndarray:
    """The places of all rows, or of so many, from the shortest to the longest."""
    if most is None or most >= len(texts):
        return np.arange(len(texts))
    return even_places(np.array([sum(map(len, row)) for row in texts]), most)


def _letters(texts: Sequence[tuple[str, ...]], rows: np.ndarray) -> int:
    return sum(len(text) for row in rows.tolist() for text in texts[row])
