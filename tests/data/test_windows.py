"""Windows over texts that are too long, against slices made by hand of what the tokeniser gives uncut."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, ByT5Tokenizer

from tunewise.config.reading import WINDOW_PLACES, Chunks
from tunewise.conformance.toy_data import WORDS
from tunewise.data import tokenise as room_of_tokens
from tunewise.data.ragged import Ragged
from tunewise.data.token_files import read_tokens, tokens_key, write_tokens
from tunewise.data.tokenise import Tokens, tokenise, with_prompt
from tunewise.data.windows import Windows, window_starts
from tunewise.errors import RecipeError

FAMILIES = ["bert", "roberta", "gpt2", "t5"]
AROUND = {"bert": (1, 1, 1), "roberta": (1, 1, 1), "gpt2": (0, 0, 0), "t5": (0, 0, 1)}  # before, between, after
LONG = "the parcel is late and the courier was with my box today please"
TEXT = st.lists(st.sampled_from([*WORDS, "unheardof", "[SEP]", "</s>"]), max_size=40).map(" ".join)


@pytest.fixture(scope="module")
def tokenizers(tiny_model: Callable[..., Path]) -> dict[str, Any]:
    made = {family: AutoTokenizer.from_pretrained(tiny_model(family)) for family in FAMILIES}
    made["gpt2"].pad_token = made["gpt2"].unk_token
    return made


def windows_of(tokens: Tokens, row: int) -> list[list[int]]:
    if tokens.windows is None:
        return [tokens.ids[row].tolist()]
    return [tokens.ids[window].tolist() for window in tokens.windows.of(np.array([row]))]


@pytest.mark.parametrize(
    ("tokens", "room", "chunks", "starts"),
    [
        (10, 10, Chunks(), [0]),
        (11, 10, Chunks(), [0, 1]),
        (30, 10, Chunks(), [0, 10, 20]),
        (31, 10, Chunks(), [0, 10, 20, 21]),
        (30, 10, Chunks(stride=5), [0, 5, 10, 15, 20]),
        (28, 10, Chunks(stride=5), [0, 5, 10, 15, 18]),
        (100, 10, Chunks(most=3), [0, 10, 20]),
        (100, 10, Chunks(stride=4, most=3), [0, 6, 12]),
        (3, 10, Chunks(), [0]),
    ],
)
def test_where_windows_begin(tokens: int, room: int, chunks: Chunks, starts: list[int]) -> None:
    assert window_starts(tokens, room, chunks) == starts


@given(tokens=st.integers(1, 300), room=st.integers(1, 40), stride=st.integers(0, 39), most=st.integers(2, 400))
def test_windows_hold_every_token_in_order(tokens: int, room: int, stride: int, most: int) -> None:
    stride = min(stride, room - 1)
    starts = window_starts(tokens, room, Chunks(stride, most))
    assert starts[0] == 0 and len(starts) <= most
    assert all(first < second <= first + room - stride for first, second in pairwise(starts))
    if len(starts) < most:
        assert starts[-1] == max(0, tokens - room)  # the last ends with the text, and none is shorter
        assert sorted({start + place for start in starts for place in range(room)})[-1] + 1 == max(tokens, room)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("stride", [0, 2])
def test_each_window_is_the_text_of_its_tokens(stride: int, family: str, tokenizers: dict[str, Any]) -> None:
    tokenizer, (before, _, after) = tokenizers[family], AROUND[family]
    own = tokenizer(LONG, add_special_tokens=False).input_ids
    whole = tokenizer(LONG).input_ids
    tokens = tokenise([(LONG,), ("great box",)], tokenizer, 8, kept=Chunks(stride))
    room = 8 - before - after
    wanted = [
        whole[:before] + own[start : start + room] + whole[len(whole) - after :]
        for start in window_starts(len(own), room, Chunks(stride))
    ]
    assert len(wanted) > 1 and windows_of(tokens, 0) == wanted
    assert windows_of(tokens, 1) == [tokenizer("great box").input_ids]
    assert tokens.lengths.tolist() == [8 * len(wanted), len(windows_of(tokens, 1)[0])]
    assert (len(tokens), tokens.cut, tokens.lost, tokens.cut_rows.tolist()) == (2, 0, 0, [])


@given(texts=st.lists(TEXT, min_size=1, max_size=4), max_length=st.integers(6, 30), stride=st.integers(0, 3))
@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_of_any_text_is_lost(
    texts: list[str], max_length: int, stride: int, family: str, tokenizers: dict[str, Any]
) -> None:
    tokenizer, (before, _, after) = tokenizers[family], AROUND[family]
    tokens = tokenise([(text,) for text in texts], tokenizer, max_length, kept=Chunks(stride, 100))
    room = max_length - before - after
    for row, text in enumerate(texts):
        whole, windows = tokenizer(text).input_ids, windows_of(tokens, row)
        own = whole[before : len(whole) - after]
        if len(whole) <= max_length:
            assert windows == [whole or [tokenizer.pad_token_id]]
            continue
        starts = window_starts(len(own), room, Chunks(stride, 100))
        assert [window[before : len(window) - after] for window in windows] == [own[s : s + room] for s in starts]
        assert all(len(window) == max_length for window in windows)
    assert tokens.lost == 0 and tokens.lengths.tolist() == [
        sum(map(len, windows_of(tokens, row))) for row in range(len(texts))
    ]


@given(first=TEXT, second=TEXT, max_length=st.integers(12, 30), stride=st.integers(0, 3))
@pytest.mark.parametrize("family", FAMILIES)
def test_of_pairs_the_longer_text_is_in_windows_and_the_shorter_in_each(
    first: str, second: str, max_length: int, stride: int, family: str, tokenizers: dict[str, Any]
) -> None:
    tokenizer, (before, between, after) = tokenizers[family], AROUND[family]
    tokens = tokenise([(first, second)], tokenizer, max_length, kept=Chunks(stride, 100))
    (whole,) = tokenizer([first], [second]).input_ids
    one, two = (tokenizer(text, add_special_tokens=False).input_ids for text in (first, second))
    if len(whole) <= max_length:
        assert windows_of(tokens, 0) == [whole or [tokenizer.pad_token_id]]
        return
    room = max_length - before - between - after
    longer, shorter = (one, two) if len(one) >= len(two) else (two, one)
    kept = shorter[: room // 2]
    starts = window_starts(len(longer), room - len(kept), Chunks(stride, 100))
    start, middle = whole[:before], whole[before + len(one) : before + len(one) + between]
    end = whole[len(whole) - after :] if after else []
    parts = [longer[s : s + room - len(kept)] for s in starts]
    wanted = [start + (part + middle + kept if len(one) >= len(two) else kept + middle + part) + end for part in parts]
    assert windows_of(tokens, 0) == wanted
    assert tokens.lost == len(shorter) - len(kept) and tokens.cut == int(tokens.lost > 0)
    if family == "bert":
        types = [
            [0] * (before + len(a) + between) + [1] * (len(w) - before - len(a) - between)
            for a, w in (
                (part if len(one) >= len(two) else kept, window) for part, window in zip(parts, wanted, strict=True)
            )
        ]
        assert [row.tolist() for row in tokens.kinds] == types


def test_what_comes_after_the_most_windows_is_counted(tokenizers: dict[str, Any]) -> None:
    text = " ".join(["box"] * 40)
    tokens = tokenise([("box",), (text,), (text,)], tokenizers["bert"], 12, kept=Chunks(most=3))
    losses = tokens.losses
    assert (losses.texts, losses.tokens, losses.rows.tolist()) == (2, 20, [1, 2])
    assert (losses.chunked, losses.windows, losses.chunked_rows.tolist()) == (2, 6, [1, 2])
    assert losses.told("of 3 rows", 12, Chunks(most=3)) == (
        "2 of 3 rows are longer than 12 tokens and are read in 6 windows; 2 lost 20 tokens at their ends"
    )
    whole = tokenise([("box",), (text,)], tokenizers["bert"], 12, kept=Chunks()).losses
    assert whole and whole.told("texts", 12, Chunks()) == (
        "1 texts are longer than 12 tokens and are read in 4 windows"
    )
    assert not tokenise([("box",)], tokenizers["bert"], 12, kept=Chunks()).losses


def test_texts_that_fit_are_encoded_as_without_windows(tokenizers: dict[str, Any]) -> None:
    rows = [("box",), ("",), ("the parcel is late",)]
    plain, other = (tokenise(rows, tokenizers["bert"], 12, kept=kept) for kept in ("head", Chunks(2)))
    assert other.windows is None and other.lengths.tolist() == plain.lengths.tolist()
    for name, values in plain.batch([2, 0]).items():
        assert other.batch([2, 0])[name].equal(values)


def test_tokenisers_in_python(tokenizers: dict[str, Any]) -> None:
    tokenizer = ByT5Tokenizer()
    own = tokenizer(LONG, add_special_tokens=False).input_ids
    tokens = tokenise([(LONG,), ("box",)], tokenizer, 12, kept=Chunks())
    end = tokenizer.eos_token_id
    assert windows_of(tokens, 0) == [[*own[s : s + 11], end] for s in window_starts(len(own), 11, Chunks())]


def test_a_batch_holds_the_windows_of_its_rows_together(tokenizers: dict[str, Any]) -> None:
    texts = [(" ".join(["box"] * count),) for count in (25, 3, 11, 10, 30)]
    tokens = tokenise(texts, tokenizers["bert"], 12, kept=Chunks())
    assert tokens.windows.counts.tolist() == [3, 1, 2, 1, 3]
    batch = tokens.batch([4, 1, 2])
    assert batch[WINDOW_PLACES].tolist() == [[0, 1, 2], [3, -1, -1], [4, 5, -1]]
    assert tokens.shape([4, 1, 2]) == tuple(batch["input_ids"].shape) == (6, 12)
    for row, places in zip([4, 1, 2], batch[WINDOW_PLACES], strict=True):
        held = [
            batch["input_ids"][place][batch["attention_mask"][place] == 1].tolist() for place in places if place >= 0
        ]
        assert held == windows_of(tokens, row)
    assert WINDOW_PLACES not in tokens.batch([1, 3])  # each is one window
    assert tokens.shape([1, 3]) == (2, 12) and tokens.shape([1]) == (1, 5)


@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=12), data=st.data())
def test_which_windows_are_of_which_row(counts: list[int], data: st.DataObject) -> None:
    windows = Windows.of_counts(counts)
    rows = np.array(data.draw(st.lists(st.integers(0, len(counts) - 1), min_size=1, max_size=8)))
    by_hand = [[sum(counts[:row]) + number for number in range(counts[row])] for row in rows]
    assert windows.of(rows).tolist() == [number for one in by_hand for number in one]
    flat = windows.of(rows)
    assert [[flat[p] for p in places if p >= 0] for places in windows.places(rows)] == by_hand
    values = np.arange(sum(counts)) ** 2
    assert windows.sums(values)[rows].tolist() == [sum(values[number] for number in one) for one in by_hand]


def test_whatever_is_encoded_together(tokenizers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(" ".join(["box"] * (1 + number * 7 % 30)),) for number in range(12)] + [("box",)] * 6
    whole = tokenise(rows, tokenizers["bert"], 8, kept=Chunks(1, 3))
    monkeypatch.setattr(room_of_tokens, "ROWS_AT_ONCE", 4)
    parts = tokenise(rows, tokenizers["bert"], 8, kept=Chunks(1, 3))
    assert parts.windows.starts.tolist() == whole.windows.starts.tolist()
    assert [row.tolist() for row in parts.ids] == [row.tolist() for row in whole.ids]
    assert (parts.cut, parts.lost, parts.cut_rows.tolist()) == (whole.cut, whole.lost, whole.cut_rows.tolist())


def test_virtual_tokens_are_in_every_window(tokenizers: dict[str, Any]) -> None:
    tokens = with_prompt(tokenise([(LONG,), ("box",)], tokenizers["bert"], 8, kept=Chunks()), (900, 901))
    assert [ids[:3] for row in (0, 1) for ids in windows_of(tokens, row)] == [[2, 900, 901]] * 4
    assert tokens.lengths.tolist() == [3 * 10, 5]


def test_windows_are_kept_in_files(tokenizers: dict[str, Any], tmp_path: Path) -> None:
    tokens = tokenise([(LONG,), ("box",), (LONG,)], tokenizers["bert"], 8, kept=Chunks(1, 2))
    write_tokens(tmp_path, tokens)
    again = read_tokens(tmp_path)
    assert again.windows.starts.tolist() == tokens.windows.starts.tolist()
    assert isinstance(again.ids, Ragged) and again.ids.flat.tolist() == tokens.ids.flat.tolist()
    assert (again.lost, again.losses.windows) == (tokens.lost, tokens.losses.windows) != (0, 0)


def test_the_key_of_kept_tokens_knows_how_windows_are_made(tokenizers: dict[str, Any]) -> None:
    ways = ["head", "tail", "both", Chunks(), Chunks(stride=1), Chunks(most=3)]
    keys = {tokens_key([("box",)], tokenizers["bert"], 8, False, kept) for kept in ways}
    assert len(keys) == len(ways)
    assert tokens_key([("box",)], tokenizers["bert"], 8, False, Chunks(pooling="max")) in keys  # the same tokens


@pytest.mark.parametrize(("pair", "max_length", "stride"), [(False, 8, 6), (False, 8, 9), (True, 12, 5)])
def test_windows_that_would_not_go_on_are_refused(
    pair: bool, max_length: int, stride: int, tokenizers: dict[str, Any]
) -> None:
    rows = [("box", "late")] if pair else [("box",)]
    with pytest.raises(RecipeError, match=f"train.chunk_stride is {stride}"):
        tokenise(rows, tokenizers["bert"], max_length, kept=Chunks(stride))
    tokenise(rows, tokenizers["bert"], max_length, kept=Chunks(stride - 1 if stride < 8 else 1))
