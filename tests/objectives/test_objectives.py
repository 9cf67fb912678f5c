from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn import functional

from tunewise.data.tokenise import tokenise
from tunewise.errors import RecipeError
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.objectives import OBJECTIVES, make_objective
from tunewise.objectives.settings import LANGUAGE_OBJECTIVES, ObjectiveConfig
from tunewise.types import DataBundle, Task

TASKS: list[Task] = ["classification", "multilabel", "regression"]


def objective(data: DataBundle, **options):
    return make_objective(ObjectiveConfig(**options), data)


def targets_of(data: DataBundle) -> torch.Tensor:
    return torch.as_tensor(data.splits["train"].targets)


def logits_for(data: DataBundle, rows: int) -> torch.Tensor:
    return torch.randn(rows, data.schema.outputs, generator=torch.Generator().manual_seed(1), requires_grad=True)


def with_targets(data: DataBundle, targets: np.ndarray) -> DataBundle:
    """The same data with other training targets."""
    train = data.splits["train"]
    rows = np.arange(len(targets))
    other = replace(train, targets=targets, texts=train.texts[: len(targets)], rows=rows)
    return replace(data, splits={**data.splits, "train": other})


def same(ours: torch.Tensor, theirs: torch.Tensor, logits: torch.Tensor) -> None:
    """Equal values and equal gradients."""
    assert torch.allclose(ours, theirs, rtol=1e-6)
    (mine,) = torch.autograd.grad(ours, logits, retain_graph=True)
    (other,) = torch.autograd.grad(theirs, logits, retain_graph=True)
    assert torch.allclose(mine, other, rtol=1e-5, atol=1e-8)


def test_there_is_one_for_each_task(toy_data):
    assert set(OBJECTIVES) == {*TASKS, "token_classification", *LANGUAGE_OBJECTIVES}
    assert all(type(objective(toy_data(task))) is OBJECTIVES[task] for task in TASKS)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2", "llama"])
def test_losses_and_gradients_are_those_of_transformers_own_model(task, family, tiny_model, toy_data):
    data = toy_data(task)
    net = load_net(locate(str(tiny_model(family)), tiny_model(family)), data.schema)
    batch = tokenise(data.splits["train"].texts, net.tokenizer, net.max_length).batch(range(9))
    targets = targets_of(data)[:9]
    net.model.eval()

    def gradients(loss: torch.Tensor) -> dict[str, torch.Tensor]:
        net.model.zero_grad()
        loss.backward()
        return {name: p.grad.clone() for name, p in net.model.named_parameters() if p.grad is not None}

    loss = objective(data, standardize=False).loss(net.model(**batch).logits, targets)
    ours = gradients(loss.mean)
    own = net.model(**batch, labels=targets).loss
    theirs = gradients(own)
    assert loss.mean.item() == pytest.approx(own.item(), rel=1e-6)
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-7) for name in ours)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, {"refund": 3.0, "praise": 0.25}])
def test_class_weights_and_label_smoothing_are_torchs(toy_data, weights, smoothing):
    data = toy_data()
    ours = objective(data, class_weights=weights, label_smoothing=smoothing)
    targets = targets_of(data)[:10]
    logits = logits_for(data, 10)
    given = None if weights is None else torch.tensor([3.0, 1.0, 0.25])
    own = functional.cross_entropy(logits, targets, weight=given, label_smoothing=smoothing)
    same(ours.loss(logits, targets).mean, own, logits)


def test_label_smoothing_by_hand(toy_data):
    data = toy_data()
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    log_p = (logits - torch.logsumexp(logits, 1, keepdim=True))[0]
    wanted = -(0.7 + 0.1) * log_p[0] - 0.1 * log_p[1] - 0.1 * log_p[2]
    loss = objective(data, label_smoothing=0.3).loss(logits, torch.tensor([0]))
    assert loss.mean.item() == pytest.approx(wanted.item(), rel=1e-6)


def test_weights_of_labels_in_multilabel_are_torchs(toy_data):
    data = toy_data("multilabel")
    targets = targets_of(data)[:7]
    logits = logits_for(data, 7)
    own = nn.BCEWithLogitsLoss(weight=torch.tensor([1.0, 4.0, 1.0]))(logits, targets)
    same(objective(data, class_weights={"delivery": 4.0}).loss(logits, targets).mean, own, logits)


