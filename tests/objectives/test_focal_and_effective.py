"""Weights by effective numbers, and focal loss, against published figures and the formulas written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from tunewise.errors import RecipeError
from tunewise.objectives import make_objective
from tunewise.objectives.settings import ObjectiveConfig
from tunewise.objectives.weights import class_weights
from tunewise.types import DataBundle

LABELS = ("a", "b", "c")


def objective(data: DataBundle, **options):
    return make_objective(ObjectiveConfig(**options), data)


def random_logits(*shape: int) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


# ---------------------------------------------------------------- effective numbers


def test_effective_weights_by_hand() -> None:
    """beta 0.9: E(1) = 1, E(2) = 1.9, E(3) = 2.71; 1 / E has the sum 1 + 0.526316 + 0.369004 = 1.895320."""
    found = class_weights("effective", LABELS, np.array([1, 2, 3]), 0.9)
    np.testing.assert_allclose(found, np.array([1.0, 0.526316, 0.369004]) * 3 / 1.895320, rtol=1e-6)


def test_effective_weights_as_the_authors_compute_them() -> None:
    counts, beta = np.array([5000, 497, 50]), 0.9999
    weights = (1.0 - beta) / np.array(1.0 - np.power(beta, counts))
    weights = weights / np.sum(weights) * len(counts)
    np.testing.assert_allclose(class_weights("effective", LABELS, counts, beta), weights, rtol=1e-9)


@given(
    st.lists(st.integers(1, 10**6), min_size=2, max_size=20),
    st.floats(0, 1, exclude_max=True),
)
def test_effective_weights_lie_between_equal_and_inverse(counts: list[int], beta: float) -> None:
    names, counts = [str(place) for place in range(len(counts))], np.array(counts)
    found = class_weights("effective", names, counts, beta)
    assert found.mean() == pytest.approx(1)
    order = np.argsort(counts)
    assert (np.diff(found[order]) <= 1e-9).all()  # no class with more rows weighs more
    rarest, commonest = order[0], order[-1]
    ratio = found[rarest] / found[commonest]
    assert 1 - 1e-9 <= ratio <= counts[commonest] / counts[rarest] * (1 + 1e-6)


def test_the_ends_of_beta() -> None:
    counts = np.array([7, 2, 300])
    assert class_weights("effective", LABELS, counts, 0.0).tolist() == [1, 1, 1]
    inverse = class_weights("balanced", LABELS, counts)
    near = class_weights("effective", LABELS, counts, 1 - 1e-12)
    np.testing.assert_allclose(near / near.sum(), inverse / inverse.sum(), rtol=1e-6)


def test_a_class_without_training_rows_has_no_effective_weight() -> None:
    found = class_weights("effective", LABELS, np.array([4, 0, 4]), 0.99)
    np.testing.assert_allclose(found, [1, 0, 1])


def test_effective_weights_reach_every_loss(toy_data, tagged_data) -> None:
    for data in (toy_data(), toy_data("multilabel"), tagged_data()):
        targets = data.splits["train"].targets
        if data.schema.task == "multilabel":
            counts = targets.sum(axis=0)
        else:
            counts = np.bincount(targets[targets >= 0], minlength=len(data.schema.labels))
        for options, beta in (({}, 0.999), ({"effective_beta": 0.9}, 0.9)):
            ours = objective(data, class_weights="effective", **options)
            np.testing.assert_array_equal(ours.weights, class_weights("effective", data.schema.labels, counts, beta))
        given_ = dict(zip(data.schema.labels, ours.weights.tolist(), strict=True))
        logits = torch.randn(
            *targets[:6].shape[: 1 + (targets.ndim > 1 and data.schema.task != "multilabel")],
            len(data.schema.labels),
            generator=torch.Generator().manual_seed(0),
        )
        rows = torch.as_tensor(targets[:6])
        assert ours.loss(logits, rows).total == objective(data, class_weights=given_).loss(logits, rows).total


# ---------------------------------------------------------------- focal loss


@pytest.mark.parametrize(("p", "factor"), [(0.9, 100), (0.968, 1000), (0.5, 4)])
def test_what_the_paper_says_of_gamma_2(toy_data, p: float, factor: float) -> None:
    """Lin et al. 2017, section 3.2: with gamma 2, p_t = 0.9 has 100 times lower loss than with cross-entropy, about
    0.968 1000 times, and at most 4 times for p_t <= 0.5."""
    logits = torch.tensor([[p, (1 - p) / 2, (1 - p) / 2]]).log()
    plain, focal = (objective(toy_data(), focal_gamma=g).loss(logits, torch.tensor([0])).mean.item() for g in (0, 2))
    assert plain / focal == pytest.approx(factor, rel=0.03)
    logit = torch.tensor([[p / (1 - p), 1.0, 1.0]]).log()
    marks, labels = torch.tensor([[1.0, 0.0, 0.0]]), toy_data("multilabel")
    others = 2 * np.log(2)  # the losses of the two labels at p = 0.5, a quarter of that with gamma 2
    plain, focal = (objective(labels, focal_gamma=g).loss(logit, marks).total.item() for g in (0, 2))
    assert (plain - others) / (focal - others / 4) == pytest.approx(factor, rel=0.03)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("weights", [None, {"refund": 3.0, "praise": 0.25}])
def test_focal_loss_is_the_formula_with_its_gradient(toy_data, gamma: float, weights: dict | None) -> None:
    data, targets = toy_data(), torch.arange(12) % 3
    logits = random_logits(12, 3).requires_grad_()
    w_C = torch.tensor([3.0, 1.0, 0.25] if weights else [1.0, 1.0, 1.0], dtype=torch.float64)
    p_N = logits.softmax(1)[torch.arange(12), targets]
    wanted = (-w_C[targets] * (1 - p_N) ** gamma * p_N.log()).sum() / w_C[targets].sum()
    loss = objective(data, focal_gamma=gamma, class_weights=weights).loss(logits, targets)
    assert loss.mean.item() == pytest.approx(wanted.item(), rel=1e-5)
    ours, theirs = (torch.autograd.grad(some, logits, retain_graph=True)[0] for some in (loss.mean, wanted))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_of_labels_is_the_formula_with_its_gradient(toy_data, gamma: float) -> None:
    data = toy_data("multilabel")
    targets = torch.as_tensor(data.splits["train"].targets)[:12]
    logits = random_logits(12, 3).requires_grad_()
    w_C = torch.tensor([1.0, 4.0, 1.0], dtype=torch.float64)
    p_NC = torch.where(targets == 1, logits.sigmoid(), 1 - logits.sigmoid())
    wanted = (-w_C * (1 - p_NC) ** gamma * p_NC.log()).mean()
    loss = objective(data, focal_gamma=gamma, class_weights={"delivery": 4.0}).loss(logits, targets)
    assert loss.mean.item() == pytest.approx(wanted.item(), rel=1e-5)
    ours, theirs = (torch.autograd.grad(some, logits, retain_graph=True)[0] for some in (loss.mean, wanted))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


def test_focal_loss_of_words_is_that_of_as_many_rows(tagged_data, toy_data) -> None:
    tagged = tagged_data()
    targets = torch.tensor([[0, 3, -1], [1, -1, -1]])
    logits = random_logits(2, 3, 7)
    logits[targets < 0] = torch.nan
    words = objective(tagged, focal_gamma=2.0).loss(logits, targets)
    p_K = logits[targets >= 0].softmax(1)[torch.arange(3), torch.tensor([0, 3, 1])]
    assert words.n_items == 3
    assert words.total.item() == pytest.approx((-((1 - p_K) ** 2) * p_K.log()).sum().item(), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.25, 2.0])
@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_what_is_certain_has_a_finite_gradient(toy_data, task: str, gamma: float) -> None:
    """In fp32 a probability becomes 1, and 1 - p its 0 to a power: right or wrong, loss and gradient are numbers."""
    logits = torch.tensor([[200.0, -200.0, -200.0]] * 2, requires_grad=True)
    targets = torch.tensor([0, 1]) if task == "classification" else torch.tensor([[1.0, 0, 0], [0, 1.0, 1.0]])
    loss = objective(toy_data(task), focal_gamma=gamma).loss(logits, targets)
    (gradient,) = torch.autograd.grad(loss.total, logits)
    assert torch.isfinite(loss.total) and torch.isfinite(gradient).all()
    assert (gradient[0] == 0).all() and gradient[1].abs().max() == pytest.approx(1)


@pytest.mark.parametrize("task", ["classification", "multilabel"])
@pytest.mark.parametrize("weights", [None, "balanced", "effective"])
def test_sums_of_focal_losses_over_parts_make_the_mean_over_the_whole(toy_data, task: str, weights: str | None) -> None:
    data = toy_data(task)
    ours = objective(data, focal_gamma=1.5, class_weights=weights)
    targets = torch.as_tensor(data.splits["train"].targets)
    logits = random_logits(48, 3).float()
    whole = ours.loss(logits, targets)
    parts = [ours.loss(logits[start:end], targets[start:end]) for start, end in ((0, 5), (5, 6), (6, 48))]
    assert sum(part.n_items for part in parts) == pytest.approx(ours.n_items(targets))
    assert sum(part.total for part in parts) / ours.n_items(targets) == pytest.approx(whole.mean.item(), rel=1e-6)


def test_gamma_0_is_bit_for_bit_cross_entropy(toy_data, tagged_data) -> None:
    targets, logits = torch.arange(12) % 3, random_logits(12, 3).float()
    assert (
        objective(toy_data(), focal_gamma=0)
        .loss(logits, targets)
        .total.equal(functional.cross_entropy(logits, targets, reduction="sum"))
    )
    marks = torch.as_tensor(toy_data("multilabel").splits["train"].targets)[:12]
    assert (
        objective(toy_data("multilabel"), focal_gamma=0)
        .loss(logits, marks)
        .total.equal(functional.binary_cross_entropy_with_logits(logits, marks, reduction="sum"))
    )


# ---------------------------------------------------------------- what a recipe can get wrong


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"focal_gamma": -0.1}, "focal_gamma"),
        ({"focal_gamma": float("inf")}, "focal_gamma"),
        ({"class_weights": "effective", "effective_beta": 1.0}, "effective_beta"),
        ({"class_weights": "effective", "effective_beta": -0.5}, "effective_beta"),
        ({"effective_beta": 0.9}, "effective_beta is for class_weights: effective"),
        ({"class_weights": "balanced", "effective_beta": 0.9}, "effective_beta is for class_weights: effective"),
        ({"focal_gamma": 2.0, "label_smoothing": 0.1}, "either focal_gamma or label_smoothing"),
    ],
)
def test_options_that_cannot_be(options: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ObjectiveConfig(**options)


def test_focal_loss_is_not_for_numbers(toy_data) -> None:
    with pytest.raises(RecipeError, match="the task is regression") as caught:
        objective(toy_data("regression"), focal_gamma=2.0)
    assert caught.value.where == "objective.focal_gamma" and caught.value.fix == "leave it out"


def test_one_class_alone_has_no_loss(toy_data) -> None:
    data = toy_data()
    alone = replace(data, schema=replace(data.schema, labels=("refund",)))
    alone = replace(alone, splits={**data.splits, "train": replace(data.splits["train"], targets=np.zeros(48, int))})
    logits = torch.ones(4, 1, requires_grad=True)
    loss = objective(alone, focal_gamma=2.0).loss(logits, torch.zeros(4, dtype=torch.int64))
    (gradient,) = torch.autograd.grad(loss.total, logits)
    assert loss.total == 0 and (gradient == 0).all()
