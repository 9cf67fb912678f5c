"""The FLOPs table against what torch counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

from tunewise.data.tokenise import tokenise
from tunewise.models.blocks import map_model, named_tensors
from tunewise.models.cost import watch_flops
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.models.tensor_flops import FlopsTable, step_shape, watch_tensors
from tunewise.types import ModelMap, TensorFlops

FAMILIES = ["bert", "distilbert", "modernbert", "gpt2", "llama", "t5"]
LENGTHS = np.array([3, 9, 5, 5, 7])
PART_OF_ATTENTION = re.compile(r"key|value|[kv]_(lin|proj)")


class Table:
    """A model in eval mode, a batch, and the table for it."""

    def __init__(self, model: nn.Module, model_map: ModelMap, batch: dict[str, torch.Tensor]):
        self.model, self.map, self.batch = model.eval(), model_map, batch
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        self.table: FlopsTable = watch_tensors(model, model_map, lambda: model(**batch))
        rows, tokens = batch["input_ids"].shape if "input_ids" in batch else (len(batch["pixel_values"]), 1)
        self.shape = np.array([rows, rows * tokens, rows * tokens**2, 0, 0], dtype=float)
        self.rows = self.table.at(self.shape)

    def counted(self, names: Sequence[str]) -> float:
        """Backward FLOPs by torch where these train."""
        for name, parameter in named_tensors(self.model).items():
            parameter.requires_grad_(name in names)
        loss = self.model(**self.batch).logits.sum()
        with FlopCounterMode(display=False) as counter:
            loss.backward()
        self.model.zero_grad()
        return counter.get_total_flops()

    def told(self, chosen: Sequence[TensorFlops]) -> float:
        """Backward FLOPs by the table."""
        first = self.rows.index(chosen[0])
        return sum(entry.weight for entry in chosen) + sum(entry.input for entry in self.rows[first + 1 :])


def of_text(folder: Path, data: Any) -> Table:
    net = load_net(locate(str(folder), folder), data.schema, attention="eager")
    batch = tokenise(data.splits["train"].texts, net.tokenizer, net.max_length).batch(range(5))
    return Table(net.model, net.map, batch)


@pytest.mark.parametrize("family", FAMILIES)
def test_whatever_depth_trains_costs_what_torch_counts(
    family: str, tiny_model: Callable[..., Path], toy_data: Callable[..., Any]
) -> None:
    """From the top down, with everything above. Where of an attention only the value (and key) train, torch leaves out
    a part of the products that fused kernels compute in any case: there the table may say more. The table takes an
    encoder for below all of its decoder."""
    case = of_text(tiny_model(family, 2), toy_data())
    assert {row.name for row in case.rows} == {tensor.name for tensor in case.map.tensors}
    for first in range(len(case.rows)):
        chosen = case.rows[first:]
        counted, told = case.counted([row.name for row in chosen]), case.told(chosen)
        assert counted <= told
        assert counted == told or family == "t5" or PART_OF_ATTENTION.search(chosen[0].name), chosen[0].name


@pytest.mark.parametrize("family", FAMILIES)
def test_one_tensor_alone_costs_no_more_than_the_table_says(
    family: str, tiny_model: Callable[..., Path], toy_data: Callable[..., Any]
) -> None:
    case, exact = of_text(tiny_model(family, 2), toy_data()), 0
    for row in case.rows:
        counted, told = case.counted([row.name]), case.told([row])
        assert counted <= told, row.name
        exact += counted == told
    # Of an encoder's gradient T5's decoder passes on only what its attention to the encoder needs.
    assert exact > (0 if family == "t5" else len(case.rows) / 3)


@pytest.mark.parametrize("family", [*FAMILIES, "albert"])
def test_sums_are_the_flops_of_the_step(
    family: str, tiny_model: Callable[..., Path], toy_data: Callable[..., Any]
) -> None:
    case = of_text(tiny_model(family), toy_data())
    names = [tensor.name for tensor in case.map.tensors]
    with FlopCounterMode(display=False) as forward:
        case.model(**case.batch)
    assert case.table.forward_at(case.shape) == forward.get_total_flops()
    assert case.table.full_at(case.shape) == forward.get_total_flops() + case.counted(names)
    with watch_flops(case.model, case.map) as flops:
        case.model(**case.batch)
    shape = case.batch["input_ids"].shape
    assert case.table.full_at(case.shape) == flops.forward(*shape) + flops.backward(*shape)


def test_layers_that_run_again_are_paid_by_all_that_is_below_their_last_run(
    tiny_model: Callable[..., Path], toy_data: Callable[..., Any]
) -> None:
    case = of_text(tiny_model("albert"), toy_data())
    shared = [row for row in case.rows if ".ffn." in row.name and row.weight]
    assert case.told(shared) == case.counted([row.name for row in shared])


def image_models() -> list[nn.Module]:
    torch.manual_seed(0)
    vit = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=8, patch_size=4
    )
    resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    vit._attn_implementation = "eager"
    return [ViTForImageClassification(vit), ResNetForImageClassification(resnet)]


@pytest.mark.parametrize("number", [0, 1])
def test_images(number: int) -> None:
    model = image_models()[number]
    case = Table(model, map_model(model), {"pixel_values": torch.randn(3, 3, 8, 8)})
    for first, row in enumerate(case.rows):
        chosen = case.rows[first:]
        counted, told = case.counted([each.name for each in chosen]), case.told(chosen)
        assert counted <= told
        assert counted == told or PART_OF_ATTENTION.search(row.name), row.name
    pixels = next(row for row in case.rows if row.weight)
    assert pixels.input == 0  # nothing before the first layer can train


def test_the_deeper_the_dearer(tiny_bert: Path, toy_data: Callable[..., Any]) -> None:
    case = of_text(tiny_bert, toy_data())
    closing = [
        next(row for row in case.rows if row.name == f"{block.feed_forward[0]}.weight") for block in case.map.blocks
    ]
    costs = [case.told([row]) for row in closing]
    assert costs == sorted(costs, reverse=True) and costs[0] > 3 * costs[-1]


def test_a_bert_by_hand(tiny_bert: Path, toy_data: Callable[..., Any]) -> None:
    case = of_text(tiny_bert, toy_data())
    rows, tokens, squares, *_ = case.shape
    by_name = {row.name: row for row in case.rows}
    assert case.rows[0].name.startswith("bert.embeddings.") and case.rows[-1].name == "classifier.bias"
    query = by_name["bert.encoder.layer.2.attention.self.query.weight"]
    assert query.weight == tokens * 2 * 32 * 32
    assert query.input == 3 * query.weight  # with key's and value's
    key = by_name["bert.encoder.layer.2.attention.self.key.weight"]
    assert (key.weight, key.input) == (query.weight, 0.0)
    closing = by_name["bert.encoder.layer.2.attention.output.dense.weight"]
    assert closing.input == tokens * 2 * 32 * 32 + squares * 8 * 32
    assert by_name["classifier.weight"].input == rows * 2 * 32 * 3
    free = [
        row for row in case.rows if "LayerNorm" in row.name or row.name.endswith("bias") or "embeddings" in row.name
    ]
    assert free and all(row.weight == row.input == 0 for row in free)


def test_the_mean_shape_of_steps_by_hand() -> None:
    steps = [[np.array([0, 1]), np.array([2])], [np.array([3, 4])]]
    shape, items = lambda rows: (len(rows), int(LENGTHS[rows].max())), lambda rows: int((LENGTHS - 2)[rows].sum())
    assert step_shape(steps, shape, items, beyond=3).tolist() == [
        (2 + 1 + 2) / 2,
        (2 * 9 + 1 * 5 + 2 * 7) / 2,
        (2 * 81 + 1 * 25 + 2 * 49) / 2,
        (1 + 7 + 3 + 3 + 5) / 2,
        (1 + 7 + 3 + 5) / 2,
    ]


def test_watching_ends_with_the_pass(tiny_bert: Path, toy_data: Callable[..., Any]) -> None:
    case = of_text(tiny_bert, toy_data())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in case.model.modules())
