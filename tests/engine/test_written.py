"""What a model writes for test rows: which rows, what is kept, and what is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from tunewise.conformance.models import SPECIAL_OF, TEXT, make_tokenizer
from tunewise.engine.evaluation import check_stride
from tunewise.engine.generation import generate
from tunewise.engine.kept import Context
from tunewise.engine.written import SAMPLES, Writer, by_package, chosen_rows, texts_told
from tunewise.errors import RecipeError
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.generation_settings import GenerationConfig
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.types import Predictions, Schema, Split

SCHEMA = Schema("generation", ("question",), "answer", (), "completion")
WORDS = ["please", "help", "me", "with", "my", "order", "invoice", "card"]


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(2)
    AutoModelForCausalLM.from_config(TEXT["gpt2"](2)).save_pretrained(folder)
    make_tokenizer(SPECIAL_OF["gpt2"]).save_pretrained(folder)
    return load_net(locate(str(folder), Path(".")), SCHEMA, language=True)


def rows(count: int) -> Split:
    rng = np.random.default_rng(0)
    texts = tuple((" ".join(rng.choice(WORDS, 4)), " ".join(rng.choice(WORDS, 2))) for _ in range(count))
    return Split("test", texts, np.zeros(count, np.float32), np.arange(101, 101 + count), "some.jsonl")


def writer(net, **options) -> Writer:
    return Writer(net, SCHEMA, GenerationConfig(**{"max_new_tokens": 5, **options}), 32)


def predictions(split: Split) -> Predictions:
    numbers = np.ones((len(split), 3))
    return Predictions(numbers, numbers, split.targets, split.rows)


def test_the_chosen_rows_are_continued_and_stand_beside_their_references(net):
    split = rows(30)
    found = writer(net, rows=12).write(split)
    assert len(found.places) == 12 and found.places.tolist() == sorted(set(found.places.tolist()))
    said = found.beside(predictions(split))
    assert sum(text is not None for text in said.generated) == 12
    for place in found.places:
        assert said.references[place] == split.texts[place][1]
        prompt = net.tokenizer(split.texts[place][0], add_special_tokens=False)["input_ids"]
        (ids,) = generate(net.model, net.tokenizer, [prompt], GenerationConfig(max_new_tokens=5))
        assert said.generated[place] == net.tokenizer.decode(ids, skip_special_tokens=True)
    assert found.tokens <= 60 and found.as_dict()["tokens_per_second"] > 0
    assert "12 of 30 rows were continued" in found.told(GenerationConfig())


def test_prompts_of_conversations_are_their_messages(net):
    """Whatever the template, so that models with different ones can be compared, and judged by one that has a third."""
    asked = [{"role": "user", "content": "help me"}]
    answered = [*asked, {"role": "assistant", "content": "with my card"}]
    tools = [{"type": "function", "function": {"name": "block", "parameters": {"type": "object", "properties": {}}}}]
    texts = (json.dumps(answered), json.dumps({"messages": answered, "tools": tools}))
    split = Split("test", tuple((text,) for text in texts), np.zeros(2, np.float32), np.arange(2), "some.jsonl")
    chat = Schema("generation", ("messages",), "", (), "chat")
    found = Writer(net, chat, GenerationConfig(max_new_tokens=5), 32).write(split)
    said = found.beside(predictions(split))
    assert [json.loads(text) for text in said.prompts] == [asked, {"messages": asked, "tools": tools}]
    assert said.references == ("with my card",) * 2 and found.prompts[0] != said.prompts[0]


def test_the_same_rows_are_chosen_whatever_runs():
    first = chosen_rows(1000, 100, 0)
    assert first.tolist() == chosen_rows(1000, 100, 0).tolist() and len(set(first.tolist())) == 100
    assert first.tolist() != chosen_rows(1000, 100, 1).tolist()
    assert first.max() > 800  # not the beginning of the file
    assert chosen_rows(7, 100, 0).tolist() == list(range(7))


def test_texts_without_an_end_and_long_prompts_are_counted(net):
    split = rows(3)
    long = Split("test", ((" ".join(WORDS * 12), "card"), *split.texts), np.zeros(4), np.arange(1, 5), "some.jsonl")
    found = writer(net).write(long)
    assert found.cut_prompts == 1  # 96 words for a model of 64 positions
    told = found.told(GenerationConfig(max_new_tokens=5))
    assert "1 prompts were longer" in told and (found.unfinished == 0 or "had no end after 5 tokens" in told)


def test_samples_of_the_untrained_model_are_read_from_the_cache(net, monkeypatch):
    from contextlib import nullcontext

    from tunewise.commit import default_cache
    from tunewise.engine import written

    context = Context(default_cache(print), nullcontext, "fp32", torch.device("cpu"), "some.jsonl")
    split = rows(30)
    kept = Writer(net, SCHEMA, GenerationConfig(max_new_tokens=5), 32, context=context)
    plain = writer(net).samples(split)
    assert len(plain) == SAMPLES and kept.samples(split) == plain
    monkeypatch.setattr(written, "generate", lambda *_, **__: pytest.fail("it was computed again"))
    assert kept.samples(split) == plain


def test_a_record_keeps_signatures_counts_and_samples(net):
    split = rows(10)
    found = writer(net).write(split)
    judge = Evaluator(SCHEMA, EvaluateConfig(), Path("."))
    told = texts_told({"test": found}, ("before",) * SAMPLES, judge, rows(40), "completion")
    assert set(told["signatures"]) == {"bleu", "chrf", "rouge", "exact_match", "distinct"}
    assert told["sets"]["test"]["rows"] == 10 and len(told["samples"]) == SAMPLES
    first = told["samples"][0]
    assert first == {
        "row": 101,
        "prompt": first["prompt"],
        "reference": split.texts[0][1],
        "before": "before",
        "after": found.texts[0],
    }
    assert split.texts[0][0] in first["prompt"]
    assert told["overlap"]["words"] == 8 and told["overlap"]["longest"] == 0
    assert texts_told({}, (), judge, split, "completion") == {}
    assert by_package({"bleu": "sacrebleu", "chrf": "sacrebleu"}) == {"sacrebleu": ["bleu", "chrf"]}


def test_windows_that_would_leave_tokens_out_are_refused(net):
    def judge(stride):
        return Evaluator(SCHEMA, EvaluateConfig(stride=stride), Path("."))

    check_stride(net, judge(None))
    check_stride(net, judge(63))
    with pytest.raises(RecipeError, match="reads 64"):
        check_stride(net, judge(64))
