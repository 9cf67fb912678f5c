"""What is kept of texts that are too long, against slices made by hand of what the tokeniser gives uncut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

from tunewise.conformance.toy_data import WORDS
from tunewise.data import tokenise as room
from tunewise.data.cuts import Losses
from tunewise.data.tokenise import Tokens, tokenise, with_prompt
from tunewise.types import Kept

FAMILIES = ["bert", "roberta", "gpt2", "t5"]
KEPT: tuple[Kept, ...] = ("head", "tail", "both")
LONG = "the parcel is late and the courier was with my box today please"
# What each family puts before a text, between two, and at the end, as its paper or code has it.
AROUND = {
    "bert": (["[CLS]"], ["[SEP]"], ["[SEP]"]),
    "roberta": (["<s>"], ["</s>"], ["</s>"]),
    "gpt2": ([], [], []),
    "t5": ([], [], ["</s>"]),
}
TEXT = st.lists(st.sampled_from([*WORDS, "unheardof", "[SEP]", "</s>", "\u2705", ","]), max_size=30).map(" ".join)


@pytest.fixture(scope="module")
def tokenizers(tiny_model: Callable[..., Path]) -> dict[str, Any]:
    made = {family: AutoTokenizer.from_pretrained(tiny_model(family)) for family in FAMILIES}
    made["gpt2"].pad_token = made["gpt2"].unk_token
    return made


def by_hand(ids: list[int], keep: int, kept: Kept) -> list[int]:
    """`keep` of the tokens of a text, or all."""
    if len(ids) <= keep:
        return ids
    first = {"head": keep, "tail": 0, "both": -(-keep // 4)}[kept]
    return ids[:first] + ids[len(ids) - (keep - first) :]


def framed(tokenizer: Any, family: str, *parts: list[int]) -> list[int]:
    start, between, end = (tokenizer.convert_tokens_to_ids(names) for names in AROUND[family])
    return start + (parts[0] if len(parts) == 1 else parts[0] + between + parts[1]) + end


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("max_length", [4, 7, 8, 12, 64])
def test_single_texts_are_slices_of_the_uncut_ids(
    max_length: int, family: str, kept: Kept, tokenizers: dict[str, Any]
) -> None:
    tokenizer = tokenizers[family]
    texts = [LONG, "great box", f"{LONG} {LONG}"]
    tokens = tokenise([(text,) for text in texts], tokenizer, max_length, kept=kept)
    special = sum(map(len, (AROUND[family][0], AROUND[family][2])))
    whole = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    wanted = [framed(tokenizer, family, by_hand(ids, max_length - special, kept)) for ids in whole]
    assert [row.tolist() for row in tokens.ids] == wanted
    lost = [max(0, len(ids) + special - max_length) for ids in whole]
    assert (tokens.cut, tokens.lost) == (np.count_nonzero(lost), sum(lost))
    assert tokens.cut_rows.tolist() == np.flatnonzero(lost).tolist() and tokens.cut_rows.dtype == np.int64


@pytest.mark.parametrize(
    ("family", "kept", "wanted"),
    [
        ("bert", "head", "[CLS] the parcel is late [SEP] my box [SEP]"),
        ("bert", "tail", "[CLS] my box today please [SEP] my box [SEP]"),
        ("bert", "both", "[CLS] the box today please [SEP] my box [SEP]"),
        ("roberta", "tail", "<s> my box today please </s> my box </s>"),
        ("roberta", "both", "<s> the box today please </s> my box </s>"),
        ("gpt2", "tail", "courier was with my box today please my box"),
        ("gpt2", "both", "the parcel with my box today please my box"),
        ("t5", "tail", "was with my box today please my box </s>"),
        ("t5", "both", "the parcel my box today please my box </s>"),
    ],
)
def test_of_pairs_only_the_longer_text_is_cut(family: str, kept: Kept, wanted: str, tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers[family]
    tokenizer.clean_up_tokenization_spaces = False
    wanted_ids = tokenizer.convert_tokens_to_ids(wanted.split())
    for rows in ([(LONG, "my box")], [("my box", LONG)]):
        tokens = tokenise(rows, tokenizer, 9, kept=kept)
        if rows[0][0] == LONG:
            assert tokens.ids[0].tolist() == wanted_ids
        else:  # T5 and GPT-2 have nothing between two texts: what is of which is known all the same
            long = wanted_ids[len(AROUND[family][0]) : -2 - len(AROUND[family][1]) - len(AROUND[family][2])]
            short = tokenizer.convert_tokens_to_ids(["my", "box"])
            assert tokens.ids[0].tolist() == framed(tokenizer, family, short, long)
        assert tokens.cut == 1 and tokens.lost > 0


def test_token_types_stay_with_their_texts(tokenizers: dict[str, Any]) -> None:
    for kept in KEPT:
        tokens = tokenise([(LONG, LONG), ("box", LONG)], tokenizers["bert"], 9, kept=kept)
        assert [row.tolist() for row in tokens.kinds] == [[0] * 5 + [1] * 4, [0] * 3 + [1] * 6]


def test_both_ends_as_in_the_paper(tokenizers: dict[str, Any]) -> None:
    """Sun et al. (2019): the first 128 and the last 382 tokens of a text, 512 with [CLS] and [SEP]."""
    tokenizer = tokenizers["bert"]
    text = " ".join(np.random.default_rng(0).choice(WORDS, size=700))
    whole = tokenizer(text, add_special_tokens=False).input_ids
    (ids,) = tokenise([(text,)], tokenizer, 512, kept="both").ids
    assert ids.tolist()[1:-1] == whole[:128] + whole[-382:]


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_the_post_processors_of_published_tokenisers(kind: str, kept: Kept) -> None:
    """Theirs are not templates; RoBERTa's puts two tokens between texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    made = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    process = processors.BertProcessing if kind == "bert" else processors.RobertaProcessing
    made.post_processor = process(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]")
    between = [3] if kind == "bert" else [3, 3]
    long = tokenizer(LONG, add_special_tokens=False).input_ids
    tokens = tokenise([(LONG, "my box"), (LONG, LONG)], tokenizer, 12, kept=kept)
    short = tokenizer("my box", add_special_tokens=False).input_ids
    assert tokens.ids[0].tolist() == [2, *by_hand(long, 12 - 4 - len(between), kept), *between, *short, 3]
    room = 12 - 2 - len(between)
    parts = by_hand(long, room // 2, kept), by_hand(long, room - room // 2, kept)
    assert tokens.ids[1].tolist() == [2, *parts[0], *between, *parts[1], 3]


@pytest.mark.parametrize("kept", KEPT)
def test_tokenisers_in_python_cut_single_texts_alike(kept: Kept) -> None:
    tokenizer = ByT5Tokenizer()
    whole = tokenizer(LONG, add_special_tokens=False).input_ids
    tokens = tokenise([(LONG,), ("box",)], tokenizer, 12, kept=kept)
    assert tokens.ids[0].tolist() == [*by_hand(whole, 11, kept), tokenizer.eos_token_id]
    assert (tokens.cut, tokens.lost) == (1, len(whole) + 1 - 12)


def is_cut_of(part: list[int], whole: list[int], kept: Kept) -> bool:
    return part == by_hand(whole, len(part), kept)


@given(
    rows=st.lists(TEXT, min_size=1, max_size=4),
    max_length=st.integers(4, 40),
    kept=st.sampled_from(KEPT),
    family=st.sampled_from(FAMILIES),
)
def test_any_text_and_any_limit(
    rows: list[str], max_length: int, kept: Kept, family: str, tokenizers: dict[str, Any]
) -> None:
    tokenizer = tokenizers[family]
    tokens = tokenise([(text,) for text in rows], tokenizer, max_length, kept=kept)
    uncut = [tokenizer(text).input_ids for text in rows]
    before, _, after = AROUND[family]
    for ids, whole in zip(tokens.ids, uncut, strict=True):
        ids = ids.tolist()
        assert len(ids) == max(1, min(max_length, len(whole)))
        if whole:
            start, end = len(before), len(whole) - len(after)
            assert ids[:start] == whole[:start] and ids[len(ids) - len(after) :] == whole[end:]
            assert is_cut_of(ids[start : len(ids) - len(after)], whole[start:end], kept)
    assert tokens.lost == sum(max(0, len(whole) - max_length) for whole in uncut)
    assert tokens.cut_rows.tolist() == [row for row, whole in enumerate(uncut) if len(whole) > max_length]
    assert tokens.cut == len(tokens.cut_rows)
    assert tokenizer.truncation_side == "right"


@given(
    first=TEXT, second=TEXT, max_length=st.integers(4, 40), kept=st.sampled_from(KEPT), family=st.sampled_from(FAMILIES)
)
def test_any_pair_and_any_limit(
    first: str, second: str, max_length: int, kept: Kept, family: str, tokenizers: dict[str, Any]
) -> None:
    tokenizer = tokenizers[family]
    tokens = tokenise([(first, second)], tokenizer, max_length, kept=kept)
    (whole,) = tokenizer([first], [second]).input_ids
    one, two = (tokenizer(text, add_special_tokens=False).input_ids for text in (first, second))
    special = len(whole) - len(one) - len(two)
    # How much of each stays is the tokeniser's own choice, and the same whatever is kept.
    own = tokenizer([first], [second], truncation="longest_first", max_length=max_length).sequence_ids(0)
    parts = [by_hand(ids, own.count(text), kept) for text, ids in enumerate((one, two))]
    assert tokens.ids[0].tolist() == (framed(tokenizer, family, *parts) or [tokenizer.pad_token_id])
    assert tokens.lost == max(0, len(whole) - max_length) and len(own) == sum(map(len, parts)) + special
    # Nothing is cut of the shorter text before the longer has become as short.
    if len(parts[0]) < len(one) and len(parts[1]) < len(two):
        assert abs(len(parts[0]) - len(parts[1])) <= 1


@pytest.mark.parametrize("kept", KEPT)
def test_rows_that_are_cut_are_known_by_number_whatever_is_encoded_together(
    kept: Kept, tokenizers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(" ".join(["box"] * (1 + number * 7 % 12)),) for number in range(30)]
    whole = tokenise(rows, tokenizers["bert"], 8, kept=kept)
    monkeypatch.setattr(room, "ROWS_AT_ONCE", 4)
    parts = tokenise(rows, tokenizers["bert"], 8, kept=kept)
    assert parts.cut_rows.tolist() == whole.cut_rows.tolist()
    assert parts.cut_rows.tolist() == [row for row, (text,) in enumerate(rows) if text.count("box") > 6]
    assert [row.tolist() for row in parts.ids] == [row.tolist() for row in whole.ids]


def test_a_tokeniser_that_cuts_at_the_left_by_itself_does_as_it_is_told(tiny_bert: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert, truncation_side="left")
    usual = AutoTokenizer.from_pretrained(tiny_bert)
    for kept in KEPT:
        told, wanted = (tokenise([(LONG,)], each, 7, kept=kept) for each in (tokenizer, usual))
        assert told.ids[0].tolist() == wanted.ids[0].tolist()
    assert tokenizer.truncation_side == "left"


@pytest.mark.parametrize("family", FAMILIES)
def test_virtual_tokens_stand_before_what_is_kept(family: str, tokenizers: dict[str, Any]) -> None:
    for kept in KEPT:
        tokens: Tokens = tokenise([(LONG,)], tokenizers[family], 8, kept=kept)
        prompted = with_prompt(tokens, (900, 901))
        at = len(AROUND[family][0])
        ids = tokens.ids[0].tolist()
        assert prompted.ids[0].tolist() == [*ids[:at], 900, 901, *ids[at:]]
        assert (prompted.cut, prompted.lost, prompted.cut_rows.tolist()) == (1, tokens.lost, [0])


@pytest.mark.parametrize(
    ("losses", "kept", "told"),
    [
        (Losses(3, 40, 0), "head", "3 texts are longer than 8 tokens and were cut; 40 tokens at their ends are lost"),
        (
            Losses(3, 40, 0),
            "tail",
            "3 texts are longer than 8 tokens and were cut; 40 tokens at their beginnings are lost",
        ),
        (Losses(1, 4, 0), "both", "1 texts are longer than 8 tokens and were cut; 4 tokens in their middles are lost"),
        (
            Losses(1, 4, 3),
            "head",
            "1 texts are longer than 8 tokens and were cut; 4 tokens at their ends are lost; "
            "3 words have no token, and are taken for O",
        ),
        (Losses(0, 0, 3), "head", "3 words have no token, and are taken for O (texts)"),
    ],
)
def test_what_is_told(losses: Losses, kept: Kept, told: str) -> None:
    assert losses.told("texts", 8, kept) == told
