"""Language models through the frozen-prefix cache: the losses, weights and scores of training without it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from tunewise.audit.audit import Audit
from tunewise.check import Found, check
from tunewise.commit import default_cache
from tunewise.conformance.models import SPECIAL_OF, TEXT, make_tokenizer
from tunewise.data.prepare import prepare
from tunewise.engine.device import Tuned
from tunewise.models.locate import locate
from tunewise.recipe import recipe_from
from tunewise.run import run
from tunewise.tracking.jsonl_log import read_log
from tunewise.tracking.record import RunRecord

TUNED = Tuned("cpu", "fp32", 1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny random model of a family, with its output layer."""
    from transformers import AutoModelForCausalLM

    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            AutoModelForCausalLM.from_config(TEXT[family](4)).save_pretrained(made[family])
            make_tokenizer(SPECIAL_OF[family]).save_pretrained(made[family])
        return made[family]

    return make


@pytest.fixture
def trained(models: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`trained(name, method, family, **train)`: the record, what the log says of each step, and the weights handed
    over; with a cache of the test's own."""
    monkeypatch.setenv("TUNEWISE_CACHE", str(tmp_path / "cache"))

    def carry_out(
        name: str,
        method: Any,
        family: str = "llama",
        *,
        cache: bool = True,
        sft: dict[str, Any] | None = None,
        **more: Any,
    ) -> tuple[RunRecord, list[dict[str, Any]], dict[str, Any]]:
        rows = [
            {"prompt": f"order {place} {'was late ' * (place % 4)}", "completion": f"great{' refund' * (place % 3)}"}
            for place in range(40)
        ]
        (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
        train = {"epochs": 3, "batch_size": 8, "threads": 1, "precision": "fp32", "cache": cache, "keep_best": False}
        recipe = recipe_from(
            {
                "model": str(models(family)),
                "method": method,
                "data": {"train": str(tmp_path / "rows.jsonl")},
                "objective": {"sft": sft or {}},
                "train": {**train, "dropout": 0.0, "learning_rate": 1e-3, **more},
                "evaluate": {"resamples": 100, "generation": None},
            }
        )
        found = Found(prepare(recipe.data, tmp_path), {recipe.model: locate(recipe.model, tmp_path)}, Audit((), {}, {}))
        checked = check(recipe, tmp_path, recipe.all_methods, found=found)
        record = run(recipe, tmp_path / name, folder=tmp_path, checked=checked, tuned=TUNED)
        steps = [row for row in read_log(tmp_path / name / "log.jsonl") if row["event"] == "step"]
        return record, steps, load_file(tmp_path / name / "model" / "model.safetensors")

    return carry_out


def sums(steps: list[dict[str, Any]], name: str) -> float:
    return sum(step[name] for step in steps)


def losses(steps: list[dict[str, Any]]) -> list[float]:
    return [step["loss"] for step in steps]


def prefixes() -> list[tuple[int, str, int]]:
    """Depth, kind and rows of what the cache holds of frozen parts."""
    kept = [entry.about for entry in default_cache().entries() if entry.about["kind"] == "prefix"]
    return sorted((about["depth"], about["what"], about["rows"]) for about in kept)


@pytest.mark.parametrize(
    ("method", "depths", "train"),
    [
        ("head", {4}, {}),
        ({"last_k": {"k": 1}}, {3}, {}),
        ({"blocks": {"blocks": [2]}}, {2}, {}),
        ("gradual", {4, 3, 2, 1}, {"epochs": 15}),
    ],
)
def test_losses_and_weights_are_those_without_it(method, depths, train, trained) -> None:
    """On equal batches the states are equal bit for bit, and so is all that follows. Keeping what the last block gives
    of one position would not do: here all positions are read."""
    plain, steps, weights = trained("plain", method, cache=False, **train)
    assert prefixes() == []
    cached, same, same_weights = trained("cached", method, **train)
    assert {depth for depth, _, _ in prefixes()} == depths and {what for _, what, _ in prefixes()} == {"tokens"}
    np.testing.assert_allclose(losses(same), losses(steps), rtol=1e-5)
    for name, value in weights.items():
        np.testing.assert_allclose(same_weights[name].numpy(), value.numpy(), rtol=5e-3, atol=5e-4, err_msg=name)
    assert cached.scores["test"]["perplexity"].value == pytest.approx(
        plain.scores["test"]["perplexity"].value, rel=1e-5
    )
    assert sums(same, "forward_flops") < 0.9 * sums(steps, "forward_flops")
    assert cached.costs.backward_flops == plain.costs.backward_flops


def test_gpt2_with_its_positions(trained) -> None:
    _, steps, _ = trained("plain", {"blocks": {"blocks": [3]}}, "gpt2", cache=False)
    _, same, _ = trained("cached", {"blocks": {"blocks": [3]}}, "gpt2")
    assert prefixes() == [(3, "tokens", 6), (3, "tokens", 26)]  # validation and training rows
    np.testing.assert_allclose(losses(same), losses(steps), rtol=1e-5)


def test_what_is_to_be_learnt_is_no_part_of_what_is_kept(trained) -> None:
    """The same texts with another loss read the same states."""
    first, answers, _ = trained("answers", {"last_k": {"k": 1}})
    kept = prefixes()
    second, whole, _ = trained("all", {"last_k": {"k": 1}}, sft={"loss_on": "all"})
    assert kept and prefixes() == kept and answers[0]["loss"] != whole[0]["loss"]
    assert first.marginal.forward_flops == first.costs.forward_flops
    assert second.marginal.forward_flops < second.costs.forward_flops


def test_packed_rows_are_not_kept_and_that_is_told(trained) -> None:
    record, _, _ = trained("packed", {"last_k": {"k": 1}}, packing=True)
    assert prefixes() == [] and any("packed anew for each batch" in note for note in record.notes)
