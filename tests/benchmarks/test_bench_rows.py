"""The rows of a benchmark: the same for all sides, every class, no text twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks import rows
from benchmarks.rows import draw_evenly, read_csv, repeated, write_files, write_rows


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rows, "REAL_DATA", tmp_path / "absent")


def test_files_of_the_embedded_data(embedded: None, tmp_path: Path) -> None:
    files = write_files(tmp_path, 200, 90)
    assert files.name == "customer-messages"
    parts = [read_csv(file) for file in (files.train, files.validation, files.test)]
    assert [len(part) for part in parts] == [200, 100, 90]
    texts = [text for part in parts for text, _ in part]
    assert len(set(texts)) == len(texts)
    assert len({len({label for _, label in part}) for part in parts}) == 1
    counts = Counter(label for _, label in parts[0]).values()
    assert max(counts) - min(counts) <= 1


def test_the_same_rows_each_time(embedded: None, tmp_path: Path) -> None:
    drawn = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        drawn.append(write_files(tmp_path / name, 100, 50).train.read_text(encoding="utf-8"))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(("count", "told"), [(3, "too few for the 8 classes"), (100_000, "were asked for")])
def test_numbers_that_cannot_be(count: int, told: str, embedded: None, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        write_files(tmp_path, count, 10)


@pytest.mark.skipif(not rows.REAL_DATA.is_dir(), reason="no real data (set TUNEWISE_TEST_DATA)")
def test_files_of_banking77(tmp_path: Path) -> None:
    files = write_files(tmp_path, 2000, 1000)
    train, test = read_csv(files.train), read_csv(files.test)
    assert files.name == "banking77" and (len(train), len(test)) == (2000, 1000)
    assert {label for _, label in train} == {label for _, label in test}
    assert not {text for text, _ in train} & {text for text, _ in test}


def test_draw_evenly_goes_round_the_classes() -> None:
    found = draw_evenly([("a1", "a"), ("b1", "b"), ("a2", "a"), ("a3", "a")], None, seed=0)
    assert [label for _, label in found] == ["a", "b", "a", "a"]
    assert len(draw_evenly(found, 2, seed=0)) == 2


def test_repeated_rows_differ_in_one_word() -> None:
    given = [("where is my new card", "a"), ("the transfer failed again today", "b"), ("stop it please now", "a")]
    found = list(repeated(given, 30))
    assert found[:3] == given and len({text for text, _ in found}) > 25
    for number, (text, label) in enumerate(found):
        before, name = given[number % 3]
        assert label == name and len(text.split()) == len(before.split())
        assert sum(one != other for one, other in zip(text.split(), before.split(), strict=True)) <= 1


def test_files_are_read_as_written(tmp_path: Path) -> None:
    pairs = [('a "quoted", text', "one"), ("two\nlines", "two")]
    assert read_csv(write_rows(tmp_path / "a.csv", pairs)) == pairs
