"""Trainings of what a measurement has chosen: elements of norms, and blocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_bench import set_up

from tunewise.engine.handover import load_model, save_model
from tunewise.models.masks import elements_of


def test_of_the_norms_exactly_what_is_marked_moves(
    tiny_bert: Path, toy_data: Callable[..., Any], tmp_path: Path
) -> None:
    """Fifty steps with weight decay, which norms have not, and then the model that is handed over."""
    data = toy_data()
    setup = set_up(
        tiny_bert,
        data,
        tmp_path,
        "fisher_norms",
        options={"batches": 2},
        max_steps=50,
        weight_decay=0.1,
        keep_best=False,
        learning_rate=3e-3,
    )
    before = setup.weights
    trained = setup.train()
    after, masks = setup.weights, {mask.name: mask for mask in trained.plan.masks}
    head = {tensor.name for tensor in setup.net.map.head}
    counted = 0
    for name, tensor in before.items():
        moved = (after[name] != tensor).numpy()
        if name in masks:
            marks = elements_of(masks[name], tuple(tensor.shape))
            assert not moved[~marks].any() and moved[marks].all(), name
            counted += int(marks.sum())
        elif name not in head:
            assert not moved.any() or (trained.plan.rule_for(name) and moved.all()), name
            counted += int(moved.sum())
    assert counted == round(0.2 * 18 * 32)
    assert trained.trainable_parameters == counted + sum(tensor.size for tensor in setup.net.map.head)

    texts = data.splits["test"].texts
    logits_NC = trained.outputs(texts, 16, lambda: None)
    decision = {"threshold": None, "positive": None}
    save_model(trained, "transformers", tmp_path / "model", data.schema, decision, lambda size: "")
    net, *_ = load_model(tmp_path / "model", torch.device("cpu"))
    for name, tensor in net.model.named_parameters():
        assert torch.equal(tensor, after[name]), name
    assert np.isfinite(logits_NC).all()


@pytest.mark.parametrize("metric", ["angle", "gradient_norm", "fisher"])
@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_a_training_measures_chooses_and_trains_so_many_blocks(
    metric: str, family: str, tiny_model: Callable[..., Path], toy_data: Callable[..., Any], tmp_path: Path
) -> None:
    options = {"k": 1, "metric": metric, "batches": 2}
    setup = set_up(tiny_model(family, 2), toy_data(), tmp_path, "chosen_blocks", options=options, max_steps=3)
    before = setup.weights
    trained = setup.train()
    moved = {name for name, tensor in setup.weights.items() if not torch.equal(tensor, before[name])}
    blocks = [block for block in setup.net.map.blocks if any(name.startswith(f"{block.path}.") for name in moved)]
    assert len(blocks) == 1
    assert all(name.startswith(f"{blocks[0].path}.") or name in {t.name for t in setup.net.map.head} for name in moved)
    assert trained.forward_flops > 0
