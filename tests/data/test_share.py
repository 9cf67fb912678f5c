"""A share of the training rows: by class, nested, the same on every machine, and told."""

from __future__ import annotations

import csv
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tunewise.data.prepare import bundle, gather, prepare
from tunewise.data.settings import DataConfig
from tunewise.data.share import rows_of_share, share_order
from tunewise.errors import DataError

COUNTS = {"refund": 60, "late": 30, "broken": 10}


def write(folder: Path, counts: dict[str, int] = COUNTS) -> Path:
    path = folder / "train.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows(
            [f"{label} number {number}", label] for label, count in counts.items() for number in range(count)
        )
    return path


def config(folder: Path, **options) -> DataConfig:
    write(folder)
    return DataConfig(**{"train": "train.csv", "text": "text", "label": "label", **options})


def labels_of(data) -> Counter:
    return Counter(data.schema.labels[target] for target in data.splits["train"].targets)


def test_a_share_keeps_classes_and_held_out_rows(tmp_path: Path) -> None:
    whole = prepare(config(tmp_path), tmp_path)
    half = prepare(config(tmp_path, share=0.5), tmp_path)
    assert labels_of(whole) == {"refund": 39, "late": 20, "broken": 6}
    assert len(half.splits["train"]) == 33 and set(half.splits["train"].texts) < set(whole.splits["train"].texts)
    for label, count in labels_of(half).items():
        assert abs(count - labels_of(whole)[label] / 2) <= 1
    for name in ("validation", "test"):
        assert half.splits[name].texts == whole.splits[name].texts
    assert half.drawn_from == whole.splits["train"].texts and whole.drawn_from == ()
    (step,) = [step for step in half.steps if step.name == "share"]
    assert (step.rows_in, step.rows_out) == (65, 33) and "0.5 of the training rows" in step.reason
    assert half.fingerprint != whole.fingerprint
    assert prepare(config(tmp_path, share=1.0), tmp_path).fingerprint == whole.fingerprint


def test_shares_are_nested_and_follow_their_seed(tmp_path: Path) -> None:
    gathered = gather(config(tmp_path), tmp_path)

    def texts(share: float, seed: int = 0) -> set:
        drawn = bundle(config(tmp_path, share=share, share_seed=seed), gathered)
        assert drawn.fingerprint == prepare(config(tmp_path, share=share, share_seed=seed), tmp_path).fingerprint
        return set(drawn.splits["train"].texts)

    shares = [texts(number / 10) for number in range(1, 11)]
    assert [len(found) for found in shares] == [7, 13, 20, 26, 33, 39, 46, 52, 59, 65]
    assert all(small < large for small, large in pairwise(shares))
    assert texts(0.5, seed=1) != texts(0.5, seed=2) and texts(0.5, seed=1) == texts(0.5, seed=1)


def test_the_order_of_the_file_does_not_matter(tmp_path: Path) -> None:
    values = [label for label, count in COUNTS.items() for _ in range(count)]
    texts = [(f"text {number}",) for number in range(len(values))]
    shuffled = np.random.default_rng(0).permutation(len(values))
    order = share_order(values, texts, "classification", 3)
    again = share_order([values[p] for p in shuffled], [texts[p] for p in shuffled], "classification", 3)
    assert shuffled[again].tolist() == order.tolist()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 3), st.floats(0.01, 1))
def test_every_beginning_is_stratified(sizes: list[int], seed: int, share: float) -> None:
    values = [f"class {number}" for number, size in enumerate(sizes) for _ in range(size)]
    order = share_order(values, [(f"row {place}",) for place in range(len(values))], "classification", seed)
    assert sorted(order.tolist()) == list(range(len(values)))
    count = rows_of_share(len(values), share)
    kept = Counter(values[place] for place in order[:count])
    assert len(kept) == min(count, len(sizes)), "every class has a row before any has a second"
    for number, size in enumerate(sizes):
        # Up to turn t a class of m rows has max(1, t m) of them, give or take half a row; n t follows from the count.
        found = kept[f"class {number}"]
        assert found <= max(1, (count + len(sizes) / 2) * size / len(values) + 0.5) + 1e-9
        assert found >= (count - len(sizes)) * size / len(values) - 1 - 1e-9


def test_too_small_a_share_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is 1 of 65 training rows: less than one for each of the 3 classes") as told:
        prepare(config(tmp_path, share=0.02), tmp_path)
    assert told.value.where == "data.share" and "0.046" in told.value.fix
    with pytest.raises(DataError, match="less than one"):
        prepare(_numbers(tmp_path), tmp_path)


def _numbers(folder: Path) -> DataConfig:
    path = folder / "numbers.csv"
    path.write_text("text,label\n" + "".join(f"row {number},{number * 0.25}\n" for number in range(60)))
    return DataConfig(train=path.name, text="text", label="label", task="regression", share=0.001)


def test_a_label_that_is_lost_is_told(tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    rows = [f"row {number},a" for number in range(40)] + [
        f"odd {number},{name}" for number, name in enumerate("bcdefg")
    ]
    path.write_text("text,label\n" + "\n".join(f"{row}|a" if "odd" in row else row for row in rows) + "\n")
    data = prepare(
        DataConfig(train=path.name, text="text", label="label", task="multilabel", label_separator="|", share=0.1),
        tmp_path,
    )
    (step,) = [step for step in data.steps if step.name == "share"]
    train = data.splits["train"].targets
    lost = [name for name, marks in zip(data.schema.labels, train.T, strict=True) if not marks.any()]
    assert lost and all(name in step.reason.split("without a row there: ")[1] for name in lost)


@pytest.mark.parametrize("share", [0, -0.1, 1.01])
def test_what_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(ValidationError, match="share"):
        DataConfig(train="a.csv", share=share)


def test_share_comes_after_per_class_and_before_balance(tmp_path: Path) -> None:
    few = prepare(config(tmp_path, per_class=6, share=0.5), tmp_path)
    assert labels_of(few) == {"refund": 3, "late": 3, "broken": 3}
    even = prepare(config(tmp_path, share=0.5, balance="over"), tmp_path)
    assert len(set(labels_of(even).values())) == 1
    assert set(even.splits["train"].texts) == set(prepare(config(tmp_path, share=0.5), tmp_path).splits["train"].texts)
