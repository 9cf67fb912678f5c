"""From ratings or pairs to a model that judges, and on to one that learns from it; and what predict says of answers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tunewise.api import load, train
from tunewise.cli.main import app
from tunewise.conformance.models import SPECIAL_OF, TEXT, make_tokenizer
from tunewise.tracking.jsonl_log import read_log

TRAIN = {"max_steps": 4, "batch_size": 8, "threads": 1, "precision": "fp32"}
EVALUATE = {"resamples": 100, "generation": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2, ratings, pairs and prompts."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("chain")
    AutoModelForCausalLM.from_config(TEXT["gpt2"](2)).save_pretrained(folder / "gpt2")
    make_tokenizer(SPECIAL_OF["gpt2"]).save_pretrained(folder / "gpt2")
    rated, pairs, prompts = [], [], []
    for number in range(60):
        prompt, many = f"order {number} {'today ' * (number % 4)}", number % 3
        rated.append({"prompt": prompt, "response": f" great{' refund' * many}", "rating": 3.0 - many})
        pairs.append({"prompt": prompt, "chosen": " great", "rejected": f" great refund{' refund' * many}"})
        prompts.append({"prompt": prompt})
    for name, rows in (("rated", rated), ("pairs", pairs), ("prompts", prompts)):
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder


def recipe(folder: Path, data: dict[str, Any], **more: Any) -> dict[str, Any]:
    data = {**data, "train": str(folder / data["train"])}
    model = {"model": str(folder / "gpt2"), "method": "full"}
    return {**model, "data": data, "train": TRAIN, "evaluate": EVALUATE, **more}


@pytest.fixture(scope="module")
def rated(folder: Path) -> Path:
    data = {"train": "rated.jsonl", "text": ["prompt", "response"], "label": "rating", "task": "regression"}
    train(recipe(folder, data, train={**TRAIN, "max_steps": 12}), out=folder / "rated")
    return folder / "rated"


@pytest.fixture(scope="module")
def judge(folder: Path) -> Path:
    train(recipe(folder, {"train": "pairs.jsonl"}, objective="reward"), out=folder / "judge")
    return folder / "judge"


def test_ratings_reward_what_a_model_writes(folder: Path, rated: Path) -> None:
    """A regression over prompt and response is the reward of grpo: its numbers are the model's own predictions."""
    options = {"reward": str(rated), "samples": 2, "max_new_tokens": 6, "beta": 0.05}
    learnt = recipe(folder, {"train": "prompts.jsonl", "task": "prompts"}, objective={"grpo": options})
    record = train(learnt, out=folder / "grpo")
    assert record.status == "finished" and {"reward", "kl", "tokens_written"} <= set(record.scores["test"])
    told = [row for row in read_log(folder / "grpo" / "log.jsonl") if row["event"] == "wrote"]
    judging = load(rated)
    for sample in told[0]["samples"]:
        wanted = judging.predict([(sample["prompt"], sample["text"])])[0]["value"]
        assert sample["reward"] == pytest.approx(wanted, abs=1e-4)
    last, steps = record.rounds["last"], record.rounds["steps"]
    assert [step["step"] for step in steps] == [1, 2, 3, 4] and last == steps[-1]
    assert {"reward", "kl", "entropy", "clip_fraction", "silent_groups", "length", "ended"} <= set(last)
    assert [step["reward"] for step in steps] == [row["figures"]["reward"] for row in told]
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-6) and last["entropy"] > 0


@pytest.fixture
def said() -> Callable[..., str]:
    """`said(command, ...)`: what it prints."""

    def command(*given: Any) -> str:
        result = CliRunner().invoke(app, [str(one) for one in given])
        assert result.exit_code == 0, result.output
        return result.stdout

    return command


def test_predict_gives_the_reward_of_an_answer(judge: Path, said: Callable[..., str]) -> None:
    wanted = load(judge).scores([("order 1", " great refund")])[0]
    assert float(said("predict", judge, "--text", "order 1", "--text", " great refund")) == pytest.approx(
        wanted, abs=1e-4
    )


def test_predict_judges_files_of_pairs_and_of_answers(
    folder: Path, judge: Path, tmp_path: Path, said: Callable[..., str]
) -> None:
    model, out = load(judge), tmp_path / "out.csv"
    said("predict", judge, "--data", folder / "pairs.jsonl", "--out", out)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60 and list(rows[0]) == ["prompt", "chosen", "rejected", "reward(chosen)", "reward(rejected)"]
    for name in ("chosen", "rejected"):
        wanted = model.scores([(row["prompt"], row[name]) for row in rows])
        np.testing.assert_allclose([float(row[f"reward({name})"]) for row in rows], wanted, atol=1e-5)
    answers = tmp_path / "answers.jsonl"
    answers.write_text("\n".join(json.dumps({"prompt": f"order {n}", "completion": " great"}) for n in range(3)))
    said("predict", judge, "--data", answers, "--out", out)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["prompt"] for row in rows] == ["order 0", "order 1", "order 2"]
    wanted = model.scores([(row["prompt"], row["answer"]) for row in rows])
    np.testing.assert_allclose([float(row["reward"]) for row in rows], wanted, atol=1e-5)
