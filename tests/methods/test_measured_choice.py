"""Norm elements by Fisher information, and blocks by a metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunewise.errors import MethodError
from tunewise.methods.chosen_blocks import ChosenBlocks
from tunewise.methods.fisher_norms import FisherNorms
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.models.masks import count_of, elements_of
from tunewise.types import Signals


@pytest.fixture
def model(tiny_bert: Path, toy_data: Callable[..., Any]):
    return load_net(locate(str(tiny_bert), tiny_bert), toy_data().schema).map


# ---------------------------------------------------------------- fisher_norms


def fisher_plan(model, fisher: dict[str, np.ndarray], **options: Any):
    return FisherNorms(FisherNorms.Config(**options)).plan(model, Signals(measures={"fisher": fisher}))


def test_the_elements_with_the_largest_values_train(model) -> None:
    (need,) = FisherNorms(FisherNorms.Config()).needs(model, Signals())
    norms = [tensor for tensor in model.tensors if need.wants(tensor.name)]
    assert len(norms) == 2 + 4 * 4 and all("LayerNorm" in tensor.name for tensor in norms)  # the embedding's too
    generator = np.random.default_rng(0)
    fisher = {tensor.name: generator.random(tensor.shape) for tensor in norms}
    fisher[norms[3].name][:] = 0  # none of these
    fisher[norms[5].name][:] = 2 + generator.random(32)  # all of these
    plan = fisher_plan(model, fisher, share=0.2)
    marks = {mask.name: elements_of(mask, (32,)) for mask in plan.masks}
    assert norms[3].name not in marks and plan.rule_for(norms[3].name) is None
    assert norms[5].name not in marks and plan.rule_for(norms[5].name) is not None
    marks[norms[5].name] = np.ones(32, dtype=bool)
    total = sum(int(mark.sum()) for mark in marks.values())
    assert total == round(0.2 * 18 * 32)
    chosen = np.concatenate([fisher[name][mark] for name, mark in marks.items()])
    others = np.concatenate([fisher[t.name][~marks.get(t.name, np.zeros(32, bool))] for t in norms])
    assert chosen.min() > others.max()
    assert plan.rule_for("classifier.weight") and plan.rule_for("bert.pooler.dense.weight")


def test_the_whole_share_is_all_norms_and_a_tiny_one_a_single_element(model) -> None:
    (need,) = FisherNorms(FisherNorms.Config()).needs(model, Signals())
    fisher = {t.name: np.random.default_rng(1).random(t.shape) for t in model.tensors if need.wants(t.name)}
    plan = fisher_plan(model, fisher, share=1)
    assert plan.masks == () and len(plan.rules) == 18 + 4
    plan = fisher_plan(model, fisher, share=1e-9)
    assert [count_of(mask) for mask in plan.masks] == [1] and len(plan.rules) == 1 + 4


def test_a_model_whose_norms_have_no_weights_is_refused(model) -> None:
    bare = replace(model, chains=tuple(replace(chain, embedding=(), blocks=()) for chain in model.chains))
    with pytest.raises(MethodError, match="the norms of a 'bert' model have no weights") as caught:
        FisherNorms(FisherNorms.Config()).needs(bare, Signals())
    assert caught.value.fix == "take the method 'last_k'"


# ---------------------------------------------------------------- chosen_blocks


def values_by_block(model, values: list[float], shaped: bool) -> dict[str, np.ndarray]:
    return {
        tensor.name: np.full(tensor.shape if shaped else (), value)
        for block, value in zip(model.blocks, values, strict=True)
        for tensor in block.tensors
    }


@pytest.mark.parametrize("metric", ["angle", "gradient_norm", "fisher"])
@pytest.mark.parametrize(("direction", "chosen"), [("largest", [0, 2]), ("smallest", [1, 3])])
def test_blocks_of_the_largest_or_smallest_values(model, metric: str, direction: str, chosen: list[int]) -> None:
    method = ChosenBlocks(ChosenBlocks.Config(k=2, metric=metric, direction=direction))
    values = values_by_block(model, [0.9, 0.1, 0.8, 0.2], metric == "fisher")
    plan = method.plan(model, Signals(measures={metric: values}))
    assert [rule.pattern for rule in plan.rules][:2] == [f"bert.encoder.layer.{number}.*" for number in chosen]
    assert {t.name for t in model.head} == {rule.pattern for rule in plan.rules[2:]}


def test_of_equal_blocks_the_upper_trains(model) -> None:
    for direction in ("largest", "smallest"):
        method = ChosenBlocks(ChosenBlocks.Config(k=1, direction=direction))
        plan = method.plan(model, Signals(measures={"angle": values_by_block(model, [0.5] * 4, False)}))
        assert plan.rules[0].pattern == "bert.encoder.layer.3.*"


def test_the_value_of_a_block_by_hand(model) -> None:
    block = model.blocks[1]
    sizes = {tensor.name: tensor.size for tensor in block.tensors}
    values = {name: np.array(float(number)) for number, name in enumerate(sizes)}

    def of(metric: str, given: dict[str, np.ndarray]) -> float:
        return ChosenBlocks(ChosenBlocks.Config(metric=metric))._value(block, given)

    assert of("gradient_norm", values) == pytest.approx(sum(n * n for n in range(16)) ** 0.5)
    matrices = {tensor.name for tensor in block.tensors if len(tensor.shape) == 2}
    assert len(matrices) == 6
    weighted = sum(float(values[name]) * sizes[name] for name in matrices) / sum(sizes[name] for name in matrices)
    assert of("angle", values) == pytest.approx(weighted)
    shaped = {tensor.name: np.full(tensor.shape, float(values[tensor.name])) for tensor in block.tensors}
    mean = sum(float(values[name]) * size for name, size in sizes.items()) / sum(sizes.values())
    assert of("fisher", shaped) == pytest.approx(mean)


def test_more_blocks_than_there_are(model) -> None:
    with pytest.raises(MethodError, match="k is 5, but the model has 4 blocks"):
        ChosenBlocks(ChosenBlocks.Config(k=5)).plan(model, Signals())


def test_the_angle_is_that_of_full_fine_tuning_at_its_own_rate(model) -> None:
    for rate in (None, 1.0):
        (need,) = ChosenBlocks(ChosenBlocks.Config(batches=7, learning_rate=rate)).needs(model, Signals())
        assert (need.kind, need.batches, need.learning_rate) == ("angle", 7, pytest.approx(3e-4))
        assert need.wants("bert.encoder.layer.0.output.dense.weight") and not need.wants("classifier.weight")
