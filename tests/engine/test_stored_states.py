"""The file of a prefix's states, and arrays that are kept beside it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tunewise.commit import Cache, arrays
from tunewise.engine.gradients import Sums
from tunewise.engine.kept import Context, Parts, Spent, kept_array
from tunewise.engine.prefix_key import digest_of
from tunewise.engine.progress import Progress
from tunewise.engine.stored_states import Pass, batches_within, places

IDS = torch.tensor([[5, 6, 7, 0], [5, 0, 0, 0], [5, 0, 6, 0], [0, 0, 0, 0]])


def test_places() -> None:
    assert places("first", {"input_ids": IDS}, 0).tolist() == [0, 0, 0, 0]
    # As transformers finds a decoder's last token: the last id that does not pad, wherever those stand.
    assert places("last", {"input_ids": IDS}, 0).tolist() == [2, 0, 2, 0]


def rows_of(lengths: list[int]) -> Any:
    return SimpleNamespace(lengths=np.array(lengths))


@pytest.mark.parametrize(
    ("room", "kept"),
    [(10_000, 20), (4000, 20), (3999, 18), (3600, 18), (2000, 10), (1999, 8), (399, 0), (0, 0)],
)
def test_whole_tenths_are_kept(room: int, kept: int) -> None:
    run = Pass(None, None, "tokens", None, torch.device("cpu"))
    batches = batches_within(rows_of([10] * 20), run, 20, room)
    assert sum(len(rows) for rows in batches) == kept and all(len(rows) for rows in batches)


def test_the_longest_rows_come_first() -> None:
    run = Pass(None, None, "tokens", None, torch.device("cpu"))
    (batch,) = batches_within(rows_of([1, 5, 2, 4, 3]), run, 10, 60)
    assert batch.tolist() == [1]  # 4 tenths of 150 bytes; the next row would make 9 tokens of 15
    one = Pass(None, None, "first", None, torch.device("cpu"))
    (batch,) = batches_within(rows_of([1, 5, 2, 4, 3]), one, 10, 30)
    assert batch.tolist() == [1, 3, 4]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Cache(tmp_path, 10**6), None, "fp32", torch.device("cpu"), "rows.csv")


def test_an_array_is_made_once(context: Context) -> None:
    made = []

    def make() -> Parts:
        made.append(1)
        return Parts.whole(np.arange(6.0).reshape(2, 3), 12.0)

    key = "0" * 64
    first, spent = kept_array(context, key, {"kind": "test"}, make)
    second, read = kept_array(context, key, {"kind": "test"}, make)
    np.testing.assert_array_equal(first, second)
    assert len(made) == 1 and (spent.flops, spent.elsewhere_flops) == (12.0, 0.0)
    assert (read.flops, read.elsewhere_flops) == (0.0, 12.0)
    assert read.forward_seconds == spent.forward_seconds
    assert read.seconds + read.elsewhere_seconds == pytest.approx(spent.forward_seconds)
    (entry,) = context.store.entries()
    assert entry.about["kind"] == "test" and entry.about["flops"] == 12.0


def test_an_array_that_cannot_be_kept_is_made_each_time(context: Context, tmp_path: Path) -> None:
    small = Context(Cache(tmp_path, 10), None, "fp32", torch.device("cpu"), "rows.csv")
    for _ in range(2):
        array, spent = kept_array(small, "0" * 64, {}, lambda: Parts.whole(np.ones(100), 3.0))
        assert array.sum() == 100 and spent.flops == 3.0
    assert small.store.entries() == []


def counting(parts: list[np.ndarray], asked: list[int]) -> Callable[[], Parts]:
    """Makes an array of these parts; `asked` grows by the number of each that is asked for."""

    def arrays() -> Iterator[np.ndarray]:
        for number, part in enumerate(parts):
            asked.append(number)
            yield part

    return lambda: Parts(sum(map(len, parts)), arrays(), lambda: 2.0 * len(asked))


PARTS = [np.full((2, 3), float(number)) for number in range(3)]


@pytest.mark.parametrize("large", [1, 10**6])
def test_parts_are_written_where_they_are_kept(large: int, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is large stays in the file; either way the parts are made once."""
    monkeypatch.setattr(arrays, "LARGE", large)
    asked: list[int] = []
    for elsewhere in (0.0, 6.0):
        array, spent = kept_array(context, "0" * 64, {}, counting(PARTS, asked))
        np.testing.assert_array_equal(array, np.concatenate(PARTS))
        assert isinstance(array, np.memmap) == (large == 1)
        assert (spent.flops, spent.elsewhere_flops) == (6.0 - elsewhere, elsewhere)
    assert asked == [0, 1, 2] and context.store.entries()[0].about["flops"] == 6.0


