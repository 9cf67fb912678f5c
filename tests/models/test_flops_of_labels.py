"""The FLOPs table of language models, whose output layer reads the tokens to learn alone, against what torch counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.models import language_bench as bench
from tunewise.models import chunked_log_probs
from tunewise.models.blocks import map_model, named_tensors
from tunewise.models.cost import watch_flops
from tunewise.models.tensor_flops import step_shape, watch_tensors
from tunewise.models.token_losses import token_log_probs

ROWS = np.array([0, 2, 1])
IN_PLACE = {torch.ops.aten.addmm_: lambda into, left, right, **_: 2 * left[0] * left[1] * right[1]}
"""Torch counts addmm, and not the same in place."""


class Case:
    """A model in eval mode whose attention torch counts, and the table for a batch of it."""

    def __init__(self, family: str, even: bool):
        self.model, self.even, self.tokens = bench.language_model(family).eval(), even, bench.rows()
        self.model.set_attn_implementation("eager")
        self.batch, self.map = self.tokens.batch(ROWS), map_model(self.model)
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)
        self.forward()  # the first look at a model is another: what it is proven by
        self.table = watch_tensors(self.model, self.map, self.forward)
        self.shape = step_shape([[ROWS]], self.tokens.shape, self.items, self.table.beyond)
        self.rows = self.table.at(self.shape)

    def items(self, rows: np.ndarray) -> int:
        return int(self.tokens.counts[rows].sum())

    def forward(self) -> Any:
        return token_log_probs(self.model, self.batch, even=self.even)

    def counted(self, names: list[str]) -> float:
        """Forward and backward FLOPs by torch where these train, without those of the place that is looked at twice."""
        for name, parameter in named_tensors(self.model).items():
            parameter.requires_grad_(name in names)
        with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as counter:
            self.forward().row_sums().sum().backward()
        self.model.zero_grad()
        return counter.get_total_flops() - 2 * bench.WIDTH * bench.VOCABULARY

    def told(self, first: int) -> float:
        chosen = self.rows[first:]
        return (
            self.table.forward_at(self.shape)
            + sum(row.weight for row in chosen)
            + sum(row.input for row in self.rows[first + 1 :])
        )


@pytest.fixture(params=["kept", "computed again"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits of few tokens to learn are kept for the backward pass, those of many are not."""
    if request.param == "computed again":
        monkeypatch.setattr(chunked_log_probs, "KEPT_NUMBERS", 0)


def test_what_is_kept_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("llama", even=False)
    kept = case.table.full_at(case.shape)
    monkeypatch.setattr(chunked_log_probs, "KEPT_NUMBERS", 0)
    again, items = Case("llama", even=False), case.items(ROWS)
    assert again.table.full_at(again.shape) - kept == 2 * bench.WIDTH * bench.VOCABULARY * items


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("even", [False, True])
def test_whatever_depth_trains_costs_what_torch_counts(even: bool) -> None:
    """Step by step from the top: as in `test_tensor_flops`, where of an attention the value or key alone train the
    table may say more."""
    case, exact = Case("llama", even), 0
    assert case.shape[3] == case.tokens.counts[ROWS].sum() > 0
    for first, row in enumerate(case.rows):
        counted, told = case.counted([each.name for each in case.rows[first:]]), case.told(first)
        assert counted <= told, row.name
        exact += counted == told
        assert counted == told or "k_proj" in row.name or "v_proj" in row.name, row.name
    assert exact > len(case.rows) / 2


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_sums_are_the_flops_of_the_step(family: str) -> None:
    case = Case(family, even=False)
    with watch_flops(case.model, case.map) as flops:
        case.forward()
    sizes = (*case.batch["input_ids"].shape, int(case.tokens.counts[ROWS].sum()))
    assert case.table.full_at(case.shape) == flops.forward(*sizes) + flops.backward(*sizes)
    assert case.table.full_at(case.shape) == case.counted([tensor.name for tensor in case.map.tensors])
