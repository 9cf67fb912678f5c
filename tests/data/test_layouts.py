"""Files for language models: what is recognised, what the rows become, what is left out and counted."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from tunewise.data.messages import from_text
from tunewise.data.prepare import load_split, prepare
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError

COUNT = 12
ASK = {"role": "user", "content": "q"}


def turns(*said):
    return [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 9, said, strict=False)]


def written(tmp_path, make, count=COUNT, name="a.jsonl"):
    rows = [make(number) for number in range(count)]
    text = json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows))
    (tmp_path / name).write_text(text, encoding="utf-8")
    return name


def read(tmp_path, make, count=COUNT, **options):
    return prepare(DataConfig(train=written(tmp_path, make, count), **options), tmp_path)


def all_rows(data):
    """All rows in the order of the file."""
    found = [(int(row), split.texts[at]) for split in data.splits.values() for at, row in enumerate(split.rows)]
    return [texts for _, texts in sorted(found)]


def said(text):
    return [(message["role"], message["content"]) for message in from_text(text).messages]


@pytest.mark.parametrize(
    "make",
    [
        lambda n: {"messages": [{"role": "system", "content": "be"}, *turns(f"q{n}", f"a{n}")]},
        lambda n: {"messages": json.dumps([{"role": "system", "content": "be"}, *turns(f"q{n}", f"a{n}")])},
        lambda n: {"messages": turns(f"q{n}", f"a{n}"), "system": "be"},
        lambda n: {
            "conversations": [
                {"from": "system", "value": "be"},
                {"from": "human", "value": f"q{n}"},
                {"from": "gpt", "value": f"a{n}"},
            ]
        },
        lambda n: {"instruction": f"q{n}", "input": "", "output": f"a{n}", "system": "be"},
        lambda n: {
            "prompt": [{"role": "system", "content": "be"}, *turns(f"q{n}")],
            "completion": turns("", f"a{n}")[1:],
        },
    ],
)
def test_conversations_in_every_layout_are_the_same_rows(tmp_path, make):
    data = read(tmp_path, make)
    assert (data.schema.task, data.schema.form) == ("generation", "chat")
    expected = [[("system", "be"), ("user", f"q{n}"), ("assistant", f"a{n}")] for n in range(COUNT)]
    assert [said(text) for (text,) in all_rows(data)] == expected
    assert any(step.name == "schema" and "generation" in step.reason for step in data.steps)


def test_an_instruction_has_its_input_behind_it_and_its_history_before_it(tmp_path):
    data = read(tmp_path, lambda n: {"instruction": f"q{n}", "input": "x", "output": "a", "history": [["h", "i"]]})
    assert said(all_rows(data)[3][0]) == [("user", "h"), ("assistant", "i"), ("user", "q3\n\nx"), ("assistant", "a")]
    plain = read(tmp_path, lambda n: {"instruction": f"q{n}", "input": "x", "output": "a"}, chat=False)
    assert all_rows(plain)[3] == ("q3\n\nx", "a") and plain.schema.form == "completion"


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        (("prompt", "completion"), {}),
        (("prompt", "response"), {}),
        (("question", "answer"), {}),
        (("en", "de"), {"text": "en", "label": "de", "task": "generation"}),
    ],
)
def test_prompts_with_answers_are_read_as_they_are(tmp_path, columns, options):
    data = read(tmp_path, lambda n: {columns[0]: f"p{n}", columns[1]: f"a{n}", "id": n}, **options)
    assert (data.schema.task, data.schema.form, data.schema.between) == ("generation", "completion", "\n")
    assert data.schema.text == columns and all_rows(data) == [(f"p{n}", f"a{n}") for n in range(COUNT)]
    assert set(data.splits["train"].columns) == {"id"}
    spaced = read(tmp_path, lambda n: {columns[0]: f"p{n}", columns[1]: f" a{n}"}, **options)
    assert spaced.schema.between == ""
    asked = read(tmp_path, lambda n: {columns[0]: f"p{n}", columns[1]: f"a{n}"}, **options, between=" = ")
    assert asked.schema.between == " = " and asked.fingerprint != spaced.fingerprint
    talk = read(tmp_path, lambda n: {columns[0]: f"p{n}", columns[1]: f"a{n}"}, **options, chat=True)
    assert said(all_rows(talk)[0][0]) == [("user", "p0"), ("assistant", "a0")]


@pytest.mark.parametrize(
    "make",
    [
        lambda n: {"prompt": f"q{n}", "chosen": "good", "rejected": "bad"},
        lambda n: {"prompt": f"q{n}", "chosen": f"q{n}good", "rejected": f"q{n}bad"},
        lambda n: {"prompt": turns(f"q{n}"), "chosen": turns("", "good")[1:], "rejected": turns("", "bad")[1:]},
        lambda n: {"chosen": turns(f"q{n}", "good"), "rejected": turns(f"q{n}", "bad")},
        lambda n: {"prompt": "not read", "chosen": turns(f"q{n}", "good"), "rejected": turns(f"q{n}", "bad")},
        lambda n: {
            "conversations": [{"from": "human", "value": f"q{n}"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
    ],
)
def test_preferences_in_every_layout_are_the_same_pairs(tmp_path, make):
    data = read(tmp_path, make)
    assert (data.schema.task, data.schema.text) == ("preference", ("prompt", "chosen", "rejected"))
    rows = all_rows(data)
    if data.schema.form == "chat":
        rows = [tuple(message for text in row for _, message in said(text)) for row in rows]
    assert rows == [(f"q{n}", "good", "bad") for n in range(COUNT)]


def test_the_prompt_that_two_texts_share(tmp_path):
    def make(n):
        return {
            "chosen": f"\n\nHuman: q{n}\n\nAssistant: A good one",
            "rejected": f"\n\nHuman: q{n}\n\nAssistant: A bad one",
        }

    assert all_rows(read(tmp_path, make))[1] == ("\n\nHuman: q1\n\nAssistant:", " A good one", " A bad one")
    rows = all_rows(read(tmp_path, lambda n: {"chosen": f"it is {n} now", "rejected": f"it is {n} then"}))
    assert rows[1] == ("it is 1", " now", " then")


def test_unpaired_answers_and_prompts(tmp_path):
    data = read(tmp_path, lambda n: {"prompt": f"q{n}", "completion": f"a{n}", "label": n % 2 == 0})
    assert data.schema.task == "unpaired_preference" and all_rows(data)[2] == ("q2", "a2")
    for split in data.splits.values():
        assert split.targets.tolist() == [float(row % 2 == 1) for row in split.rows]
        assert split.targets.dtype == np.float32
    data = read(tmp_path, lambda n: {"messages": turns(f"q{n}", f"a{n}"), "label": n % 2})
    assert [said(text) for text in all_rows(data)[1]] == [[("user", "q1")], [("assistant", "a1")]]
    data = read(tmp_path, lambda n: {"question": f"q{n}", "answer": f"a{n}"}, task="prompts")
    assert all_rows(data)[2] == ("q2",)
    assert set(data.splits["train"].columns) == {"answer"}, "for reward functions"
    data = read(tmp_path, lambda n: {"messages": turns(f"q{n}", f"a{n}")}, task="prompts")
    assert said(all_rows(data)[2][0]) == [("user", "q2")]


def test_what_cannot_be_used_is_left_out_and_counted(tmp_path):
    bad = {
        1: {"messages": [ASK]},
        2: {"messages": turns("q", " ")},
        3: {"messages": [*turns("q", "a"), {"role": "system", "content": "late"}]},
        4: {"messages": [{"role": "wizard", "content": "x"}]},
        5: {"messages": None},
        6: {"messages": [ASK, ASK, *turns("", "a")[1:]]},
        7: {"messages": [ASK, {"role": "assistant", "content": [{"type": "image", "url": "x"}]}]},
    }
    data = read(tmp_path, lambda n: bad.get(n, {"messages": [*turns(f"q{n}", f"a{n}"), ASK]}), count=20)
    assert sum(map(len, data.splits.values())) == 13
    steps = [step for step in data.steps if step.name == "unusable rows"]
    assert Counter(row for step in steps for row in step.rows) == Counter(row + 1 for row in bad)
    assert steps[-1].rows_out == 13 and steps[0].rows_in == 20
    told = " ".join(step.reason for step in steps)
    for words in (
        "no message of the assistant in row 2;",
        "an empty answer in row 3;",
        "a system message after the first in row 4;",
        "unknown role 'wizard' in row 5;",
        "no prompt in row 6;",
        "roles out of order: user after user in row 7;",
        "a message that holds more than text in row 8;",
    ):
        assert words in told
    unanswered = next(step for step in data.steps if step.name == "unanswered")
    assert len(unanswered.rows) == 13 and all(said(text)[-1][0] == "assistant" for (text,) in all_rows(data))
    with pytest.raises(DataError, match="no row can be used: chosen and rejected are the same: rows 1, 2"):
        read(tmp_path, lambda n: {"prompt": f"q{n}", "chosen": "a", "rejected": "a"})


def test_equal_prompts_stay_in_one_split_and_are_told_where_sources_share_them(tmp_path):
    def make(n):
        return {"prompt": f"q{n // 4}", "chosen": f"good {n}", "rejected": "bad"}

    data = read(tmp_path, make, count=80)
    held = [{texts[0] for texts in split.texts} for split in data.splits.values()]
    assert all(not one & other for at, one in enumerate(held) for other in held[:at])
    assert any("equal prompts together" in step.reason for step in data.steps)
    test = written(tmp_path, lambda n: {"prompt": f"q{n}", "chosen": "x", "rejected": "y"}, 3, "test.jsonl")
    data = prepare(DataConfig(train="a.jsonl", test=test), tmp_path)
    told = [step.reason for step in data.steps if step.name == "overlap"]
    assert told and all("rows of test" in reason and "have a prompt that is also in" in reason for reason in told)
    assert sum(int(reason.split(":")[0].split()[0]) for reason in told) == 3
    data = prepare(DataConfig(train="a.jsonl", test=test, overlap="drop"), tmp_path)
    assert len(data.splits["train"]) + len(data.splits["validation"]) == 80 - 12


def test_text_steps_of_clean_work_inside_messages(tmp_path):
    data = read(tmp_path, lambda n: {"messages": turns(f"q{n}  x", 'a "b"\t c')}, clean={"normalise": True})
    assert said(all_rows(data)[0][0]) == [("user", "q0 x"), ("assistant", 'a "b" c')]
    assert any(step.name == "cleaned" and len(step.rows) == COUNT for step in data.steps)


def test_plain_text_files(tmp_path):
    texts = [f"Story {n}.\nIt goes on." for n in range(COUNT)]
    (tmp_path / "a.txt").write_text("\n<|endoftext|>\n".join(texts) + "\n<|endoftext|>\n")
    (tmp_path / "b.txt").write_text("\r\n \r\n\r\n".join(text.replace("\n", "\r\n") for text in texts))
    for name in ("a.txt", "b.txt"):
        data = prepare(DataConfig(train=name), tmp_path)
        assert (data.schema.task, data.schema.form) == ("generation", "text")
        assert all_rows(data) == [(text,) for text in texts]
    lines = prepare(DataConfig(train="b.txt", documents="lines"), tmp_path)
    assert sum(map(len, lines.splits.values())) == 2 * COUNT


def test_labels_to_predict_stay_what_they_were(tmp_path):
    data = read(tmp_path, lambda n: {"question": f"is it {n}", "answer": "ny"[n % 2]}, text="question", label="answer")
    assert data.schema.task == "classification"
    with pytest.raises(DataError, match=r"data.label is not given"):
        read(tmp_path, lambda n: {"text": f"text {n}", "kind": "ab"[n % 2]})
    with pytest.raises(DataError, match=r"no columns for the task preference"):
        read(tmp_path, lambda n: {"text": f"text {n}"}, task="preference")
    with pytest.raises(DataError, match=r"balance is for labels to predict"):
        read(tmp_path, lambda n: {"prompt": f"q{n}", "completion": "a"}, balance="over")
    with pytest.raises(DataError, match=r"conversations, which only a chat template can write"):
        read(tmp_path, lambda n: {"messages": turns(f"q{n}", "a")}, chat=False)


@pytest.mark.parametrize("chat", [None, True])
def test_a_new_file_is_read_as_the_training_data(tmp_path, chat):
    config = DataConfig(train=written(tmp_path, lambda n: {"prompt": f"p{n}", "completion": f"a{n}"}), chat=chat)
    schema = prepare(config, tmp_path).schema
    split = load_split(config, "a.jsonl", tmp_path, schema, "new", with_targets=True)
    assert len(split) == COUNT and split.rows.tolist() == list(range(1, COUNT + 1))
    alone = written(tmp_path, lambda n: {"prompt": f"p{n}"}, 3, "p.jsonl")
    split = load_split(config, alone, tmp_path, schema, "new", with_targets=False)
    prompts = [said(row[0])[0][1] if chat else row[0] for row in split.texts]
    assert prompts == ["p0", "p1", "p2"]
    with pytest.raises(DataError):
        load_split(config, alone, tmp_path, schema, "new", with_targets=True)


def test_a_margin_has_to_be_a_number(tmp_path):
    def make(n):
        return {"prompt": f"q{n}", "chosen": "a", "rejected": "b", "margin": n / 2 if n else first}

    first = 1
    assert read(tmp_path, make).splits["train"].columns["margin"]
    first = "much"
    with pytest.raises(DataError, match=r"expected a number, got 'much'"):
        read(tmp_path, make)
