"""Where rewards come from: models, functions, sums of both; and what is wrong with them."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from policy_bench import policy_training
from training_bench import set_up

from tunewise.chat.messages import Conversation, from_text, to_text
from tunewise.conformance.toy_data import FILLER
from tunewise.engine.handover import save_model
from tunewise.engine.rewards import Rewards
from tunewise.engine.text_model import TextModel
from tunewise.errors import ModelError, RecipeError
from tunewise.evaluate.reward_functions import load_reward_function
from tunewise.models.memory import PassSize
from tunewise.objectives.reward_settings import RewardSource
from tunewise.types import DataBundle, Schema, Split

SOURCE = """
def length(prompts, completions, **columns):
    return [len(text) for text in completions]

def answers(prompts, completions, answer):
    return [float(text == right) for text, right in zip(completions, answer)]

def short(prompts, completions, **columns):
    return [1.0]

def undefined(prompts, completions, **columns):
    return [float("nan")] * len(completions)

def wordy(prompts, completions, **columns):
    return "much"

def broken(prompts, completions, **columns):
    raise KeyError("oops")
"""
PROMPTS, ANSWERS = ["one", "two"], ["a b", "c"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rewards.py").write_text(SOURCE)
    return tmp_path


def function(name, folder):
    return load_reward_function(f"rewards.py:{name}", folder, True, "reward")


def rewards(sources, folder, **functions):
    made = [RewardSource.model_validate(source) for source in sources]
    return Rewards(made, functions, folder, torch.device("cpu"), 8, PassSize())


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_model, toy_data):
    """`runs(task, pairs)`: the model folder of a short training."""
    made = {}

    def make(task, pairs=False):
        if (task, pairs) not in made:
            folder = tmp_path_factory.mktemp("run")
            setup = set_up(tiny_model("bert", 2), toy_data(task, pairs=pairs), folder, max_steps=4)
            trained = setup.train()
            decision = {"threshold": None, "positive": None}
            schema = setup.job.data.schema
            save_model(trained, "transformers", folder / "model", schema, decision, card=lambda size: "card")
            made[task, pairs] = folder
        return made[task, pairs]

    return make


def test_functions_with_columns_and_weights(folder):
    both = [{"function": "rewards.py:length"}, {"function": "rewards.py:answers", "weight": -10}]
    functions = {f"rewards.py:{name}": function(name, folder) for name in ("length", "answers")}
    judge = rewards(both, folder, **functions)
    assert judge(PROMPTS, ANSWERS, {"answer": ["a b", "x"]}).tolist() == [3.0 - 10.0, 1.0]
    assert judge.seen == {"rewards.py:length": 2.0, "rewards.py:answers": 0.5}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("short", "returned 1 numbers for 2 completions"),
        ("undefined", r"is nan for a completion: 'a b'"),
        ("wordy", "must return a list of numbers, got 'much'"),
        ("broken", "failed: KeyError: 'oops'"),
        ("answers", "failed: TypeError"),
    ],
)
def test_what_a_function_does_wrong_is_told(name, told, folder):
    with pytest.raises(RecipeError, match=told):
        function(name, folder)(PROMPTS, ANSWERS, {})


def test_code_runs_only_where_the_user_allows_it(folder):
    (folder / "touches.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\ndef f(prompts, completions): ...")
    with pytest.raises(RecipeError, match="may not run by itself"):
        load_reward_function("touches.py:f", folder, False, "reward")
    assert not (folder / "ran").exists()
    for reference in ("../x.py:f", "no.py:f", "rewards.py:none", "rewards.py", "/etc/x.py:f"):
        with pytest.raises(RecipeError):
            load_reward_function(reference, folder, True, "reward")


def test_a_regression_is_a_reward_model(runs, folder):
    run = runs("regression", True)
    found = rewards([str(run)], folder)(PROMPTS, ANSWERS, {})
    wanted = TextModel(run / "model").scores(list(zip(PROMPTS, ANSWERS, strict=True)))
    assert found == pytest.approx(wanted, abs=1e-6)
    one = runs("regression")
    found = rewards([str(one)], folder)(PROMPTS, ANSWERS, {})
    assert found == pytest.approx(TextModel(one / "model").scores(["onea b", "twoc"]), abs=1e-6)


def message(form, role, text):
    return json.dumps([{"role": role, "content": text}]) if form == "chat" else text


def preference_run(form, folder, tiny_model):
    pairs = list(pairwise(FILLER[:9]))
    rows = tuple(
        (message(form, "user", f"{a} {b}"), message(form, "assistant", a), message(form, "assistant", b))
        for a, b in pairs
    )
    splits = {
        name: Split(name, rows, np.zeros(8, np.float32), np.arange(1, 9), "toy")
        for name in ("train", "validation", "test")
    }
    schema = Schema("preference", ("prompt", "chosen", "rejected"), "", (), form)
    setup = set_up(tiny_model("gpt2", 2), DataBundle(splits, schema, (), "toy"), folder, max_steps=2)
    trained = setup.train()
    decision = {"threshold": None, "positive": None}
    save_model(trained, "transformers", folder / "model", schema, decision, card=lambda size: "card")
    return folder


@pytest.mark.parametrize("form", ["completion", "chat"])
def test_a_reward_model_reads_prompt_and_answer(form, folder, tmp_path, tiny_model):
    run = preference_run(form, tmp_path, tiny_model)
    judge = rewards([str(run)], folder)
    judge._judges[0].chat = form == "chat"
    prompts = [message(form, "user", text) for text in ("one", "two")]
    wanted = TextModel(run / "model").scores(list(zip(PROMPTS, ANSWERS, strict=True)))
    assert judge(prompts, ANSWERS, {}) == pytest.approx(wanted, abs=1e-6)


def test_a_classifier_gives_the_log_odds_of_a_class(runs, folder):
    run = runs("classification", True)
    model = TextModel(run / "model")
    found = rewards([{"model": str(run), "wanted_class": model.labels[1]}], folder)(PROMPTS, ANSWERS, {})
    chosen = model.scores(list(zip(PROMPTS, ANSWERS, strict=True)))[:, 1]
    assert found == pytest.approx(np.log(chosen / (1 - chosen)), abs=1e-4)
    with pytest.raises(RecipeError, match="classifier, and `wanted_class` is not given"):
        rewards([str(run)], folder)
    with pytest.raises(RecipeError, match="without a class 'nope'"):
        rewards([{"model": str(run), "wanted_class": "nope"}], folder)
    with pytest.raises(RecipeError, match="gives a number"):
        rewards([{"model": str(runs("regression")), "wanted_class": "x"}], folder)


def test_a_plain_classifier_of_transformers(runs, folder, tmp_path, tiny_model):
    """Without tunewise.json, and one without a trained output layer."""
    import shutil

    run = runs("regression")
    plain = tmp_path / "plain"
    shutil.copytree(run / "model", plain)
    for name in ("tunewise.json", "manifest.json"):
        (plain / name).unlink(missing_ok=True)
    found = rewards([str(plain)], folder)(PROMPTS, ANSWERS, {})
    assert found == pytest.approx(TextModel(run / "model").scores(["onea b", "twoc"]), abs=1e-6)
    with pytest.raises(ModelError, match="no trained output layer"):
        rewards([str(tiny_model("bert", 2))], folder)


def test_what_is_no_source():
    for wrong in (
        {},
        {"model": "a", "function": "b.py:c"},
        {"function": "b.py:c", "wanted_class": "x"},
        {"model": "a", "weight": 0},
    ):
        with pytest.raises(ValueError):
            RewardSource.model_validate(wrong)
    assert RewardSource.model_validate("my.py:f").function == "my.py:f"
    assert RewardSource.model_validate("runs/reward").model == "runs/reward"


# ---------------------------------------------------------------- conversations with tools

TOOLS = ({"type": "function", "function": {"name": "weather", "description": "great parcel", "parameters": {}}},)
CALL = {"function": {"name": "weather", "arguments": {"city": "my order"}}}
MESSAGES = (
    {"role": "user", "content": "is it late"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "very"},
)


def asked(tools=TOOLS):
    return to_text(Conversation(MESSAGES, tools))


def chat_rewards(sources, folder, **functions):
    made = rewards(sources, folder, **functions)
    for judge in made._judges:
        if hasattr(judge, "chat"):
            judge.chat = True
    return made


def test_a_reward_model_reads_the_tools_and_calls_of_a_conversation(folder, tmp_path, tiny_model):
    run = preference_run("chat", tmp_path, tiny_model)
    found = chat_rewards([str(run)], folder)([asked(), asked(())], ["thanks", "thanks"], {})
    answer = json.dumps([{"role": "assistant", "content": "thanks"}])
    model = TextModel(run / "model")
    assert found == pytest.approx(model.scores([(asked(), answer), (asked(()), answer)]), abs=1e-6)
    assert found[0] != pytest.approx(found[1], abs=1e-6)  # the tools are part of what it reads


def test_an_answer_that_looks_like_a_conversation_is_still_an_answer(folder, tmp_path, tiny_model):
    run = preference_run("chat", tmp_path, tiny_model)
    posing = json.dumps([{"role": "user", "content": "thanks"}, {"role": "assistant", "content": "great"}])
    found = chat_rewards([str(run)], folder)([asked(())], [posing], {})
    model = TextModel(run / "model")
    wanted = model.scores([[*MESSAGES, {"role": "assistant", "content": posing}]])
    assert found == pytest.approx(wanted, abs=1e-6)
    assert found != pytest.approx(model.scores([(asked(()), posing)]), abs=1e-6)


def test_models_that_know_no_messages_get_what_is_said_and_called(runs, folder, tmp_path, tiny_model):
    said = "is it late\n" + json.dumps(CALL["function"]) + "\nvery\n"
    preferring = preference_run("completion", tmp_path, tiny_model)
    for run, pair in ((preferring, True), (runs("regression", True), True), (runs("regression"), False)):
        found = chat_rewards([str(run)], folder)([asked()], ["thanks"], {})
        row = (said, "thanks") if pair else said + "thanks"
        assert found == pytest.approx(TextModel(run / "model").scores([row]), abs=1e-6)


def test_a_function_gets_prompts_with_their_tools(tmp_path, tmp_path_factory):
    """In a training whose rows are conversations that may call tools."""
    seen = []

    def judge(prompts, completions, columns):
        seen.extend(prompts)
        return [float(len(text)) for text in completions]

    splits = {
        name: Split(name, ((asked(),), (asked(()),)), np.zeros(2, np.float32), np.arange(1, 3), "toy")
        for name in ("train", "validation", "test")
    }
    data = DataBundle(splits, Schema("prompts", ("prompt",), "", (), "chat"), (), "tools")
    parent = tmp_path_factory.mktemp("models")
    objective = {"grpo": {"samples": 2, "max_new_tokens": 2}}
    setup = policy_training(parent, tmp_path, objective, judge=judge, data=data, max_steps=1, batch_size=2)
    setup.train()
    assert seen[:4] == [asked(), asked(), asked(()), asked(())]
    assert [from_text(text).tools for text in seen[1:3]] == [TOOLS, ()]
