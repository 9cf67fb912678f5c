"""What runs of language tasks would cost, against what they do cost; what has no estimate is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunewise.conformance.models import SPECIAL_OF, TEXT, make_tokenizer
from tunewise.errors import RecipeError
from tunewise.estimation import reference, run_cost
from tunewise.estimation.estimate import estimate
from tunewise.recipe import Recipe, recipe_from

ROWS = 90


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Llama with its output layer."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("llama")
    AutoModelForCausalLM.from_config(TEXT["llama"](2)).save_pretrained(folder)
    make_tokenizer(SPECIAL_OF["llama"]).save_pretrained(folder)
    return folder


def row_of(number: int, objective: str) -> dict[str, Any]:
    prompt = f"the order {number} {'was late' if number % 2 else 'came'} {'today ' * (number % 5)}"
    good, bad = f" great{' service' * (number % 3)}", f" terrible{' refund' * (number % 4)}"
    if objective == "sft":
        return {"prompt": prompt, "completion": good}
    if objective == "kto":
        return {"prompt": prompt, "completion": bad if number % 3 else good, "label": not number % 3}
    if objective in ("grpo", "rloo", "ppo"):
        return {"prompt": prompt}
    return {"prompt": prompt, "chosen": good, "rejected": bad}


@pytest.fixture
def language_recipe(llama: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """`language_recipe(objective, method, options, **train)`: on 90 rows of different lengths."""

    def make(objective: str, method: Any = "full", options: dict[str, Any] | None = None, **train: Any) -> Recipe:
        rows = [json.dumps(row_of(number, objective)) for number in range(ROWS)]
        (tmp_path / "rows.jsonl").write_text("\n".join(rows))
        return recipe_from(
            {
                "model": str(llama),
                "data": {"train": str(tmp_path / "rows.jsonl")},
                "method": method,
                "objective": {objective: options or {}},
                "train": {"epochs": 1, "batch_size": 8, "threads": 1, "precision": "fp32", **train},
                "evaluate": {"resamples": 100, "generation": {"max_new_tokens": 4, "rows": 12}},
            }
        )

    return make


@pytest.mark.parametrize(
    ("objective", "method", "train"),
    [
        ("sft", "full", {}),
        ("sft", {"lora": {"rank": 2}}, {"packing": True}),
        ("sft", {"last_k": {"k": 1}}, {"epochs": 3}),
        ("dpo", "full", {}),
        ("dpo", "full", {"packing": True}),
        ("kto", "full", {}),
        ("reward", "full", {}),
    ],
)
def test_flops_are_those_of_the_record(objective, method, train, language_recipe, estimated, real, monkeypatch) -> None:
    """With a reference pass that is computed of few rows, and told of all."""
    monkeypatch.setattr(reference, "ROWS", 8)
    chosen = language_recipe(objective, method, **train)
    cost, record = estimated(chosen), real(chosen)
    assert cost.forward_flops == pytest.approx(record.costs.forward_flops, rel=1e-9)
    assert cost.backward_flops == pytest.approx(record.costs.backward_flops, rel=1e-9)
    assert cost.trainable_parameters == record.costs.trainable_parameters and cost.steps > 5
    assert cost.saved_bytes == pytest.approx(record.costs.saved_bytes, rel=0.6)  # without the model card
    assert cost.peak_memory_bytes > 10**7
    seconds = cost.seconds
    assert min(seconds.load, seconds.prepare, seconds.train, seconds.evaluate, seconds.save) > 0


def test_a_reference_pass_of_fewer_test_rows_is_told_of_all(language_recipe, estimated, real, monkeypatch) -> None:
    monkeypatch.setattr(run_cost, "ROWS_TO_EVALUATE", 6)
    monkeypatch.setattr(reference, "ROWS", 4)
    chosen = language_recipe("dpo")
    cost, record = estimated(chosen), real(chosen)
    assert cost.forward_flops == pytest.approx(record.costs.forward_flops, rel=0.02)
    assert cost.backward_flops == pytest.approx(record.costs.backward_flops, rel=1e-9)


def test_few_texts_are_written_and_all_are_counted(language_recipe, estimated, monkeypatch) -> None:
    """18 test rows, of which the recipe wants 12 continued: an estimate writes 3, and counts 12 and 8 samples."""
    asked = []

    class Watched(run_cost._Work):
        def _writing_seconds(self, sets):
            asked.append([written["rows"] for written in sets])
            total = super()._writing_seconds(sets)
            asked.append(total / sum(written["seconds"] for written in sets))
            return total

    monkeypatch.setattr(run_cost, "TEXTS_TO_WRITE", 3)
    monkeypatch.setattr(run_cost, "_Work", Watched)
    estimated(language_recipe("sft", epochs=0.2))
    assert asked == [[3], pytest.approx((12 + 8) / 3)]


class _Silent:
    def on_plan(self, names, side_by_side) -> None: ...

    def on_message(self, name, words) -> None: ...

    def on_end(self, name, said, seconds) -> None: ...


@pytest.mark.parametrize("objective", ["grpo", "rloo", "ppo"])
def test_learning_from_what_is_written_has_no_estimate(objective, language_recipe, tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text("def one(prompts, completions):\n    return [1.0] * len(prompts)\n")
    options = {"reward": "rewards.py:one", "max_new_tokens": 4}
    recipe = language_recipe(objective, options=options)
    with pytest.raises(RecipeError) as refused:
        estimate(recipe, folder=tmp_path, out=tmp_path / "out", watcher=_Silent(), allow_code=True)
    assert refused.value.where == f"objective.{objective}" and "train.max_steps=5" in refused.value.fix
    assert "how much the model writes" in refused.value.what
