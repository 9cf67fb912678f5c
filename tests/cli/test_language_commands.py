"""Comparisons, learning curves and proofs of resuming on language tasks, by the command line, with a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunewise.conformance.models import SPECIAL_OF, TEXT, make_tokenizer

pytestmark = pytest.mark.slow

TRAIN = {"max_steps": 4, "batch_size": 8, "threads": 1, "precision": "fp32"}
EVALUATE = {"resamples": 100, "generation": {"max_new_tokens": 4, "rows": 4}}
GRPO = {"grpo": {"reward": "rewards.py:brevity", "samples": 2, "max_new_tokens": 6, "beta": 0.05}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2, rows of three kinds, and a reward function."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("language")
    AutoModelForCausalLM.from_config(TEXT["gpt2"](2)).save_pretrained(folder / "gpt2")
    make_tokenizer(SPECIAL_OF["gpt2"]).save_pretrained(folder / "gpt2")
    rows: dict[str, list[dict[str, str]]] = {"sft": [], "dpo": [], "grpo": []}
    for number in range(60):
        prompt = f"order {number} {'today ' * (number % 4)}"
        good, bad = f" great{' service' * (number % 3)}", f" terrible{' refund' * (number % 4)}"
        rows["sft"].append({"prompt": prompt, "completion": good})
        rows["dpo"].append({"prompt": prompt, "chosen": good, "rejected": bad})
        rows["grpo"].append({"prompt": prompt})
    for name, some in rows.items():
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in some))
    (folder / "rewards.py").write_text(
        "def brevity(prompts, completions, **columns):\n    return [-float(len(text)) for text in completions]\n"
    )
    return folder


@pytest.fixture
def recipe(folder: Path) -> Callable[..., Path]:
    """`recipe(kind, **sections)`: the path of a recipe for rows of that kind."""

    def write(kind: str, **sections: Any) -> Path:
        data = {"train": f"{kind}.jsonl", "task": "prompts"} if kind == "grpo" else {"train": f"{kind}.jsonl"}
        plain = {"model": str(folder / "gpt2"), "data": data, "train": TRAIN, "evaluate": EVALUATE, "seeds": 1}
        plain |= {"objective": GRPO} if kind == "grpo" else {}
        path = folder / f"{kind}.yaml"
        path.write_text(json.dumps({**plain, **sections}))
        return path

    return write


@pytest.mark.parametrize("kind", ["dpo", "grpo"])
def test_compare_ends_with_a_page(kind, recipe, tunewise, tmp_path) -> None:
    path = recipe(kind, methods=["full", "lora"], seeds=2)
    result = tunewise("compare", path, "--out", tmp_path / "out", "--allow-code")
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert content["metric"] == {"dpo": "preference_accuracy", "grpo": "reward"}[kind] and content["greater_is_better"]
    assert [run["status"] for run in content["runs"]] == ["finished"] * 4
    page = (tmp_path / "out" / "report.html").read_text()
    for absent in ("What is taken for what", "By type of entity", "text, label"):
        assert absent not in page, absent
    assert "What they write" in page and ("KL in training" in page) == (kind == "grpo")
    assert all(("rounds" in run) == (kind == "grpo") for run in content["runs"])
    assert ("1 point is 0.01" in result.stdout) == (kind == "dpo")


def test_a_curve_of_perplexity(recipe, tunewise, tmp_path) -> None:
    path = recipe("sft", method="full")
    result = tunewise("curve", path, "--out", tmp_path / "out", "--shares", "0.4", "--method", "head")
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "out" / "curve.json").read_text())
    assert content["metric"] == "perplexity" and not content["greater_is_better"]
    assert {run["status"] for run in content["runs"]} == {"finished"} and len(content["runs"]) == 3
    assert (tmp_path / "out" / "curve.html").is_file() and "on all rows" in result.stdout


@pytest.mark.parametrize("kind", ["sft", "dpo", "grpo"])
def test_killed_and_resumed_is_what_was_never_killed(kind, recipe, tunewise) -> None:
    path = recipe(kind, method="full")
    result = tunewise("verify", "resume", path, "--kills", "1", "--allow-code", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["equal"] and len(found["runs"][0]["kills"]) == 1
