"""What every method must do: tests that a new one gets by standing in METHODS."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from tunewise.commit import Series
from tunewise.engine.apply import insert
from tunewise.engine.device import Tuned
from tunewise.engine.events import Observer, Observers, Planned, Step
from tunewise.engine.settings import TrainConfig
from tunewise.engine.stop import Stop
from tunewise.engine.strengths import GRIDS
from tunewise.engine.train import Job, Trained, outputs, train
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.metrics import default_metric
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.methods import METHODS
from tunewise.models.blocks import named_tensors
from tunewise.models.load import Net, load_net
from tunewise.models.locate import locate
from tunewise.objectives import make_objective
from tunewise.objectives.settings import ObjectiveConfig
from tunewise.types import DataBundle, Plan, Split

TEXT_METHODS = [
    name for name, method in METHODS.items() if "text" in method.modalities and all(map(find_spec, method.packages))
]
TASKS = ["classification", "multilabel", "regression"]
# Decay is high, so that a frozen tensor that decays would show.
CONFIG = TrainConfig(max_steps=32, batch_size=12, weight_decay=0.3, keep_best=False, learning_rate=1e-3)


class Watcher(Observer):
    def __init__(self) -> None:
        self.trainable: list[int] = []
        self.losses: list[float] = []

    def on_planned(self, event: Planned) -> None:
        self.trainable.append(event.trainable_parameters)

    def on_step(self, event: Step) -> None:
        self.losses.append(event.loss)


def net_of(folder, data: DataBundle) -> Net:
    return load_net(locate(str(folder), folder), data.schema, seed=0)


def trained_by(
    name: str, folder, data: DataBundle, tmp_path, watcher: Observer, config: TrainConfig = CONFIG
) -> Trained:
    method = METHODS[name]
    # ulmfit's is the rate of the output layers; that of the blocks falls from there.
    # Prompts and prefixes start far from what they come to be, and twenty of their tokens drown texts of ten words.
    # A vector of VeRA or IA3 moves little by itself.
    high = ("head", "mlp_head", "prompt_tuning", "p_tuning", "prefix_tuning", "vera", "ia3")
    rate = {} if name == "features" else {"learning_rate": {"ulmfit": 2e-2}.get(name, 1e-2 if name in high else 1e-3)}
    fewer = {"tokens": 4} if "tokens" in method.Config.model_fields else {}
    job = Job(
        objective=make_objective(ObjectiveConfig(), data),
        data=data,
        evaluator=Evaluator(data.schema, EvaluateConfig(), tmp_path),
        metric=default_metric(data.schema.task),
        config=config,
        tuned=Tuned("cpu", "fp32", 1),
        seed=0,
        observers=Observers([watcher]),
        label=name,
        checkpoints=Series(tmp_path / name),
        stop=Stop(),
        fingerprint="test",
    )
    return train(net_of(folder, data), method(method.Config(**rate, **fewer)), job)


def loss_of(logits_NC: np.ndarray, split: Split, task: str) -> float:
    """Cross-entropy, binary cross-entropy, or mean squared error in units of the variance."""
    logits, targets = torch.from_numpy(np.asarray(logits_NC, dtype=np.float64)), torch.from_numpy(split.targets)
    if task == "classification":
        return float(torch.nn.functional.cross_entropy(logits, targets))
    if task == "multilabel":
        return float(torch.nn.functional.binary_cross_entropy_with_logits(logits, targets.double()))
    return float(((logits[:, 0] - targets) ** 2).mean() / split.targets.var())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", TEXT_METHODS)
def test_it_learns_and_changes_what_it_planned_and_nothing_else(name, task, tiny_bert, toy_data, tmp_path):
    data, watcher = toy_data(task), Watcher()
    base = net_of(tiny_bert, data)
    before = {key: tensor.detach().clone() for key, tensor in named_tensors(base.model).items()}
    train_split = data.splits["train"]
    trained = trained_by(name, tiny_bert, data, tmp_path, watcher)

    # It learns: from the loss of the best constant, which says nothing of a row, or from the untrained model.
    after = loss_of(trained.outputs(train_split.texts, 16, lambda: None), train_split, task)
    start = (
        loss_of(outputs(base, trained.plan, None, train_split.texts, 16), train_split, task)
        if (trained.head is None)
        else {"classification": np.log(3), "multilabel": np.log(2), "regression": 1.0}[task]
    )
    assert after < 0.97 * start, (start, after)
    if trained.head is None:
        epoch = 4  # steps: so all rows count once in either mean, under dropout
        assert np.mean(watcher.losses[-epoch:]) < np.mean(watcher.losses[:epoch])

    # What no plan of its trains is bit for bit as it was; what one trains has moved.
    plans = [Plan.from_dict(entry) for entry in trained.plans]
    if name in ("pissa", "qlora"):  # they take the weights apart, or round them, before the first step
        insert(plans[0], base, seed=0)
        before = {key: tensor.detach().clone() for key, tensor in named_tensors(base.model).items()}
    now = named_tensors(trained.net.model)
    planned = {key for key in now if any(plan.rule_for(key) for plan in plans)}
    for key, tensor in before.items():
        if key not in planned:
            assert torch.equal(now[key], tensor), f"{key} changed"
    moved = {key for key in before if not torch.equal(now[key], before[key])}
    # A key's bias moves attention by nothing at all, so its gradient is rounding only.
    assert {key for key in planned & before.keys() if not key.endswith("key.bias")} <= moved
    assert all(key in planned for key in now.keys() - before.keys() if trained.plan.rule_for(key))


@pytest.mark.parametrize("name", TEXT_METHODS)
def test_what_it_costs_is_told(name, tiny_bert, toy_data, tmp_path):
    data, watcher = toy_data(), Watcher()
    config = CONFIG.model_copy(update={"max_steps": 12})
    trained = trained_by(name, tiny_bert, data, tmp_path, watcher, config)
    # Another test may have made the features: then that run spent the FLOPs.
    assert trained.forward_flops + trained.elsewhere_flops > 0 and trained.seconds > 0
    assert (trained.backward_flops > 0) == (trained.head is None)
    assert 0 < trained.trainable_parameters <= trained.total_parameters
    assert trained.trainable_parameters == max(entry["trainable_parameters"] for entry in trained.plans)
    steps = [entry["step"] for entry in trained.plans]
    assert steps[0] == 0 and steps == sorted(set(steps))


@pytest.mark.parametrize("name", TEXT_METHODS)
def test_the_same_seed_gives_the_same_model(name, tiny_bert, toy_data, tmp_path):
    data, results = toy_data(), []
    config = CONFIG.model_copy(update={"max_steps": 5})
    for place in ("a", "b"):
        trained = trained_by(name, tiny_bert, data, tmp_path / place, Watcher(), config)
        results.append(trained.outputs(data.splits["test"].texts, 16, lambda: None))
    assert np.array_equal(*results)


@pytest.mark.parametrize("name", TEXT_METHODS)
def test_pairs_of_texts(name, tiny_bert, toy_data, tmp_path):
    data = toy_data(pairs=True)
    config = CONFIG.model_copy(update={"max_steps": 3})
    trained = trained_by(name, tiny_bert, data, tmp_path, Watcher(), config)
    logits_NC = trained.outputs(data.splits["test"].texts, 16, lambda: None)
    assert logits_NC.shape == (18, 3) and np.isfinite(logits_NC).all()


@pytest.mark.parametrize(
    ("family", "name"), [("gpt2", "full"), ("gpt2", "lora"), ("llama", "adapter"), ("roberta", "lora"), ("t5", "full")]
)
def test_regression_with_other_families_learns_and_gives_values_in_the_unit_of_the_target(
    name, family, tiny_model, toy_data, tmp_path
):
    """The scale is folded into the output layer, which has no bias in decoders."""
    data, watcher = toy_data("regression"), Watcher()
    config = CONFIG.model_copy(update={"max_steps": 24})
    trained = trained_by(name, tiny_model(family), data, tmp_path, watcher, config)
    assert np.mean(watcher.losses[-8:]) < np.mean(watcher.losses[:8])
    targets, split = data.splits["train"].targets.astype(np.float64), data.splits["validation"]
    square = np.square(targets).mean() if family in ("gpt2", "llama") else targets.var()
    values = trained.outputs(split.texts, 16, lambda: None)[:, 0]
    loss = np.square(values - split.targets).mean() / square
    assert loss == pytest.approx(trained.curve[-1]["validation_loss"], rel=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "llama", "roberta", "t5", "albert"])
def test_features_of_other_families(family, tiny_model, toy_data, tmp_path, monkeypatch):
    monkeypatch.setitem(GRIDS, "ridge", (1.0,))
    data = toy_data("regression")
    trained = trained_by("features", tiny_model(family), data, tmp_path, Watcher())
    split = data.splits["train"]
    assert loss_of(trained.outputs(split.texts, 16, lambda: None), split, "regression") < 0.9
