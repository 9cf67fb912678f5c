"""How long each check of `tunewise check` takes on 100,000 rows whose repeats are known.

python -m benchmarks.checks [rows]
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tunewise.audit.audit import Audit, audit
from tunewise.audit.checks import CHECKS
from tunewise.audit.settings import CheckConfig
from tunewise.conformance.bench import make_folder
from tunewise.models.locate import locate
from tunewise.models.located import LocatedModel
from tunewise.types import DataBundle, Schema, Split

ROWS = 100_000
SLOW = ("label_errors", "personal_data")
"""Checks that have figures of their own."""

LABELS = ("late", "broken", "refund", "thanks")
_PLANTED = 0.01  # share of the training rows that repeat another, of each kind


@dataclass(frozen=True)
class Known:
    """Rows (from 1) that repeat an earlier one: `repeated` and `nearly` of train, `leaked` and `nearly_leaked` of
    test."""

    repeated: tuple[int, ...]
    nearly: tuple[int, ...]
    leaked: tuple[int, ...]
    nearly_leaked: tuple[int, ...]


def make_data(rows: int = ROWS, seed: int = 0) -> tuple[DataBundle, Known]:
    """Texts of two to four sentences drawn from the messages that come with tunewise, each with an order number in
    words of its own; 1% of them repeat an earlier one, 1% nearly; two other columns."""
    generator = np.random.default_rng(seed)
    sentences = _sentences()
    count = {"train": int(0.8 * rows), "validation": rows // 10, "test": rows - int(0.8 * rows) - rows // 10}
    texts = {name: [_text(generator, sentences) for _ in range(number)] for name, number in count.items()}
    labels = {name: generator.integers(0, len(LABELS), number) for name, number in count.items()}
    known = _plant(generator, texts, labels)
    splits = {
        name: Split(
            name=name,
            texts=tuple((text,) for text in texts[name]),
            targets=labels[name].astype(np.int64),
            rows=np.arange(1, count[name] + 1),
            source=f"{name}.csv",
            columns={
                "region": tuple(generator.choice(["north", "south", "east"], count[name]).tolist()),
                "minutes": tuple(f"{minutes:.1f}" for minutes in generator.exponential(5, count[name])),
            },
        )
        for name in count
    }
    return DataBundle(splits, Schema("classification", ("text",), "label", LABELS), (), "made"), known


def measure(data: DataBundle, located: LocatedModel) -> Audit:
    """Every check but the slow ones."""
    return audit(data, located, CheckConfig(), [check.kind for check in CHECKS if check.kind not in SLOW])


def _sentences() -> list[str]:
    with (files("tunewise.data") / "examples/customer_messages.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    parts = [part.strip() for text in texts for part in re.split(r"(?<=[.?!])\s", text)]
    return sorted({part for part in parts if len(part) > 20})


def _text(generator: np.random.Generator, sentences: list[str]) -> str:
    chosen = generator.integers(0, len(sentences), int(generator.integers(2, 5)))
    return " ".join(sentences[place] for place in chosen)


def _plant(generator: np.random.Generator, texts: Mapping[str, list[str]], labels: Mapping[str, np.ndarray]) -> Known:
    train, test = texts["train"], texts["test"]
    planted = max(1, int(_PLANTED * len(train)))
    half = len(train) // 2
    late = half + generator.permutation(len(train) - half)[: 2 * planted]
    for place, source in zip(late, generator.permutation(half)[: 2 * planted], strict=True):
        labels["train"][place] = labels["train"][source]
        train[place] = train[source] if place in late[:planted] else _edited(train[source])
    leaks = max(1, int(_PLANTED * len(test)))
    held = generator.permutation(len(test))[: 2 * leaks]
    for number, (place, source) in enumerate(zip(held, generator.permutation(half)[: 2 * leaks], strict=True)):
        test[place] = train[source] if number < leaks else _edited(train[source])
    return Known(
        *(
            tuple(sorted(int(place) + 1 for place in places))
            for places in (late[:planted], late[planted:], held[:leaks], held[leaks:])
        )
    )


def _edited(text: str) -> str:
    """The same message in other words at one place: the word in its middle, and its last mark."""
    words = text.rstrip(".!?").split(" ")
    words[len(words) // 2] = "really"
    return " ".join(words)


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        tiny = locate(str(make_folder("bert", Path(place))), Path(place))
        found = measure(make_data(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)[0], tiny)
    for kind, seconds in found.seconds.items():
        print(f"{kind:20} {seconds:6.1f} s")
    print(f"{'all':20} {sum(found.seconds.values()):6.1f} s")
