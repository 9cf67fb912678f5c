"""The texts that will be cut, counted before training as training then cuts them."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunewise.audit.finding import Finding
from tunewise.audit.settings import CheckConfig
from tunewise.audit.truncation import find
from tunewise.audit.view import View
from tunewise.check import check, check_data
from tunewise.errors import DataError
from tunewise.models.load import load_tokenizer
from tunewise.models.locate import locate
from tunewise.recipe import recipe_from
from tunewise.run import run
from tunewise.types import DataBundle, Split

TOLD = re.compile(
    r"(\d+) of (\d+) rows of (\w+) are longer than (\d+) tokens and were cut; (\d+) tokens (?:at|in) their (\w+)"
)


def look(data: DataBundle, model: Path, **options: Any) -> dict[str, Finding]:
    return {found.split: found for found in find(View(data, CheckConfig(), locate(str(model), Path()), **options))}


def with_texts(data: DataBundle, texts: list[tuple[str, ...]]) -> DataBundle:
    """The data with a train split of these texts alone."""
    zeros = np.zeros(len(texts), np.int64)
    train = Split("train", tuple(texts), zeros, np.arange(11, 11 + len(texts)), "made.csv")
    return replace(data, splits={"train": train})


@pytest.mark.parametrize(
    ("text", "train"),
    [("a", {"max_length": 9}), (["a", "b"], {"max_length": 15, "cut": "both"}), ("a", {"cut": "tail"})],
    ids=["head", "pairs, both", "the model's own limit, tail"],
)
def test_it_is_what_a_run_tells(text: Any, train: dict[str, Any], tiny_bert: Path, tmp_path: Path) -> None:
    words = ["good", "bad", "fine", "poor", "slow", "fast", "late", "soon"]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "y"])
        for row in range(60):
            line = [words[(row + place) % 8] for place in range(1 + (row * 7) % 80)]
            writer.writerow([" ".join(line), " ".join(line[: row % 23 + 1]) + f" {row}", "xy"[row % 2]])
    recipe = recipe_from(
        {
            "model": str(tiny_bert),
            "data": {"train": "rows.csv", "text": text, "label": "y"},
            "method": "head",
            "train": {"max_steps": 1, "threads": 1, "precision": "fp32", **train},
            "evaluate": {"resamples": 100},
        }
    )
    found = {each.split: each for each in check_data(recipe, tmp_path).of(["truncation"])}
    record = run(recipe, tmp_path / "out", folder=tmp_path)
    told = {entry[3]: entry for warning in record.warnings if (entry := TOLD.match(warning))}
    assert set(told) == set(found) == {"train", "validation", "test"}
    for split, entry in told.items():
        what = found[split]
        assert (what.count, what.of) == (int(entry[1]), int(entry[2]))
        assert (what.details["limit"], what.details["tokens_lost"]) == (int(entry[4]), int(entry[5]))
        assert entry[6] in what.what and f"{what.details['tokens_lost']:,} tokens are lost" in what.what


def test_entities_that_are_cut_off_count_words_without_a_token(
    tagged_data: Callable[..., DataBundle], tiny_bert: Path
) -> None:
    data = tagged_data(train=12, held_out=6)
    found = look(data, tiny_bert, max_length=6)["train"]
    tokenizer = load_tokenizer(locate(str(tiny_bert), Path()))
    without = 0
    for ((text,),) in zip(data.splits["train"].texts, strict=True):
        counts = [len(tokenizer.tokenize(word)) for word in text.split(" ")]
        firsts = np.cumsum([0, *counts[:-1]])
        without += int((firsts >= 4).sum())  # 6 tokens, of which two are special
    assert found.details["words_without_token"] == without > 0 and f"{without:,} words have no token" in found.what
    assert "train.cut" not in found.fix


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=12),
    limit=st.integers(5, 30),
    kept=st.sampled_from(["head", "tail", "both"]),
    pairs=st.booleans(),
)
def test_every_row_that_is_cut_and_no_other(
    lengths: list[tuple[int, int]], limit: int, kept: str, pairs: bool, toy_data: Any, tiny_bert: Path
) -> None:
    texts = [tuple(" ".join(["good"] * count) for count in (row if pairs else row[:1])) for row in lengths]
    found = look(with_texts(toy_data(pairs=pairs), texts), tiny_bert, max_length=limit, kept=kept)
    special = 3 if pairs else 2
    whole = [sum(row if pairs else row[:1]) + special for row in lengths]
    cut = [row for row, tokens in enumerate(whole) if tokens > limit]
    assert bool(found) == bool(cut)
    if cut:
        lost = [whole[row] - limit for row in cut]
        details = found["train"].details
        assert found["train"].rows == tuple(11 + row for row in cut)
        assert (details["tokens_lost"], details["most_lost"]) == (sum(lost), max(lost))
        assert details["median_lost"] == np.median(lost)


def test_the_longest_is_shown_first_and_what_to_do(toy_data: Any, tiny_bert: Path) -> None:
    data = with_texts(toy_data(), [("good",), ("good " * 12,), ("good " * 90,)])
    found = look(data, tiny_bert, max_length=10)["train"]
    assert [example.row for example in found.examples] == [13, 12]
    assert found.examples[0].note == "92 tokens, of which 82 are lost"
    assert "the model reads up to 64 tokens" in found.fix and "train.cut" in found.fix
    assert "max_length" not in look(data, tiny_bert)["train"].fix
    assert "train.cut" not in look(data, tiny_bert, kept="both")["train"].fix


def test_it_stops_a_recipe_that_wants_it(tiny_bert: Path, tmp_path: Path) -> None:
    rows = [f"{'long ' * 40} {row},{'xy'[row % 2]}" for row in range(40)]
    (tmp_path / "rows.csv").write_text("\n".join(["a,y", *rows]))
    given_ = {"model": str(tiny_bert), "data": {"train": "rows.csv", "label": "y"}, "method": "head"}
    limit = {"max_length": 12}
    with pytest.raises(DataError, match=r"truncation in train: .* longer than 12 tokens"):
        check(recipe_from({**given_, "train": limit, "check": {"block": ["truncation"]}}), tmp_path, [])
    assert check(recipe_from({**given_, "train": limit}), tmp_path, []).found.audit.of(["truncation"]) == ()
