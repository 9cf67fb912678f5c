"""Dropout masks that follow from seed and step."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from tunewise.engine.dropout import Masks


def dropped(masks: Masks, hidden: torch.Tensor, p: float = 0.1, training: bool = True) -> torch.Tensor:
    with masks.drawing():
        return functional.dropout(hidden, p, training)


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_the_share_of_zeros_is_p_and_the_mean_stays(p):
    out = dropped(Masks(1), torch.ones(400, 1000), p)
    assert (out == 0).float().mean() == pytest.approx(p, abs=4 * (p * (1 - p) / 400_000) ** 0.5)
    assert out.mean() == pytest.approx(1.0, abs=0.01)
    assert out.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=2e-4)


def test_elements_are_dropped_independently_of_their_neighbours():
    kept = (dropped(Masks(2), torch.ones(200_001), 0.5) > 0).double()
    for lag in (1, 2, 3, 4, 8, 64):
        pairs = torch.stack([kept[:-lag], kept[lag:]])
        assert abs(torch.corrcoef(pairs)[0, 1]) < 5 / 200_001**0.5


def test_the_same_step_draws_the_same_masks_and_others_draw_others():
    masks, again = Masks(3), Masks(3)
    hidden = torch.ones(7, 11, 13)
    first = [dropped(masks, hidden), dropped(masks, hidden)]
    masks.begin(5)
    later = dropped(masks, hidden)
    again.begin(5)
    assert torch.equal(later, dropped(again, hidden))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], later)
    assert not torch.equal(first[0], dropped(Masks(4), hidden))


def test_the_gradient_is_the_mask():
    hidden = torch.randn(5, 17, requires_grad=True)
    out = dropped(Masks(0), hidden, 0.5)
    out.sum().backward()
    assert torch.equal(hidden.grad * hidden.detach(), out.detach())


@pytest.mark.parametrize("p, training", [(0.3, False), (0.0, True)])
def test_nothing_is_dropped_in_eval_mode_or_at_0(p, training):
    hidden = torch.randn(4, 5)
    assert torch.equal(dropped(Masks(0), hidden, p, training), hidden)


def test_all_is_dropped_at_1():
    assert not dropped(Masks(0), torch.ones(4, 5), 1.0).any()


def test_modules_draw_from_it_in_the_number_format_of_the_input():
    module = nn.Dropout(0.5)
    masks = Masks(0)
    with masks.drawing():
        out = module(torch.ones(64, 64, dtype=torch.bfloat16))
    masks.begin(0)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, dropped(masks, torch.ones(64, 64, dtype=torch.bfloat16), 0.5))


def test_in_place_changes_the_input_itself():
    hidden = torch.ones(1000)
    with Masks(0).drawing():
        out = nn.Dropout(0.5, inplace=True)(hidden)
    assert out is hidden and 0 < (hidden == 0).sum() < 1000


def test_torch_has_its_own_dropout_back_afterwards_whatever_happens():
    usual = functional.dropout
    with pytest.raises(RuntimeError), Masks(0).drawing():
        assert functional.dropout is not usual
        raise RuntimeError
    assert functional.dropout is usual
