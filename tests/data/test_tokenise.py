from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from tunewise.data.tokenise import tokenise

LONG = "the parcel is late and the courier is not here today"
TEXTS = [("great",), (LONG,), ("",), ("my refund please",), (f"{LONG} {LONG}",)]
PAIRS = [("great", LONG), (LONG, "box"), ("", ""), (LONG, f"{LONG} {LONG}"), ("a box", "")]


@pytest.fixture(scope="module")
def bert(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


@pytest.fixture(scope="module")
def gpt2(tiny_model: Callable[..., Path]) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("gpt2"))
    tokenizer.pad_token = tokenizer.unk_token
    return tokenizer


@pytest.mark.parametrize("rows", [TEXTS, PAIRS])
@pytest.mark.parametrize("max_length", [4, 6, 9, 13, 64])
def test_ids_cuts_and_lost_tokens(rows: list[tuple[str, ...]], max_length: int, bert: Any) -> None:
    tokens = tokenise(rows, bert, max_length)
    whole = [len(bert(*([text] for text in row)).input_ids[0]) for row in rows]
    for place, row in enumerate(rows):
        alone = bert(*([text] for text in row), truncation=True, max_length=max_length)
        assert tokens.ids[place].tolist() == alone.input_ids[0]
        assert tokens.kinds[place].tolist() == alone.token_type_ids[0]
    assert tokens.lengths.tolist() == [min(length, max_length) for length in whole]
    assert tokens.cut == sum(length > max_length for length in whole)
    assert tokens.lost == sum(max(0, length - max_length) for length in whole)


def test_of_pairs_the_longer_text_is_cut(bert: Any) -> None:
    tokens = tokenise([("box", LONG)], bert, 8)
    assert bert.decode(tokens.ids[0]) == "[CLS] box [SEP] the parcel is late [SEP]"
    assert (tokens.cut, tokens.lost) == (1, 7)


def test_batch_is_what_the_tokeniser_pads(bert: Any) -> None:
    tokens = tokenise(PAIRS, bert, 12)
    rows = [3, 0, 4]
    columns = [list(column) for column in zip(*(PAIRS[row] for row in rows), strict=True)]
    wanted = bert(*columns, padding=True, truncation=True, max_length=12, return_tensors="pt")
    batch = tokens.batch(np.array(rows))
    assert batch.keys() == wanted.keys()
    assert all(batch[key].equal(wanted[key]) for key in wanted)


def test_a_row_without_tokens_becomes_one_of_padding(gpt2: Any) -> None:
    assert gpt2("").input_ids == []
    tokens = tokenise([("",), ("great",)], gpt2, 64)
    assert [row.tolist() for row in tokens.ids] == [[gpt2.pad_token_id], gpt2("great").input_ids]
    assert tokens.batch([0])["attention_mask"].tolist() == [[1]]


def test_the_tokeniser_is_left_as_it_was(bert: Any) -> None:
    tokenise(TEXTS, bert, 5)
    assert len(bert(LONG).input_ids) == 13
    tokenise(TEXTS, bert, 64)
    assert tokenise(TEXTS, bert, 64).cut == 0


def test_no_rows(bert: Any) -> None:
    tokens = tokenise([], bert, 8)
    assert (len(tokens), tokens.cut, tokens.lengths.tolist()) == (0, 0, [])


def test_without_token_types(bert: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bert.name_or_path, model_input_names=["input_ids", "attention_mask"])
    tokens = tokenise(PAIRS, tokenizer, 8)
    assert tokens.kinds is None
    assert set(tokens.batch([0, 1])) == {"input_ids", "attention_mask"}
