from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from tunewise.data import tokenise as room
from tunewise.data.tokenise import Tokens, tokenise, with_prompt
from tunewise.types import CUT, NO_WORD

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


# ---------------------------------------------------------------- many rows


def one_shot(rows: list[tuple[str, ...]], tokenizer: Any, max_length: int) -> tuple[list[list[int]], list[list[int]]]:
    """Ids and token types of all rows by one call of the tokeniser."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    found = tokenizer(*columns, truncation="longest_first", max_length=max_length)
    return found["input_ids"], found["token_type_ids"]


def padded_row_by_row(tokens: Tokens, rows: np.ndarray) -> dict[str, torch.Tensor]:
    """Batches as they were made when every row was an array of its own."""
    width = max(len(tokens.ids[row]) for row in rows)
    filled = {name: np.zeros((len(rows), width), dtype=np.int64) for name in ("attention_mask", "token_type_ids")}
    filled["input_ids"] = np.full((len(rows), width), tokens.pad, dtype=np.int64)
    if tokens.words is not None:
        words = max(len(tokens.words[row]) for row in rows)
        filled["word_places"] = np.full((len(rows), words), NO_WORD, dtype=np.int64)
    for place, row in enumerate(rows):
        length = len(tokens.ids[row])
        filled["input_ids"][place, :length] = tokens.ids[row]
        filled["attention_mask"][place, :length] = 1
        filled["token_type_ids"][place, :length] = tokens.kinds[row]
        if tokens.words is not None:
            filled["word_places"][place, : len(tokens.words[row])] = tokens.words[row]
    return {name: torch.from_numpy(values) for name, values in filled.items()}


def many_rows(count: int, pairs: bool) -> list[tuple[str, ...]]:
    generator = np.random.default_rng(0)
    words = [*LONG.split(), "unheardof", "\u2705", "refund,"]

    def text() -> str:
        return " ".join(generator.choice(words, size=generator.integers(0, 12)))

    return [(text(), text()) if pairs else (text(),) for _ in range(count)]


@pytest.mark.parametrize(("rows_at_once", "letters_at_once"), [(1, 10**6), (7, 10**6), (10**6, 100), (10**6, 10**6)])
@pytest.mark.parametrize("pairs", [False, True])
def test_many_rows_are_encoded_in_parts_as_in_one_call(
    pairs: bool, rows_at_once: int, letters_at_once: int, bert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ROWS_AT_ONCE", rows_at_once)
    monkeypatch.setattr(room, "LETTERS_AT_ONCE", letters_at_once)
    rows = many_rows(60, pairs)
    ids, kinds = one_shot(rows, bert, 9)
    tokens = tokenise(rows, bert, 9)
    assert [row.tolist() for row in tokens.ids] == ids
    assert [row.tolist() for row in tokens.kinds] == kinds
    whole, _ = one_shot(rows, bert, 1000)
    assert tokens.cut == sum(len(row) > 9 for row in whole) > 0
    assert tokens.lost == sum(max(0, len(row) - 9) for row in whole)
    assert (tokens.ids.flat.dtype, tokens.kinds.flat.dtype, tokens.lengths.dtype) == (np.int32, np.int8, np.int64)


@pytest.mark.parametrize("by_word", [False, True])
@pytest.mark.parametrize("prompt", [(), (900, 901)])
def test_batches_are_bit_for_bit_those_padded_row_by_row(by_word: bool, prompt: tuple[int, ...], bert: Any) -> None:
    tokens = with_prompt(tokenise(many_rows(50, pairs=False), bert, 10, by_word=by_word), prompt)
    generator = np.random.default_rng(1)
    for size in (1, 3, 50):
        rows = generator.permutation(50)[:size]
        ours, wanted = tokens.batch(rows), padded_row_by_row(tokens, rows)
        assert ours.keys() == wanted.keys()
        assert all(ours[name].dtype == torch.int64 and ours[name].equal(wanted[name]) for name in wanted)


def test_slow_tokenisers_and_those_of_bytes_work_too(gpt2: Any) -> None:
    from transformers import ByT5Tokenizer

    for tokenizer in (ByT5Tokenizer(), gpt2):
        tokens = tokenise(TEXTS, tokenizer, 30)
        alone = [
            tokenizer(text, truncation=True, max_length=30).input_ids or [tokenizer.pad_token_id] for (text,) in TEXTS
        ]
        assert [row.tolist() for row in tokens.ids] == alone
        assert tokens.cut == sum(len(tokenizer(text).input_ids) > 30 for (text,) in TEXTS)


# ---------------------------------------------------------------- words

PIECES = [
    "thanks",
    "for",
    "super-box",
    "@",
    "home,",
    "e\u0301clair",
    "\u200d",
    "U.S.",
    "12:30",
    "\u2705",
    "the\u00a0box",
]


def wordpieces(kind: str) -> Any:
    """A tokeniser that cuts words up: BERT's pieces, bytes as GPT-2 has them, or sentence pieces as T5 has them."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    if kind == "bert":
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=60, special_tokens=special)
    elif kind == "bytes":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    else:
        made = Tokenizer(models.Unigram())
        made.normalizer, made.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="[UNK]")
    made.train_from_iterator([" ".join(PIECES), LONG] * 3, trainer)
    if kind != "bytes":
        ends = [("[CLS]", made.token_to_id("[CLS]")), ("[SEP]", made.token_to_id("[SEP]"))]
        made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


