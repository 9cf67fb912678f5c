"""What the data is, split by split: rows, labels, lengths against the model's limit, groups of sensitive columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tunewise.audit.groups import Group, bears, characters, groups_of, label_names, tag_types
from tunewise.audit.language_read import rows_read
from tunewise.audit.texts_read import model_limit, reader_of, reading_of
from tunewise.audit.view import View
from tunewise.config.reading import kept_word
from tunewise.types import Split

QUANTILES = {"min": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1.0}
UNLIMITED = 1_000_000


@dataclass(frozen=True)
class Lengths:
    """Of the rows of a split: an actual length each, not one between two (the 95% quantile: the shortest that at least
    95% of the rows do not exceed)."""

    median: int
    most_rows: int
    longest: int

    @classmethod
    def of(cls, lengths: np.ndarray) -> Lengths:
        found = np.quantile(lengths, (0.5, 0.95, 1.0), method="inverted_cdf")
        return cls(*(int(value) for value in found))


@dataclass(frozen=True)
class SplitOverview:
    """One split.

    Attributes:
        labels: rows of each class or label; of each type of entity, how many entities there are.
        without: rows that bear no label or entity (multi-label tasks and entities).
        quantiles: of the number to predict (regression), by name.
        characters: of a row, both texts of a pair together.
        tokens: of a row before it is cut, special ones included.
        cut: rows that are longer than the limit; `tokens_lost` what they lose.
        groups: by column of `data.sensitive`, the largest group first.
        width, height: of images, in pixels, which have no characters and tokens.
        prompt, answer: of `tokens`, those that are given and those to be learnt; `turns`: answers of a row. Language
            tasks alone.
    """

    name: str
    source: str
    rows: int
    characters: Lengths
    tokens: Lengths
    cut: int
    tokens_lost: int
    labels: dict[str, int] = field(default_factory=dict)
    without: int = 0
    quantiles: dict[str, float] = field(default_factory=dict)
    groups: dict[str, list[Group]] = field(default_factory=dict)
    width: Lengths | None = None
    height: Lengths | None = None
    prompt: Lengths | None = None
    answer: Lengths | None = None
    turns: Lengths | None = None


@dataclass(frozen=True)
class Overview:
    """All splits, and what was done to the data (`types.DataStep` as mappings). `limit`: the most tokens of a row that
    training reads; `model_limit`: the most that the model could; None where there is none. `kept`: which end of longer
    texts."""

    task: str
    model: str
    limit: int | None
    model_limit: int | None
    kept: str
    splits: tuple[SplitOverview, ...]
    steps: tuple[dict[str, Any], ...]


def overview(view: View, progress: Callable[[float], None] = lambda share: None) -> Overview:
    """Encodes every text by the model's tokeniser, and counts."""
    images = bool(view.data.schema.image)
    net, splits = None if images else reader_of(view), []
    for split in view.data.splits.values():
        splits.append(_of_split(view, split))
        progress(len(splits) / len(view.data.splits))
    return Overview(
        task=view.task,
        model=view.located.name,
        limit=_limit(net.max_length) if net else None,
        model_limit=_limit(model_limit(view)) if net else None,
        kept=kept_word(net.kept) if net else "head",
        splits=tuple(splits),
        steps=tuple(step.as_dict() for step in view.data.steps),
    )


def _limit(tokens: int) -> int | None:
    return tokens if tokens < UNLIMITED else None


def _of_language_split(view: View, split: Split) -> SplitOverview:
    read = rows_read(view, split.name)
    return SplitOverview(
        name=split.name,
        source=split.source,
        rows=len(split),
        characters=Lengths.of(characters(split)),
        tokens=Lengths.of(read.whole),
        cut=int((read.lost > 0).sum()),
        tokens_lost=int(read.lost.sum()),
        prompt=Lengths.of(read.prompt),
        answer=Lengths.of(read.answer),
        turns=Lengths.of(read.turns),
    )


def _of_split(view: View, split: Split) -> SplitOverview:
    if view.data.schema.is_language:
        return _of_language_split(view, split)
    known = _of_rows(view, split)
    if view.task == "regression":
        found = np.quantile(split.targets.astype(np.float64), list(QUANTILES.values()))
        known["quantiles"] = {name: float(value) for name, value in zip(QUANTILES, found, strict=True)}
    else:
        marks = bears(view, split)
        counts = entities_by_type(view, split) if view.task == "token_classification" else marks.sum(axis=0)
        known["labels"] = {name: int(count) for name, count in zip(label_names(view), counts, strict=True)}
        known["without"] = int((~marks.any(axis=1)).sum())
    return SplitOverview(
        name=split.name,
        source=split.source,
        rows=len(split),
        groups={column: groups_of(view, split, column) for column in view.sensitive},
        **known,
    )


def _of_rows(view: View, split: Split) -> dict[str, Any]:
    """How long texts are, or how large images."""
    if view.data.schema.image:
        facts, none = [picture.facts for (picture,) in split.texts], Lengths(0, 0, 0)
        width, height = (Lengths.of(np.array([getattr(fact, side) for fact in facts])) for side in ("width", "height"))
        return {"characters": none, "tokens": none, "cut": 0, "tokens_lost": 0, "width": width, "height": height}
    reading = reading_of(view, split.name)
    return {
        "characters": Lengths.of(characters(split)),
        "tokens": Lengths.of(reading.whole),
        "cut": reading.tokens.cut,
        "tokens_lost": reading.tokens.lost,
    }


def entities_by_type(view: View, split: Split) -> np.ndarray:
    """How many entities of each type a split has, int64 (K,): a B- tag begins one; where tags are plain types, or an I-
    tag follows none of its type, the first word of a run does."""
    types, names = tag_types(view), label_names(view)
    index = np.array([-1 if kind is None else names.index(kind) for kind in types])
    begins = np.array([name.startswith("B-") for name in view.data.schema.labels])
    tags_NW = split.targets
    kinds_NW = np.where(tags_NW >= 0, index[tags_NW], -1)
    before_NW = np.pad(kinds_NW, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    starts_NW = (kinds_NW >= 0) & (((tags_NW >= 0) & begins[tags_NW]) | (kinds_NW != before_NW))
    return np.bincount(kinds_NW[starts_NW], minlength=len(names))
