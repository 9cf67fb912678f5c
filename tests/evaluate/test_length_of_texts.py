"""How long texts of test rows may get: as long as answers were in training, unless the recipe says how long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunewise.conformance.language_models import make_language_folder
from tunewise.evaluate.generation_settings import GenerationConfig
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.recipe import Recipe, recipe_from
from tunewise.run import run

REWARD = "def shorter(prompts, completions, **columns):\n    return [-float(len(text)) for text in completions]\n"


def recipe(objective: Any, **evaluate: Any) -> Recipe:
    return recipe_from(
        {
            "model": "model",
            "method": "lora",
            "data": {"train": "rows.jsonl", "task": "prompts"},
            "objective": objective,
            "train": {"max_steps": 1, "batch_size": 2, "threads": 1, "precision": "fp32"},
            "evaluate": {"resamples": 100, **evaluate},
        }
    )


GRPO = {"grpo": {"reward": "judge.py:shorter", "samples": 2, "max_new_tokens": 5}}


@pytest.mark.parametrize(
    ("objective", "evaluate", "wanted"),
    [
        (GRPO, {}, 5),
        ({"ppo": GRPO["grpo"]}, {"generation": {"rows": 3}}, 5),
        (GRPO, {"generation": {"max_new_tokens": 128}}, 128),
        ("sft", {}, 128),
        ("sft", {"generation": {"max_new_tokens": 7}}, 7),
    ],
)
def test_the_objective_says_it_where_the_recipe_does_not(objective: Any, evaluate: Any, wanted: int) -> None:
    made = recipe(objective, **evaluate)
    for read in (made, recipe_from(made.as_dict())):  # the same of a recipe that was written and read again
        found = read.evaluate.writing(read.objective.max_new_tokens)
        assert found.generation.longest == wanted and found.generation.as_dict()["max_new_tokens"] == wanted
        assert found.generation.rows == evaluate.get("generation", {}).get("rows", 100)


def test_where_no_texts_are_wanted_there_are_none() -> None:
    assert EvaluateConfig(generation=None).writing(5).generation is None
    assert GenerationConfig().longest == 128


def test_a_run_writes_as_long_as_it_learnt_to(tmp_path: Path) -> None:
    make_language_folder("gpt2", tmp_path / "models").rename(tmp_path / "model")
    rows = [{"prompt": f"the order {'came late ' * (number % 7)}{'today ' * (number // 7)}"} for number in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "judge.py").write_text(REWARD)
    record = run(recipe(GRPO), tmp_path / "run", folder=tmp_path, allow_code=True)
    assert record.texts["options"]["max_new_tokens"] == 5
    (told,) = record.texts["sets"].values()
    assert 0 < told["tokens"] <= 5 * told["rows"]
