"""Two sequences for each row, and what a reward model reads."""

from __future__ import annotations

import numpy as np
import pytest

from tunewise.data.labelled import UNLABELLED, LabelledTokens
from tunewise.data.pairs import MARGIN, REFERENCE, PairTokens, parted
from tunewise.data.ragged import Ragged
from tunewise.data.rewarded import margins_of, rewarded_row, without_end
from tunewise.data.tokenise import Tokens
from tunewise.errors import DataError
from tunewise.types import Schema, Split

PAD = 9


def labelled(*rows: tuple[list[int], int]) -> LabelledTokens:
    """Rows of ids, of which so many come before what is to be learnt."""
    learnt = [[0] * given + [1] * (len(ids) - given) for ids, given in rows]
    return LabelledTokens(Ragged.of([ids for ids, _ in rows], np.int32), Ragged.of(learnt, np.int8), PAD)


@pytest.fixture
def pairs() -> PairTokens:
    chosen = labelled(([1, 2, 3], 1), ([1, 4], 1), ([1, 5, 6, 7], 2))
    rejected = labelled(([1, 8], 1), ([1, 3, 3, 3, 3], 1), ([1, 5, 2], 2))
    return PairTokens.of(chosen, rejected, margin=np.array([0.5, 1.0, 2.0]))


def test_a_batch_has_the_chosen_of_all_rows_then_their_rejected(pairs: PairTokens) -> None:
    batch = pairs.batch([2, 0])
    ids = [[1, 5, 6, 7], [1, 2, 3, PAD], [1, 5, 2, PAD], [1, 8, PAD, PAD]]
    no = UNLABELLED
    assert batch["input_ids"].tolist() == ids
    assert batch["labels"].tolist() == [[no, no, 6, 7], [no, 2, 3, no], [no, no, 2, no], [no, 8, no, no]]
    assert batch["attention_mask"].sum(dim=1).tolist() == [4, 3, 3, 2]
    assert batch[MARGIN].tolist() == [2.0, 0.5]


def test_lengths_are_those_of_both_and_shapes_what_the_model_computes(pairs: PairTokens) -> None:
    assert len(pairs) == 3 and pairs.lengths.tolist() == [5, 7, 7]
    assert pairs.counts.tolist() == [[2, 1], [1, 4], [2, 1]]
    assert pairs.shape([0, 1]) == (4, 5) and pairs.shape([0]) == (2, 3)


def test_numbers_of_rows_are_no_inputs_of_a_model(pairs: PairTokens) -> None:
    more = pairs.with_numbers(**{REFERENCE: np.arange(6.0).reshape(3, 2)})
    read, numbers = parted(more.batch([1, 2]))
    assert set(read) == {"input_ids", "attention_mask", "labels"}
    assert numbers[REFERENCE].tolist() == [[2.0, 3.0], [4.0, 5.0]] and numbers[MARGIN].tolist() == [1.0, 2.0]
    assert REFERENCE not in pairs.numbers


def test_what_was_cut_is_counted_over_both() -> None:
    first = labelled(([1, 2], 1), ([1, 3], 1))
    cut = LabelledTokens(first.ids, first.learnt, PAD, lost=3, cut_rows=np.array([1]), empty_rows=np.array([0]))
    both = PairTokens.of(cut, cut).both
    assert (both.lost, both.cut_rows.tolist(), both.empty_rows.tolist()) == (6, [1, 3], [0, 2])


def test_an_end_that_pads_is_left_out_but_for_a_row_of_nothing_else() -> None:
    rows = [[1, 2, PAD], [PAD], [3, PAD, 4], [5, PAD, PAD]]
    left = without_end(Tokens(Ragged.of(rows, np.int32), None, PAD, 0, 0))
    assert [row.tolist() for row in left.ids] == [[1, 2], [PAD], [3, PAD, 4], [5, PAD]]


def test_margins_are_numbers_of_the_column() -> None:
    split = Split("train", (("a", "b", "c"),) * 2, np.zeros(2), np.array([4, 7]), "x.jsonl")
    assert margins_of(split) is None
    given = Split("train", split.texts, split.targets, split.rows, "x.jsonl", {"margin": ("1", "0.25")})
    assert margins_of(given).tolist() == [1.0, 0.25]
    wrong = Split("train", split.texts, split.targets, split.rows, "x.jsonl", {"margin": ("1", "much")})
    with pytest.raises(DataError) as caught:
        margins_of(wrong)
    assert "first 'much'" in caught.value.what and caught.value.where == "x.jsonl, row 7"


def test_prompt_and_answer_are_two_strings_or_messages() -> None:
    plain = Schema("preference", ("prompt", "chosen", "rejected"), "", (), "completion")
    assert rewarded_row(("a", "b"), plain) == ("a", "b")
    assert rewarded_row("ab", plain) is None and rewarded_row(("a", "b", "c"), plain) is None
    chat = Schema("preference", ("prompt", "chosen", "rejected"), "", (), "chat")
    asked, said = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    row = '[{"role": "user", "content": "a"}]', '[{"role": "assistant", "content": "b"}]'
    assert rewarded_row(("a", "b"), chat) == row
    assert rewarded_row([asked, said], chat) == row
    assert rewarded_row(([asked], [said]), chat) == row
    assert rewarded_row(row, chat) == row
    assert rewarded_row("a", chat) is None and rewarded_row((1, 2), chat) is None
