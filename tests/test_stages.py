"""A stage writes prompts as the run did whose model it begins with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunewise.data.prepare import prepare
from tunewise.recipe import recipe_from

LABELS = {"task": "classification", "text": ["text"], "labels": ["a", "b"]}


def run_of(folder: Path, *, language: bool = True, **schema: object) -> Path:
    """What a run leaves of how it wrote its rows."""
    (folder / "model").mkdir(parents=True)
    meta = {
        "kind": "transformers",
        "language": language,
        "schema": {"task": "generation", "text": ["prompt"], **schema},
    }
    (folder / "model" / "tunewise.json").write_text(json.dumps(meta), encoding="utf-8")
    return folder


def stage(model: Path | str, **data: object) -> dict:
    return {"model": str(model), "data": {"train": "prompts.jsonl", **data}, "method": "full"}


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    rows = [{"prompt": f"A story of {name}:"} for name in ("Ann", "Ben", "Cid", "Dan", "Eve", "Fay", "Gus", "Hal")]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def test_what_stands_between_is_that_of_the_run(prompts: Path) -> None:
    run = run_of(prompts / "sft", form="completion", between="")
    alone, after = (recipe_from(stage(model)).anchored(prompts) for model in ("some/model", run))
    assert prepare(alone.data, prompts).schema.between == "\n"
    assert prepare(after.data, prompts).schema.between == ""
    assert recipe_from(stage("sft")).as_stage(prompts).data.between == ""  # a path from the recipe's folder
    assert after.anchored(prompts) == after


def test_prompts_become_turns_where_the_run_learnt_conversations(prompts: Path) -> None:
    recipe = recipe_from(stage(run_of(prompts / "sft", form="chat"))).anchored(prompts)
    found = prepare(recipe.data, prompts)
    assert found.schema.form == "chat"
    assert json.loads(found.splits["train"].texts[0][0])[0]["role"] == "user"


def test_what_the_recipe_says_stays(prompts: Path) -> None:
    after_chat, after_plain = run_of(prompts / "a", form="chat"), run_of(prompts / "b", form="completion", between=" ")
    assert recipe_from(stage(after_chat, chat=False)).anchored(prompts).data.chat is False
    assert recipe_from(stage(after_plain, between="\n\n")).anchored(prompts).data.between == "\n\n"


def test_other_models_and_runs_that_differ_say_nothing(prompts: Path) -> None:
    first, second = run_of(prompts / "a", form="completion", between=" "), run_of(prompts / "b", form="text")
    classifier = run_of(prompts / "c", language=False, **LABELS)
    both = {**stage("x"), "model": None, "models": [str(first), str(second)]}
    for recipe in (recipe_from(both), *(recipe_from(stage(model)) for model in (second, classifier, "some/model"))):
        assert recipe.as_stage(prompts) is recipe
