"""What `tunewise check` tells of rows for language models: which checks look, what is learnt and what is lost."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tunewise.audit.audit import audit, before_training
from tunewise.audit.settings import CheckConfig
from tunewise.cli.showing_audit import rendered_text
from tunewise.data.conversations import encode_pairs, encode_split
from tunewise.models.located import LocatedModel
from tunewise.types import DataBundle, Schema, Split

NO_MODEL = LocatedModel("none", None, {}, "")


def chat(*said):
    roles = ("user", "assistant") * len(said)
    return json.dumps([{"role": role, "content": text} for role, text in zip(roles, said, strict=False)])


def answer(text):
    return json.dumps([{"role": "assistant", "content": text}])


def bundle(rows, task="generation", form="chat", test=()):
    def split(name, texts):
        count = len(texts)
        return Split(name, tuple(texts), np.zeros(count, np.float32), np.arange(1, count + 1), f"{name}.jsonl")

    splits = {"train": split("train", rows), **({"test": split("test", test)} if test else {})}
    return DataBundle(splits, Schema(task, ("prompt",), "", (), form), (), "made")


@pytest.fixture
def reading(monkeypatch, decoder_tokenizer):
    """Checks read by this tokeniser, at most so many tokens."""

    def at_most(tokens):
        config = SimpleNamespace(is_encoder_decoder=False)
        net = SimpleNamespace(
            tokenizer=decoder_tokenizer,
            max_length=tokens,
            positions=1000,
            kept="head",
            model=SimpleNamespace(config=config),
        )
        monkeypatch.setattr("tunewise.models.load.load_reader", lambda *args, **options: net)
        return decoder_tokenizer

    return at_most


@pytest.fixture(scope="module")
def decoder_tokenizer():
    from tunewise.conformance.models import make_tokenizer

    return make_tokenizer("decoder")


def test_checks_on_labels_are_left_out_and_those_on_texts_read_plain_messages(reading):
    reading(1000)
    rows = [
        (chat("good bad", "fine\nday"),),
        (chat("good bad", "fine\nday"),),
        (chat("caf\u00c3\u00a9 is here", "yes"),),
    ]
    data = bundle(rows, test=[(chat("good bad", "another answer"),)])
    kinds = ["duplicates", "leakage", "encoding", "label_errors", "imbalance", "giveaway", "whitespace"]
    found = audit(data, NO_MODEL, CheckConfig(), kinds)
    assert {finding.kind: finding.rows for finding in found.findings} == {
        "duplicates": (2,),
        "leakage": (1,),
        "encoding": (3,),
    }
    assert set(found.left_out) == {"label_errors", "imbalance", "giveaway", "whitespace"}
    leak = next(finding for finding in found.findings if finding.kind == "leakage")
    assert "have a prompt that is also in train" in leak.what
    assert leak.examples[0].text == "'good bad\\nanother answer'"
    assert before_training(data, NO_MODEL, CheckConfig()).of(["encoding"])


def test_what_is_learnt_and_what_is_lost_is_what_training_reads(reading):
    room = 24
    tokenizer = reading(room)
    rows = [
        (chat("good " * 3, "bad"),),
        (chat("good " * 40, "bad " * 40),),
        (chat("good", "bad " * 5, "good", "bad"),),
    ]
    data = bundle(rows)
    found = audit(data, NO_MODEL, CheckConfig(), ["truncation"], whole=True)
    cut = encode_split(data.splits["train"], data.schema, tokenizer, room, False, False)
    whole = encode_split(data.splits["train"], data.schema, tokenizer, 10_000, False, False)
    (split,) = found.overview.splits
    assert (split.cut, split.tokens_lost) == (len(cut.cut_rows), cut.lost)
    assert split.answer.longest == whole.counts.max() and split.turns.longest == 2
    assert split.tokens.longest == whole.lengths.max()
    (finding,) = found.findings
    assert finding.rows == tuple(int(row) + 1 for row in cut.cut_rows)
    assert finding.details["tokens_lost"] == cut.lost
    assert finding.details["answer_tokens_lost"] == whole.counts.sum() - cut.counts.sum()
    for shown in found.rendered:
        place = shown.row - 1
        names = tokenizer.convert_ids_to_tokens(cut.ids[place].tolist())
        read = [piece for piece in shown.pieces if piece.part in ("special", "text", "learnt")]
        assert [piece.token for piece in read] == names
        assert [piece.part == "learnt" for piece in read] == [bool(mark) for mark in cut.learnt[place]]
        assert (shown.tokens, shown.learnt) == (len(names), int(cut.learnt[place].sum()))
        assert shown.lost == len(whole.ids[place]) - len(names)
    longest = next(shown for shown in found.rendered if shown.row == 2)
    parts = "".join({"lost": "-", "more": "-", "learnt": "a"}.get(piece.part, "p") for piece in longest.pieces)
    assert parts.startswith("-") and parts.endswith("a" * longest.learnt + "-" * 29) and "-p" in parts and "pa" in parts
    green = [span for span in rendered_text(longest.pieces).spans if span.style == "green"]
    assert len(green) == longest.learnt


@pytest.mark.parametrize("form", ["chat", "completion"])
def test_pairs_are_told_by_their_chosen_answer(reading, form):
    tokenizer = reading(1000)
    row = (chat("good"), answer("bad bad"), answer("good")) if form == "chat" else ("good", "bad bad", "good")
    data = bundle([row], "preference", form)
    found = audit(data, NO_MODEL, CheckConfig(), ["truncation"], whole=True)
    chosen, _ = encode_pairs(data.splits["train"], data.schema, tokenizer, 1000, False)
    (split,) = found.overview.splits
    assert (split.prompt.longest, split.answer.longest) == (int(chosen.learnt[0].argmax()), chosen.counts[0])
    assert not found.findings and found.rendered[0].learnt == chosen.counts[0]


def test_prompts_and_texts_have_an_overview_too(reading):
    reading(1000)
    prompts = audit(bundle([("good bad",)], "prompts", "completion"), NO_MODEL, CheckConfig(), [], whole=True)
    assert prompts.overview.splits[0].answer.longest == 0 and prompts.rendered[0].learnt == 0
    texts = audit(bundle([("good bad",)], "generation", "text"), NO_MODEL, CheckConfig(), [], whole=True)
    assert texts.rendered[0].learnt == texts.rendered[0].tokens - 1
