"""The data that comes with tunewise is what its card says."""

from __future__ import annotations

import csv
from collections import Counter
from importlib.resources import files

ROWS = list(csv.DictReader((files("tunewise.data") / "examples/customer_messages.csv").read_text("utf-8").splitlines()))


def test_size_classes_and_columns() -> None:
    assert len(ROWS) == 1152 and list(ROWS[0]) == ["text", "intent", "urgency", "region"]
    assert set(Counter(row["intent"] for row in ROWS).values()) == {144}
    assert Counter(row["region"] for row in ROWS) == {
        "north_america": 382,
        "europe": 320,
        "asia": 194,
        "africa": 128,
        "latin_america": 128,
    }


def test_urgency_is_on_its_scale() -> None:
    values = [float(row["urgency"]) for row in ROWS]
    assert min(values) == 0 and max(values) == 1
    assert all(abs(value * 20 - round(value * 20)) < 1e-9 for value in values)


def test_every_message_is_its_own() -> None:
    """No text twice, and no two that share more than half of their words: templates would show here."""
    words = [frozenset("".join(c if c.isalnum() else " " for c in row["text"].lower()).split()) for row in ROWS]
    assert len({row["text"].lower() for row in ROWS}) == len(ROWS)
    shared = max(
        len(first & second) / len(first | second)
        for number, first in enumerate(words)
        if len(first) > 5
        for second in words[number + 1 :]
        if len(second) > 5
    )
    assert shared < 0.5


def test_lengths_vary() -> None:
    lengths = [len(row["text"].split()) for row in ROWS]
    assert min(lengths) <= 3 and max(lengths) >= 80
    assert sum(length <= 9 for length in lengths) > 150 and sum(length >= 45 for length in lengths) > 150
