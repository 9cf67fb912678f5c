"""Rows as the model gets them: the tokens that training reads, and what was cut away where it stood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunewise.audit.rendered import LOST_SHOWN, Piece, Rendered, folded, rendered
from tunewise.audit.settings import CheckConfig
from tunewise.audit.view import View
from tunewise.data.tokenise import tokenise
from tunewise.models.load import Net, load_reader
from tunewise.models.locate import locate
from tunewise.types import DataBundle, Kept, Schema, Split

WORDS = ("good", "bad", "fine", "poor", "parcel", "refund")


def rows(data: DataBundle, model: Path, **options: Any) -> tuple[Rendered, ...]:
    return rendered(View(data, CheckConfig(), locate(str(model), Path()), **options))


def with_texts(data: DataBundle, texts: list[tuple[str, ...]]) -> DataBundle:
    zeros = np.zeros(len(texts), np.int64)
    train = Split("train", tuple(texts), zeros, np.arange(11, 11 + len(texts)), "made.csv")
    return replace(data, splits={"train": train})


@cache
def reader(model: Path) -> Net:
    return load_reader(locate(str(model), Path()), Schema("classification", ("text",), "label", ("a", "b")))


@settings(max_examples=60, deadline=None)
@given(
    first=st.lists(st.sampled_from(WORDS), max_size=40),
    second=st.none() | st.lists(st.sampled_from(WORDS), max_size=40),
    limit=st.integers(5, 40),
    kept=st.sampled_from(["head", "tail", "both"]),
    family=st.sampled_from(["bert", "roberta", "gpt2"]),
)
def test_read_is_what_training_reads_and_with_the_lost_it_is_the_whole_row(
    first: list[str], second: list[str] | None, limit: int, kept: Kept, family: str, toy_data: Any, tiny_model: Any
) -> None:
    text = tuple(" ".join(part) for part in (first, second) if part is not None)
    data = with_texts(toy_data(pairs=second is not None), [text])
    net = replace(reader(tiny_model(family)), max_length=limit, kept=kept)
    (row,) = rendered(View(data, CheckConfig(), net.located, memory={"reader": net}))
    (read,) = tokenise([text], net.tokenizer, net.max_length, kept=net.kept).ids
    seen = [piece.token for piece in row.pieces if piece.part in ("special", "text")]
    if first or second or family != "gpt2":  # GPT-2 has no token for nothing, and gets one of padding
        assert seen == net.tokenizer.convert_ids_to_tokens(read.tolist())
    whole = net.tokenizer.convert_ids_to_tokens(net.tokenizer(*([part] for part in text))["input_ids"][0])
    assert row.lost == max(0, len(whole) - limit)
    if row.lost <= LOST_SHOWN and len(row.pieces) > 0:
        assert [piece.token for piece in row.pieces] == whole


def test_the_first_the_longest_and_one_that_is_cut(toy_data: Any, tiny_bert: Path) -> None:
    texts = [("good",), ("good " * 9,), ("good " * 30,), ("bad bad",), ("bad " * 9,)]
    first, longest, cut = rows(with_texts(toy_data(), texts), tiny_bert, max_length=8)
    assert [(row.row, row.why) for row in (first, longest, cut)] == [
        (11, "the first row"),
        (13, "the longest row"),
        (12, "the first that is cut"),
    ]
    assert [(row.tokens, row.lost) for row in (first, longest, cut)] == [(3, 0), (8, 24), (8, 3)]
    assert first.label == toy_data().schema.labels[0]
    (only,) = rows(with_texts(toy_data(), [("good",)]), tiny_bert)
    assert only.why == "the first row, and the longest"


def test_of_many_lost_tokens_the_first_are_shown_and_all_counted(toy_data: Any, tiny_bert: Path) -> None:
    (row,) = rows(with_texts(toy_data(), [("good " * 100,)]), tiny_bert, max_length=10)
    parts = [piece.part for piece in row.pieces]
    assert (row.lost, parts.count("lost")) == (92, LOST_SHOWN)
    (more,) = [piece for piece in row.pieces if piece.part == "more"]
    assert more.token == "52 more tokens lost" and row.pieces[-1].part == "special"


def test_the_first_token_of_each_word_bears_its_tag(tagged_data: Callable[..., DataBundle], tiny_bert: Path) -> None:
    data = tagged_data(train=12, held_out=4)
    view_rows = rows(data, tiny_bert)
    split = data.splits["train"]
    for row in view_rows:
        place = split.rows.tolist().index(row.row)
        tags = [data.schema.labels[tag] for tag in split.targets[place] if tag >= 0]
        assert [piece.tag for piece in row.pieces if piece.tag] == tags
        words = split.texts[place][0].split(" ")
        starts = [piece.token for piece in row.pieces if piece.tag]
        assert all(word.startswith(token) for word, token in zip(words, starts, strict=True))


@pytest.mark.parametrize("count", [3, 60, 79, 81, 500])
def test_long_runs_are_folded_and_counted(count: int) -> None:
    pieces = [Piece("[CLS]", "special"), *(Piece(f"t{place}", "text", 0) for place in range(count))]
    shown = folded(pieces, 60)
    left_out = sum(int(piece.token.split()[0]) for piece in shown if piece.part == "more")
    assert sum(piece.part == "text" for piece in shown) + left_out == count
    assert (left_out > 0) == (count > 80) and shown[-1] == pieces[-1]
