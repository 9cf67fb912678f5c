"""The losses of preference objectives, against values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tunewise.errors import RecipeError
from tunewise.objectives import Objective, ObjectiveConfig, make_objective, objective_name
from tunewise.objectives.dpo import dpo_losses
from tunewise.objectives.kto import kto_losses, mismatched
from tunewise.objectives.language_settings import DpoConfig, KtoConfig
from tunewise.objectives.reward import bradley_terry
from tunewise.types import DataBundle, Schema

PAIRS = Schema("preference", ("prompt", "chosen", "rejected"), "", (), "completion")
JUDGED = Schema("unpaired_preference", ("prompt", "completion"), "", (), "completion")


def kto(beta: float) -> Objective:
    return make_objective(ObjectiveConfig(kto={"beta": beta}), DataBundle({}, JUDGED, (), ""))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


RATIOS = torch.tensor([[2.0, -1.0], [0.5, 0.75], [-30.0, 10.0]])
TOKENS = torch.tensor([[2, 4], [1, 3], [5, 5]])


def losses(**options: object) -> list[float]:
    return dpo_losses(RATIOS, TOKENS, DpoConfig(**options)).tolist()


def test_dpo_is_minus_the_log_of_the_sigmoid_of_the_scaled_difference() -> None:
    assert losses(beta=0.2) == pytest.approx([-math.log(sigmoid(0.2 * apart)) for apart in (3.0, -0.25, -40.0)])


def test_smoothing_takes_a_share_of_the_pairs_the_other_way_round() -> None:
    expected = [
        -0.9 * math.log(sigmoid(0.2 * apart)) - 0.1 * math.log(sigmoid(-0.2 * apart)) for apart in (3.0, -0.25, -40.0)
    ]
    assert losses(beta=0.2, label_smoothing=0.1) == pytest.approx(expected)


def test_hinge_ends_where_the_scaled_difference_is_one() -> None:
    assert losses(loss="hinge", beta=0.5) == pytest.approx([0.0, 1.125, 21.0])


def test_ipo_is_the_squared_distance_of_the_means_over_tokens_from_its_margin() -> None:
    expected = [(1.0 + 0.25 - 2.5) ** 2, (0.5 - 0.25 - 2.5) ** 2, (-6.0 - 2.0 - 2.5) ** 2]
    assert losses(loss="ipo", beta=0.2) == pytest.approx(expected)


def test_an_untrained_model_starts_at_ln_2() -> None:
    assert dpo_losses(torch.zeros(1, 2), torch.ones(1, 2), DpoConfig()).item() == pytest.approx(math.log(2), abs=1e-7)


@pytest.mark.parametrize("loss", ["ipo", "hinge"])
def test_smoothing_is_refused_where_it_would_do_nothing(loss: str) -> None:
    with pytest.raises(ValidationError, match="label_smoothing is for loss: sigmoid"):
        DpoConfig(loss=loss, label_smoothing=0.1)


def test_a_reward_has_to_be_better_by_the_margin() -> None:
    chosen, rejected = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 2.0])
    plain = bradley_terry(chosen, rejected).tolist()
    assert plain == pytest.approx([-math.log(sigmoid(0.5)), -math.log(sigmoid(-2.0))])
    wanted = bradley_terry(chosen, rejected, torch.tensor([1.0, 0.0])).tolist()
    assert wanted == pytest.approx([-math.log(sigmoid(-0.5)), plain[1]])


def test_centring_adds_the_squared_sum_of_both_rewards() -> None:
    chosen, rejected = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 2.0])
    more = bradley_terry(chosen, rejected, centering=0.1) - bradley_terry(chosen, rejected)
    assert more.tolist() == pytest.approx([0.1 * 1.5**2, 0.1 * 2.0**2], rel=1e-5)


def test_kto_weighs_good_and_bad_answers_around_the_divergence() -> None:
    rewards, good = torch.tensor([0.4, 0.4, -1.0]), torch.tensor([True, False, False])
    options = KtoConfig(desirable_weight=1.5, undesirable_weight=0.5)
    found = kto_losses(rewards, good, torch.tensor(0.3), options).tolist()
    expected = [1.5 * (1 - sigmoid(0.1)), 0.5 * (1 - sigmoid(-0.1)), 0.5 * (1 - sigmoid(1.3))]
    assert found == pytest.approx(expected)


def test_the_divergence_of_kto_is_a_mean_that_is_never_negative_and_has_no_gradient() -> None:
    objective = kto(0.5)
    for others, divergence in (([0.2, 0.6], 0.4), ([-3.0, 1.0], 0.0)):
        numbers = torch.tensor([[0.1, others[0], 1.0], [0.3, others[1], 0.0]], requires_grad=True)
        loss = objective.loss(numbers, torch.tensor([1.0, 0.0]))
        expected = (1 - sigmoid(0.1 - 0.5 * divergence)) + (1 - sigmoid(0.5 * divergence - 0.3))
        assert loss.total.item() == pytest.approx(expected) and loss.n_items == 2
        (gradient,) = torch.autograd.grad(loss.total, numbers)
        assert not gradient[:, 1:].any() and gradient[:, 0].all()


def test_what_metrics_of_kto_see_is_reward_and_loss() -> None:
    objective = kto(0.5)
    found = objective.unscale(np.array([[0.1, 0.2, 1.0], [0.3, 0.6, 0.0]], np.float32))
    assert found[:, 0].tolist() == pytest.approx([0.1, 0.3])
    assert found[:, 1].tolist() == pytest.approx([1 - sigmoid(-0.1), 1 - sigmoid(-0.1)])


def test_answers_that_do_not_belong_are_those_of_the_nearest_row_before_with_another_prompt() -> None:
    rows = (("a", "1"), ("a", "2"), ("b", "3"), ("c", "4"), ("c", "5"))
    assert mismatched(rows) == (("a", "5"), ("a", "5"), ("b", "2"), ("c", "3"), ("c", "3"))


def test_pairs_are_for_dpo_unless_the_recipe_says_reward() -> None:
    assert objective_name(ObjectiveConfig(), PAIRS) == "dpo"
    assert objective_name(ObjectiveConfig.model_validate("reward"), PAIRS) == "reward"


@pytest.mark.parametrize("name", ["dpo", "reward", "kto"])
def test_other_rows_are_refused_with_what_is_needed(name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        objective_name(ObjectiveConfig.model_validate(name), Schema("classification", ("text",), "label", ("a", "b")))
    assert f"the objective '{name}' is for" in caught.value.what and caught.value.where == f"objective.{name}"
    assert ("columns prompt, chosen, rejected" in caught.value.fix) == (name != "kto")
    assert "columns prompt" in caught.value.fix
