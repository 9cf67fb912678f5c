"""The rows that all sides train and test on: banking77 where it is at hand, else the data that comes with tunewise."""

from __future__ import annotations

import csv
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

Row = tuple[str, str]
"""Text and label."""

REAL_DATA = Path(os.environ.get("TUNEWISE_TEST_DATA", "absent")).resolve() / "data/banking77"
EXAMPLE = files("tunewise.data") / "examples/customer_messages.csv"
LEAST_VALIDATION, VALIDATION_SHARE, EXAMPLE_TEST_SHARE = 100, 0.05, 0.33


@dataclass(frozen=True)
class Files:
    """CSV files with the columns text and label."""

    name: str
    train: Path
    validation: Path
    test: Path


def write_files(folder: Path, rows: int, test_rows: int) -> Files:
    """Draws so many rows, each class in its share, no text twice, and writes train.csv, validation.csv and test.csv.

    Raises:
        ValueError: the data has fewer rows, or so few would not hold every class.
    """
    name, pool, test = _sources()
    classes = len({label for _, label in pool})
    if rows < classes:
        raise ValueError(f"{rows} rows are too few for the {classes} classes of {name}")
    drawn = draw_evenly(pool, len(pool), seed=0)
    held_out = max(LEAST_VALIDATION, round(VALIDATION_SHARE * rows))
    if rows + held_out > len(drawn):
        raise ValueError(f"{name} has {len(drawn)} training rows; {rows} and {held_out} for validation were asked for")
    parts = {
        "train": drawn[:rows],
        "validation": drawn[rows : rows + held_out],
        "test": draw_evenly(test, min(test_rows, len(test)), seed=1),
    }
    return Files(name, **{part: write_rows(folder / f"{part}.csv", found) for part, found in parts.items()})


def _sources() -> tuple[str, list[Row], list[Row]]:
    """The name of the data, rows to train on, rows to test on; no text of one is in the other."""
    if REAL_DATA.is_dir():
        train, test = _once(read_csv(REAL_DATA / "train.csv")), _once(read_csv(REAL_DATA / "test.csv"))
        tested = {text for text, _ in test}
        return "banking77", [row for row in train if row[0] not in tested], test
    rows = draw_evenly(_once(read_csv(Path(str(EXAMPLE)))), None, seed=2)
    held_out = round(EXAMPLE_TEST_SHARE * len(rows))
    return "customer-messages", rows[held_out:], rows[:held_out]


def read_csv(file: Path) -> list[Row]:
    """Rows of a file with a column `text` and one of these with the label: category, intent, label."""
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    label = next(name for name in ("category", "intent", "label") if name in rows[0])
    return [(row["text"], row[label]) for row in rows]


def _once(rows: Iterable[Row]) -> list[Row]:
    """Each text once, and none that has only spaces."""
    found: dict[str, str] = {}
    for text, label in rows:
        if text.strip():
            found.setdefault(text, label)
    return list(found.items())


def draw_evenly(rows: Sequence[Row], count: int | None, seed: int) -> list[Row]:
    """`count` rows (None: all) in an order in which every class comes in turn, as long as it has rows."""
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_label[row[1]].append(row)
    generator = random.Random(seed)
    for label in sorted(by_label):
        generator.shuffle(by_label[label])
    longest = max(len(found) for found in by_label.values())
    turns = ([by_label[label][turn : turn + 1] for label in sorted(by_label)] for turn in range(longest))
    return [row for turn in turns for found in turn for row in found][:count]


def repeated(rows: Sequence[Row], count: int) -> Iterable[Row]:
    """`count` rows, the given ones over and over, from the second time on with one word changed, so that no two texts
    are the same and their lengths stay."""
    words = sorted({word for text, _ in rows for word in text.split() if word.isalpha() and word.islower()})
    for number in range(count):
        time, place = divmod(number, len(rows))
        text, label = rows[place]
        if time:
            parts = text.split()
            parts[(time + place) % len(parts)] = words[(time * 7919 + place) % len(words)]
            text = " ".join(parts)
        yield text, label


def write_rows(file: Path, rows: Iterable[Row]) -> Path:
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(["text", "label"])
        writer.writerows(rows)
    return file
