"""100,000 rows are checked in under two minutes, and what is known to repeat in them is found."""

from __future__ import annotations

import time
from collections import Counter, defaultdict

import pytest

from benchmarks.checks import make_data, measure
from tunewise.models.locate import locate


def check(rows: int, folder):
    data, known = make_data(rows)
    begun = time.process_time()
    found = measure(data, locate(str(folder), folder))
    spent = time.process_time() - begun
    found_rows: dict[tuple[str, str], set[int]] = defaultdict(set)
    for one in found.findings:
        found_rows[one.kind, one.split] |= set(one.rows)
    seen: Counter = Counter()
    repeats = set()
    train = data.splits["train"]
    for number, pair in enumerate(zip(train.texts, train.targets.tolist(), strict=True), start=1):
        if seen[pair]:
            repeats.add(number)
        seen[pair] += 1
    assert found_rows["duplicates", "train"] == repeats >= set(known.repeated)
    known_texts = set(train.texts)
    leaked = {number for number, text in enumerate(data.splits["test"].texts, start=1) if text in known_texts}
    assert found_rows["leakage", "test"] >= leaked >= set(known.leaked)
    nearly = set(known.nearly) - repeats
    assert len(found_rows["near_duplicates", "train"] & nearly) >= 0.98 * len(nearly) > 0
    assert len(found_rows["near_leakage", "test"] & set(known.nearly_leaked)) >= 0.95 * len(known.nearly_leaked) > 0
    return spent


def test_what_is_planted_in_made_rows_is_found(tiny_bert):
    check(2_000, tiny_bert)


@pytest.mark.slow
def test_100_000_rows_take_less_than_two_minutes(tiny_bert):
    assert check(100_000, tiny_bert) < 120