@pytest.mark.parametrize("kind", ["bert", "bytes", "sentence pieces"])
@pytest.mark.parametrize("words", [PIECES, PIECES[::-1], LONG.split(), ["a"], ["\u200d"]])
def test_every_word_has_its_first_token(words: list[str], kind: str) -> None:
    tokenizer, text = wordpieces(kind), " ".join(words)
    tokens = tokenise([(text,)], tokenizer, 512, by_word=True)
    assert tokens.ids[0].tolist() == (tokenizer(text).input_ids or [tokenizer.pad_token_id])
    # The tokeniser's own account of which token has the word's first letter, or the next that any has.
    encoded, place = tokenizer(text), 0
    for number, word in enumerate(words):
        letters = [encoded.char_to_token(place + letter) for letter in range(len(word))]
        covering = [token for token in letters if token is not None]
        assert tokens.words[0][number] == (min(covering) if covering else CUT)
        place += len(word) + 1
    assert (tokens.cut, tokens.lost, tokens.cut_words) == (0, 0, int((tokens.words[0] == CUT).sum()))


def test_words_of_a_bert_are_where_its_tokeniser_has_them_for_lists_of_words() -> None:
    tokenizer = wordpieces("bert")
    apart = tokenizer([PIECES], is_split_into_words=True)
    together = tokenise([(" ".join(PIECES),)], tokenizer, 512, by_word=True)
    assert together.ids[0].tolist() == apart.input_ids[0]
    owners = apart.word_ids(0)
    expected = [owners.index(word) if word in owners else CUT for word in range(len(PIECES))]
    assert together.words[0].tolist() == expected and CUT in expected


@pytest.mark.parametrize("max_length", [4, 6, 9, 13])
def test_words_that_are_cut_off(max_length: int, bert: Any) -> None:
    tokens = tokenise([(LONG,), ("great",), ("",)], bert, max_length, by_word=True)
    whole = tokenise([(LONG,), ("great",), ("",)], bert, max_length)
    assert [ids.tolist() for ids in tokens.ids] == [ids.tolist() for ids in whole.ids]
    assert (tokens.cut, tokens.lost, tokens.kinds[0].tolist()) == (whole.cut, whole.lost, whole.kinds[0].tolist())
    kept = max_length - 2
    assert tokens.words[0].tolist() == [*range(1, 1 + kept), *[CUT] * (11 - kept)]
    assert [places.tolist() for places in tokens.words][1:] == [[1], []]
    assert tokens.cut_words == 11 - kept
    assert tokens.batch([1, 0])["word_places"].tolist() == [[1, *[NO_WORD] * 10], tokens.words[0].tolist()]
    targets = np.array([[3] * 11, [2] + [-1] * 10, [-1] * 11])
    assert tokens.seen(targets).tolist() == [[3] * kept + [-1] * (11 - kept), *targets[1:].tolist()]
    assert (targets[0] == 3).all()


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_virtual_tokens_do_not_part_a_word_from_its_token(family: str, tiny_model: Callable[..., Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(family))
    tokenizer.pad_token = tokenizer.unk_token
    tokens = tokenise([(LONG,), ("great box",)], tokenizer, 9, by_word=True)
    prompted = with_prompt(tokens, (900, 901, 902))
    for ids, places, new_ids, new_places in zip(tokens.ids, tokens.words, prompted.ids, prompted.words, strict=True):
        assert len(new_ids) == len(ids) + 3
        assert new_ids[new_places[new_places >= 0]].tolist() == ids[places[places >= 0]].tolist()
        assert ((new_places == CUT) == (places == CUT)).all()
    assert prompted.words[1].tolist() == ([4, 5] if family == "bert" else [3, 4])


def test_no_rows_of_words(bert: Any) -> None:
    tokens = tokenise([], bert, 8, by_word=True)
    assert (len(tokens), len(tokens.words), tokens.cut_words) == (0, 0, 0)
