"""Rows of language tasks become tokens with exact masks: against transformers' own chat templates and masks, and by
hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from chat_styles import CHATML, FORGETFUL, LLAMA3, MERGED, OPEN_END, TAGGED, ZEPHYR, chat_tokenizer

from tunewise.chat.templates import PLAIN, end_ids, settle_template
from tunewise.data.conversations import encode_answers, encode_pairs, encode_prompts, encode_split
from tunewise.data.labelled import UNLABELLED
from tunewise.errors import DataError, ModelError, RecipeError
from tunewise.types import Schema, Split

SAID = [
    {"role": "system", "content": "You are helpful."},
    {"role": "user", "content": " What is the capital of France? "},
    {"role": "assistant", "content": " Paris.\n\n"},
    {"role": "user", "content": "Tell me a story\n"},
    {"role": "assistant", "content": "Once upon a time 🐶"},
]
LONG = 10_000


def split_of(*rows):
    count = len(rows)
    return Split("train", tuple(rows), np.zeros(count, np.float32), np.arange(1, count + 1), "f.jsonl")


def schema(task="generation", form="chat", between=""):
    return Schema(task, ("prompt",), "", (), form, between)


def chat(*messages):
    return json.dumps(messages)


def learnt_text(tokenizer, read, row=0):
    """What is learnt, one string for each run of tokens."""
    ids, marks = read.ids[row], read.learnt[row]
    runs = np.split(np.arange(len(ids)), np.flatnonzero(np.diff(marks)) + 1)
    return [tokenizer.decode(ids[run]) for run in runs if marks[run[0]]]


@pytest.mark.parametrize(
    ("template", "learnt"),
    [
        (CHATML, [" Paris.\n\n<|im_end|>", "Once upon a time 🐶<|im_end|>"]),
        (TAGGED, [" Paris.\n\n<|im_end|>", "Once upon a time 🐶<|im_end|>"]),
        (LLAMA3, ["Paris.<|eot|>", "Once upon a time 🐶<|eot|>"]),
        (ZEPHYR, [" Paris.\n\n</s>", "Once upon a time 🐶</s>"]),
        (MERGED, [" Paris. </s>", " Once upon a time 🐶 </s>"]),
        (OPEN_END, [" Paris.", "Once upon a time 🐶</s>"]),
        (None, [" Paris.\n\n</s>", "Once upon a time 🐶</s>"]),
    ],
)
def test_every_answer_is_learnt_to_its_end_and_nothing_else(template, learnt):
    said = SAID[1:] if template == OPEN_END else SAID
    tokenizer = chat_tokenizer(template)
    read = encode_split(split_of((chat(*said),)), schema(), tokenizer, LONG, False, False)
    assert learnt_text(tokenizer, read) == learnt
    settle_template(tokenizer)
    whole = tokenizer.apply_chat_template(said, tokenize=True, return_dict=True)["input_ids"]
    ids = read.ids[0].tolist()
    if template == OPEN_END:  # its borders are inside tokens of the whole, which are cut there
        assert ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(whole).startswith(tokenizer.decode(ids[:-1]))
    else:
        assert ids == whole[: len(ids)]
        assert not tokenizer.decode(whole[len(ids) :]).strip(), "only space behind the last answer is left out"
    prompts = encode_prompts(split_of((chat(*said),)), schema(), tokenizer, LONG, False)
    given = tokenizer.apply_chat_template(said[:-1], tokenize=True, add_generation_prompt=True, return_dict=True)
    assert prompts.ids[0].tolist() == given["input_ids"]
    assert prompts.references == ("Once upon a time 🐶",)
    assert ids[: len(given["input_ids"])] == given["input_ids"], (
        "the model learns behind what it is given when it writes"
    )


def test_masks_are_those_of_transformers_where_a_template_marks_answers():
    tokenizer = chat_tokenizer(TAGGED)
    found = tokenizer.apply_chat_template(SAID, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    for template in (TAGGED, CHATML):  # the same text, with marks and without
        tokenizer.chat_template = template
        read = encode_split(split_of((chat(*SAID),)), schema(), tokenizer, LONG, False, False)
        assert read.learnt[0].tolist() == found["assistant_masks"][: len(read.learnt[0])]
        assert not any(found["assistant_masks"][len(read.learnt[0]) :])


def test_a_template_that_rewrites_what_was_said_is_refused_and_so_is_one_that_refuses():
    tokenizer = chat_tokenizer(FORGETFUL)
    with pytest.raises(DataError, match=r"does not tell exactly what the assistant says.*message 3") as caught:
        encode_split(split_of((chat(*SAID[1:3]),), (chat(*SAID),)), schema(), tokenizer, LONG, False, False)
    assert "row 2" in str(caught.value) and "generation" in caught.value.fix
    tokenizer = chat_tokenizer(MERGED)
    with pytest.raises(DataError, match=r"refuses the conversation: roles must alternate \(roles: assistant"):
        encode_split(split_of((chat(*SAID[2:4], SAID[4]),)), schema(), tokenizer, LONG, False, False)


def test_tools_and_their_calls_go_to_the_template_and_calls_are_learnt():
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}
    messages = [
        SAID[1],
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."},
    ]
    tools = [{"type": "function", "function": {"name": "weather", "description": "how it is", "parameters": {}}}]
    tokenizer = chat_tokenizer(None)
    row = json.dumps({"messages": messages, "tools": tools})
    read = encode_split(split_of((row,)), schema(), tokenizer, LONG, False, False)
    first, second = learnt_text(tokenizer, read)
    assert json.loads(first.removesuffix("</s>")) == call["function"] and second == "It is sunny.</s>"
    assert '"description": "how it is"' in tokenizer.decode(read.ids[0]) and "### Tool:\nsunny" in tokenizer.decode(
        read.ids[0]
    )


@pytest.mark.parametrize("opens", [True, False])
def test_prompts_with_answers_and_texts_are_read_as_they_are(opens):
    tokenizer = chat_tokenizer(None, opens=opens)
    row = ("The capital of France", " is Paris.")
    read = encode_split(split_of(row), schema(form="completion"), tokenizer, LONG, False, False)
    plain = tokenizer("The capital of France is Paris.")["input_ids"]
    assert read.ids[0].tolist() == [*plain, tokenizer.eos_token_id]
    assert learnt_text(tokenizer, read) == [" is Paris.</s>"]
    text = encode_split(split_of(("Once upon a time",)), schema(form="text"), tokenizer, LONG, False, False)
    ids = tokenizer("Once upon a time")["input_ids"]
    assert text.ids[0].tolist() == [*ids, tokenizer.eos_token_id]
    assert text.learnt[0].tolist() == [0] + [1] * len(ids), "the first token has nothing before it"
    everything = encode_split(split_of(row), schema(form="completion"), tokenizer, LONG, True, False)
    assert everything.learnt[0].tolist() == [0] + [1] * len(plain)


def test_a_token_that_would_reach_over_the_border_is_not_made():
    tokenizer = chat_tokenizer(None)
    first = tokenizer.decode(tokenizer("capital", add_special_tokens=False)["input_ids"][0])
    assert len(first) > 1
    prompt, answer = "capital"[:1], "capital"[1:]
    read = encode_split(split_of((prompt, answer)), schema(form="completion"), tokenizer, LONG, False, False)
    parts = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prompt, answer)]
    assert read.ids[0].tolist() == [1, *parts[0], *parts[1], 2]
    assert read.learnt[0].tolist() == [0] + [0] * len(parts[0]) + [1] * (len(parts[1]) + 1)
    joined = schema("generation", "completion", "\n")
    apart = encode_split(split_of((prompt, answer)), joined, tokenizer, LONG, False, False)
    assert tokenizer.decode(apart.ids[0]) == f"<s>{prompt}\n{answer}</s>"


def test_an_end_that_pads_too_is_learnt_and_padding_is_not():
    tokenizer = chat_tokenizer(None)
    tokenizer.pad_token = tokenizer.eos_token
    rows = split_of(("a", "b"), ("a", "b c d e f g"))
    batch = encode_split(rows, schema(form="completion"), tokenizer, LONG, False, False).batch([0, 1])
    short = batch["attention_mask"][0].sum()
    assert batch["labels"][0, short - 1] == tokenizer.eos_token_id
    assert (batch["labels"][0, short:] == UNLABELLED).all() and (batch["input_ids"][0, short:] == 2).all()


@pytest.mark.parametrize("room", [4, 6, 9, 12, 20])
def test_prompts_lose_their_beginning_answers_their_end_and_all_is_counted(room):
    tokenizer = chat_tokenizer(None)
    prompt, answer = "abcdefgh", "12345678"  # a token for each letter
    rows = split_of((prompt, answer), (prompt, "1"), ("a", "1"))
    read = encode_split(rows, schema(form="completion"), tokenizer, room, False, False)
    kept = min(9, max(room - 9, room // 2))  # <s> and 8 letters; 8 letters and </s>
    left = "".join([*answer, "</s>"][: room - kept])
    assert tokenizer.decode(read.ids[0]) == "<s>" + prompt[9 - kept :] + left
    whole = np.array([18, 11, 4])
    assert (read.lengths == np.minimum(whole, room)).all()
    assert read.lost == (whole - read.lengths).sum() and read.cut_rows.tolist() == np.flatnonzero(whole > room).tolist()
    assert len(read.empty_rows) == 0
    assert bool(read.told("train", room)) == bool(read.lost)
    if read.lost:
        assert f"{len(read.cut_rows)} of 3 rows of train" in read.told("train", room)[0]
        assert f"{read.lost} tokens lost" in read.told("train", room)[0]
    prompts = encode_prompts(rows, schema(form="completion"), tokenizer, room, False)
    assert tokenizer.decode(prompts.ids[0]) == "<s>" + prompt[max(0, 9 - room) :]
    assert prompts.lost == 2 * max(0, 9 - room) and prompts.texts[0] == prompt


@pytest.mark.parametrize("template", [None, LLAMA3, MERGED])
@pytest.mark.parametrize("room", [LONG, 20])
def test_both_answers_of_a_pair_stand_behind_the_same_prompt(template, room):
    tokenizer = chat_tokenizer(template)
    prompt, good, bad = SAID[:4], SAID[4], {"role": "assistant", "content": "No. " * 20}
    rows = split_of((chat(*prompt), chat(good), chat(bad)), (chat(SAID[1]), chat(SAID[2]), chat(bad)))
    chosen, rejected = encode_pairs(rows, schema("preference"), tokenizer, room, False)
    given = [int(learnt.argmax()) for learnt in chosen.learnt]
    for row, many in enumerate(given):
        assert chosen.ids[row][:many].tolist() == rejected.ids[row][:many].tolist()
        assert (
            not chosen.learnt[row][:many].any()
            and chosen.learnt[row][many:].all()
            and rejected.learnt[row][many:].all()
        )
    if room == LONG:
        settle_template(tokenizer)
        read = tokenizer.apply_chat_template(prompt, tokenize=True, add_generation_prompt=True, return_dict=True)
        assert chosen.ids[0][: given[0]].tolist() == read["input_ids"], "earlier answers are given, not learnt"
        alone = encode_answers(
            split_of((chat(*prompt), chat(good))), schema("unpaired_preference"), tokenizer, room, False
        )
        assert alone.ids[0].tolist() == chosen.ids[0].tolist() and (alone.learnt[0] == chosen.learnt[0]).all()


def test_an_encoder_reads_the_prompt_and_the_decoder_learns_the_answer(family_tokenizer):
    tokenizer = family_tokenizer
    rows = split_of(("good bad", "bad good good"))
    read = encode_split(rows, schema("generation", "completion", "\n"), tokenizer, LONG, False, True)
    assert read.sources[0].tolist() == tokenizer("good bad")["input_ids"]
    assert read.ids[0].tolist() == tokenizer(text_target="bad good good")["input_ids"]
    assert read.ids[0][-1] == tokenizer.eos_token_id and read.learnt[0].all()
    prompts = encode_prompts(rows, schema("generation", "completion", "\n"), tokenizer, LONG, True)
    assert prompts.ids[0].tolist() == read.sources[0].tolist() and prompts.references == ("bad good good",)
    short = encode_split(rows, schema("generation", "completion"), tokenizer, 2, False, True)
    assert short.sources[0].tolist() == tokenizer("bad")["input_ids"] and len(short.ids[0]) == 2
    assert short.lost == len(read.sources[0]) - 2 + len(read.ids[0]) - 2
    with pytest.raises(RecipeError, match="an encoder, which would have nothing to read"):
        encode_split(split_of(("good",)), schema(form="text"), tokenizer, LONG, False, True)


@pytest.fixture
def family_tokenizer():
    from tunewise.conformance.models import make_tokenizer

    return make_tokenizer("t5")


def test_what_ends_an_answer():
    tokenizer = chat_tokenizer(CHATML)
    assert end_ids(tokenizer) == (2, tokenizer.convert_tokens_to_ids("<|im_end|>"))
    assert end_ids(chat_tokenizer(ZEPHYR)) == (2,) == end_ids(chat_tokenizer(None))
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no end of text"):
        encode_split(split_of((chat(*SAID),)), schema(), tokenizer, LONG, False, False)


def test_the_plain_template_goes_with_the_model():
    tokenizer = chat_tokenizer(None)
    told = settle_template(tokenizer)
    assert "no chat template" in told and tokenizer.chat_template == "{{ bos_token }}" + PLAIN
    assert settle_template(tokenizer) is None
    text = tokenizer.apply_chat_template(SAID[1:3], tokenize=False, add_generation_prompt=True)
    assert text == (
        "<s>### User:\n What is the capital of France? \n\n### Assistant:\n Paris.\n\n</s>\n\n### Assistant:\n"
    )


def test_a_text_is_to_be_continued_from_its_beginning():
    tokenizer = chat_tokenizer(None)
    prompts = encode_prompts(split_of(("abcdefgh",)), schema(form="text"), tokenizer, LONG, False)
    assert tokenizer.decode(prompts.ids[0]) == "<s>abcd"
    assert (prompts.texts, prompts.references) == (("abcd",), ("efgh",))
