"""The example of all stages: its files, its check, and every recipe through the command line, a few steps each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.example_modules import modules_of

EXAMPLE = Path(__file__).parent.parent / "examples" / "rlhf"
STAGES = ("pretrained", "sft", "reward", "dpo", "grpo", "ppo", "control")


@pytest.fixture(scope="module")
def example():
    """The modules of the example."""
    with modules_of(EXAMPLE, "endings", "make_model", "stories", "table") as modules:
        yield modules


@pytest.fixture(scope="module")
def texts(example, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rlhf")
    example["stories"].write(folder)
    return folder


def rows(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_the_texts_follow_from_the_seed(example, texts, tmp_path):
    example["stories"].write(tmp_path)
    for file in sorted(tmp_path.iterdir()):
        assert file.read_bytes() == (texts / file.name).read_bytes()


def test_endings_are_what_the_check_finds(example, texts):
    pairs = rows(texts / "preferences.jsonl")
    check = example["endings"].happy_ending
    prompts = [pair["prompt"] for pair in pairs]
    assert set(check(prompts, [pair["chosen"] for pair in pairs])) == {1.0}
    assert set(check(prompts, [pair["rejected"] for pair in pairs])) == {0.0}
    assert check(["p"] * 3, ["And Tom was happy", "He was happy. He cried.", "He cried. He was happy."]) == [0, 0, 1]


def test_prompts_that_are_held_out_are_in_no_other_file(texts):
    held_out = {row["prompt"] for row in rows(texts / "held_out.jsonl")}
    for name in ("sft", "preferences", "prompts"):
        assert not held_out & {row["prompt"] for row in rows(texts / f"{name}.jsonl")}
    assert len(held_out) == 150


def test_every_stage_begins_where_another_ended(example, texts, monkeypatch):
    from tunewise.cli.main import app

    monkeypatch.setenv("WORK", str(texts))
    example["make_model"].make(texts / "stories.txt", texts / "model")
    few = ["train.max_steps=2", "train.batch_size=4", "data.limit=24", "evaluate.generation.rows=2"]
    few += ["evaluate.generation.max_new_tokens=4", "train.threads=1"]
    for stage in STAGES:
        more = [*few, "train.epochs=null"] if stage in ("pretrained", "sft", "reward", "dpo") else list(few)
        if stage in ("grpo", "ppo", "control"):
            name = "ppo" if stage == "ppo" else "grpo"
            more += [f"objective.{name}.max_new_tokens=4", f"objective.{name}.samples=2", "train.evaluate_every=2"]
        options = [part for value in more for part in ("--set", value)]
        out = texts / stage
        found = CliRunner().invoke(app, ["train", str(EXAMPLE / f"{stage}.yaml"), "--out", str(out), *options])
        assert found.exit_code == 0, found.output
        assert (out / "model" / "config.json").is_file()
    runs = [str(texts / name) for name in ("grpo", "control")]
    found = CliRunner().invoke(app, ["winrate", *runs, "--reward", str(texts / "reward")])
    assert found.exit_code == 0 and "2 prompts" in found.output, found.output
    for name in ("held_out", "sft"):  # the table reads few rows
        file = texts / f"{name}.jsonl"
        file.write_text("".join(file.read_text(encoding="utf-8").splitlines(keepends=True)[:8]), encoding="utf-8")
    table = example["table"].lines(texts, ["sft", "grpo"])
    assert len(table) == 4 and table[2].startswith("| sft | 0.")