@pytest.mark.parametrize("parts", [PARTS, PARTS[:1]])
def test_parts_for_which_the_cache_has_no_room_are_made_once(parts: list[np.ndarray], context: Context) -> None:
    small, asked = replace(context, store=replace(context.store, limit=10)), []
    array, spent = kept_array(small, "0" * 64, {}, counting(parts, asked))
    np.testing.assert_array_equal(array, np.concatenate(parts))
    assert asked == list(range(len(parts))) and spent.flops == 2.0 * len(parts)


def test_parts_that_a_disk_did_not_take_are_made_again(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, shape: tuple[int, ...], kind: np.dtype, parts: Parts) -> None:
        for number, _ in enumerate(parts):
            if number == 1:
                raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("tunewise.engine.kept.write_array_of", write)
    told: list[str] = []
    full, asked = replace(context, store=replace(context.store, warn=told.append)), []
    array, _ = kept_array(full, "0" * 64, {}, counting(PARTS, asked))
    np.testing.assert_array_equal(array, np.concatenate(PARTS))
    assert asked == [0, 1, 0, 1, 2] and "could not keep" in told[0]


def test_parts_that_gave_way_in_the_same_moment_are_made_again(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path) -> np.ndarray:
        raise FileNotFoundError(path)

    monkeypatch.setattr("tunewise.engine.kept.read_array", read)
    asked: list[int] = []
    array, spent = kept_array(context, "0" * 64, {}, counting(PARTS, asked))
    np.testing.assert_array_equal(array, np.concatenate(PARTS))
    assert asked == [0, 1, 2, 0, 1, 2] and spent.elsewhere_flops == 0


def test_sums() -> None:
    one = Spent(1.0, 2.0, 3.0, 4.0, 5.0)
    assert one + one == Spent(2.0, 4.0, 6.0, 8.0, 10.0) and one - one == Spent()


def test_a_digest_tells_names_types_and_shapes_apart() -> None:
    zeros = torch.zeros(4)
    variants = [
        [("a", zeros)],
        [("b", zeros)],
        [("a", zeros.view(2, 2))],
        [("a", zeros.to(torch.int32))],
        [("a", zeros[:2]), ("a", zeros[:2])],
        [("a", -zeros)],
    ]
    assert len({digest_of(variant) for variant in variants}) == len(variants)
    assert digest_of([("a", torch.ones(4).to(torch.bfloat16))]) == digest_of([("a", torch.ones(4).bfloat16())])


def test_what_a_training_has_spent_without_the_cache() -> None:
    """2 fills of 100 FLOPs here, 50 elsewhere; steps of 10 in the place of 30."""
    progress = Progress()
    progress.begin_phase(Spent(seconds=1.0, flops=200.0, elsewhere_seconds=2.0, elsewhere_flops=50.0), resumed=False)
    progress.count(Sums(1, forward_flops=10.0, backward_flops=5.0, spared_flops=20.0))
    progress.count(Sums(1, forward_flops=30.0, backward_flops=5.0))
    assert progress.learning_flops == 30 + 30 + 10 and progress.forward_flops == 240
    assert (progress.seconds, progress.elsewhere_seconds, progress.elsewhere_flops) == (1.0, 2.0, 50.0)
    progress.begin_phase(Spent(1.0, flops=9.0, elsewhere_seconds=2.0, elsewhere_flops=50.0), resumed=True)
    assert progress.forward_flops == 240
    assert (progress.seconds, progress.elsewhere_seconds, progress.elsewhere_flops) == (2.0, 2.0, 50.0)