def test_balanced_weights_are_those_of_scikit_learn(toy_data):
    targets = np.array([0] * 7 + [1] * 2 + [2] * 3)
    data = with_targets(toy_data(), targets)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=targets)
    assert np.allclose(objective(data, class_weights="balanced").weights, expected)


def test_a_class_without_training_rows_has_no_balanced_weight(toy_data):
    data = with_targets(toy_data(), np.array([0, 0, 0, 2]))
    assert np.allclose(objective(data, class_weights="balanced").weights, [4 / 9, 0.0, 4 / 3])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_over_parts_of_a_batch_make_the_mean_over_the_whole(toy_data, task, weighted):
    data = toy_data(task)
    options = {"class_weights": {"refund": 5.0}} if weighted and task != "regression" else {}
    ours = objective(data, **options)
    targets, logits = targets_of(data), logits_for(data, 48)
    whole = ours.loss(logits, targets)
    parts = [ours.loss(logits[start:end], targets[start:end]) for start, end in ((0, 5), (5, 6), (6, 48))]
    assert sum(part.n_items for part in parts) == pytest.approx(whole.n_items) == pytest.approx(ours.n_items(targets))
    total = torch.stack([part.total for part in parts]).sum() / ours.n_items(targets)
    same(total, whole.mean, logits)


def test_what_losses_are_divided_by(toy_data):
    assert objective(toy_data()).n_items(torch.tensor([0, 2, 2])) == 3
    assert objective(toy_data(), class_weights={"praise": 5.0}).n_items(torch.tensor([0, 2, 2])) == 11
    assert objective(toy_data("multilabel")).n_items(torch.zeros(4, 3)) == 12
    assert objective(toy_data("regression")).n_items(torch.zeros(4)) == 4


@pytest.mark.parametrize("task", TASKS)
def test_the_loss_of_bf16_logits_is_computed_in_fp32(toy_data, task):
    data = toy_data(task)
    logits = logits_for(data, 5).detach().bfloat16()
    loss, exact = (objective(data).loss(some, targets_of(data)[:5]).total for some in (logits, logits.float()))
    assert loss.dtype == torch.float32 and torch.equal(loss, exact)


# ---------------------------------------------------------------- regression


def test_regression_trains_on_mean_0_and_variance_1(toy_data):
    data = toy_data("regression")
    targets = targets_of(data)
    mean, deviation = float(targets.mean()), float(targets.std(correction=0))
    perfect = ((targets - mean) / deviation)[:, None]
    ours = objective(data)
    assert ours.loss(perfect, targets).mean.item() == pytest.approx(0.0, abs=1e-10)
    assert ours.loss(torch.zeros(len(targets), 1), targets).mean.item() == pytest.approx(1.0, rel=1e-5)
    assert np.allclose(ours.unscale(perfect.numpy())[:, 0], targets.numpy(), rtol=1e-6)
    plain = objective(data, standardize=False)
    assert plain.loss(targets[:, None], targets).mean.item() == 0.0


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("standardize", [True, False])
def test_a_folded_layer_gives_the_unit_of_the_target(toy_data, has_bias, standardize):
    ours = objective(toy_data("regression"), standardize=standardize)
    if not has_bias:
        ours.without_bias()
    torch.manual_seed(0)
    layer, hidden = nn.Linear(8, 1, bias=has_bias), torch.randn(20, 8)
    with torch.no_grad():
        before = ours.unscale(layer(hidden).numpy())
        ours.fold(layer.weight, layer.bias)
        after = layer(hidden).numpy()
    assert np.allclose(before, after, rtol=1e-5)
    assert np.array_equal(ours.unscale(after), after)  # nothing is left to do
    targets = torch.full((20,), 12.0)
    raw = functional.mse_loss(torch.from_numpy(after)[:, 0], targets)
    assert ours.loss(torch.from_numpy(after), targets).mean.item() == pytest.approx(raw.item(), rel=1e-6)


def test_without_a_bias_the_scale_is_taken_from_zero(toy_data):
    data = toy_data("regression")
    ours = objective(data)
    ours.without_bias()
    targets = data.splits["train"].targets.astype(np.float64)
    assert (ours.mean, ours.deviation) == (0.0, pytest.approx(np.sqrt((targets**2).mean())))


def test_targets_that_are_all_the_same(toy_data):
    ours = objective(with_targets(toy_data("regression"), np.full(5, 3.0, dtype=np.float32)))
    assert (ours.mean, ours.deviation) == (3.0, 1.0)
    zeros = objective(with_targets(toy_data("regression"), np.zeros(5, dtype=np.float32)))
    zeros.without_bias()
    assert zeros.deviation == 1.0


# ---------------------------------------------------------------- what a recipe can get wrong


def test_an_unknown_class_names_the_nearest(toy_data):
    with pytest.raises(RecipeError, match="there is no class 'refunds'") as caught:
        objective(toy_data(), class_weights={"refunds": 2.0})
    assert caught.value.where == "objective.class_weights" and caught.value.fix == "did you mean 'refund'?"
    with pytest.raises(RecipeError) as caught:
        objective(toy_data("multilabel"), class_weights={"xyz": 2.0})
    assert caught.value.fix == "the classes are: refund, delivery, praise"


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_weights_are_above_0(toy_data, weight):
    with pytest.raises(RecipeError, match="weights are above 0"):
        objective(toy_data(), class_weights={"refund": weight})


def test_class_weights_are_not_for_numbers(toy_data):
    with pytest.raises(RecipeError, match="the task is regression"):
        objective(toy_data("regression"), class_weights="balanced")


@pytest.mark.parametrize(
    "options",
    [
        {"label_smoothing": 1.0},
        {"label_smoothing": -0.1},
        {"class_weights": "even"},
        {"nonsuch": 1},
        {"class_weights": {"refund": float("nan")}},
    ],
)
def test_options_are_strict(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ObjectiveConfig(**options)


# ---------------------------------------------------------------- words


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, {"O": 0.25, "B-praise": 3.0}])
def test_the_loss_of_words_is_torchs_over_those_with_a_tag(tagged_data, weights, smoothing):
    data = tagged_data()
    ours = objective(data, class_weights=weights, label_smoothing=smoothing)
    targets = targets_of(data)
    targets = targets[(targets >= 0).sum(dim=1).argsort()[:5]]
    width = int((targets >= 0).sum(dim=1).max())
    assert width < targets.shape[1] and (targets[:, :width] < 0).any()
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(5, width, 7, generator=generator, requires_grad=True)
    given = None if weights is None else torch.tensor([weights.get(label, 1.0) for label in data.schema.labels])
    own = functional.cross_entropy(
        logits.flatten(0, 1), targets[:, :width].flatten(), weight=given, label_smoothing=smoothing, ignore_index=-1
    )
    loss = ours.loss(logits, targets)
    same(loss.mean, own, logits)
    assert loss.n_items == ours.n_items(targets)
    assert weights is not None or loss.n_items == int((targets >= 0).sum())


def test_words_that_are_not_there_have_no_part_in_loss_and_gradient(tagged_data):
    ours, targets = objective(tagged_data()), torch.tensor([[0, 3], [1, -1]])
    logits = torch.randn(2, 2, 7, generator=torch.Generator().manual_seed(1))
    logits[1, 1] = torch.nan
    logits.requires_grad_()
    loss = ours.loss(logits, targets).mean
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(loss) and torch.isfinite(gradient).all()
    assert (gradient[1, 1] == 0).all() and (gradient[1, 0] != 0).all()


def test_rows_without_any_word_to_learn_from(tagged_data):
    nothing = objective(tagged_data()).loss(torch.full((2, 1, 7), torch.nan), torch.tensor([[-1], [-1]]))
    assert (float(nothing.total), nothing.n_items) == (0.0, 1.0)


def test_balanced_weights_of_tags_are_those_of_scikit_learn(tagged_data):
    data = tagged_data()
    tags = data.splits["train"].targets[data.splits["train"].targets >= 0]
    expected = compute_class_weight("balanced", classes=np.arange(7), y=tags)
    np.testing.assert_allclose(objective(data, class_weights="balanced").weights, expected)
