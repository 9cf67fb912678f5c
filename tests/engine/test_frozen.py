"""What a plan leaves alone stays as it is, and runs without dropout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training_bench import At, Setup

from tunewise.engine.optim import Optimizer

HEADS = {
    "bert": ("bert.pooler.", "classifier."),
    "distilbert": ("pre_classifier.", "classifier."),
    "gpt2": ("transformer.ln_f.", "score."),
}
BLOCKS = {"bert": "bert.encoder.layer", "distilbert": "distilbert.transformer.layer", "gpt2": "transformer.h"}


def trains(method: str, family: str) -> Callable[[str], bool]:
    """Whether a tensor should move, told from its name."""
    top = f"{BLOCKS[family]}.1."
    rules = {
        "head": lambda name: name.startswith(HEADS[family]),
        "last_k": lambda name: name.startswith((*HEADS[family], top)),
        "lora": lambda name: name.startswith(HEADS[family]) or ".lora_" in name,
        "adapter": lambda name: name.startswith(HEADS[family]) or ".adapter_" in name or _is_norm(name, family),
    }
    return rules[method]


def _is_norm(name: str, family: str) -> bool:
    norms = ("LayerNorm", "layer_norm", ".ln_")
    return name.startswith(BLOCKS[family]) and any(norm in name for norm in norms)


@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2"])
@pytest.mark.parametrize("method", ["head", "last_k", "lora", "adapter"])
def test_only_what_the_plan_names_moves(method: str, family: str, training: Callable[..., Setup]) -> None:
    options = {"k": 1} if method == "last_k" else {}
    setup = training(method, family=family, options=options, epochs=1, keep_best=False, weight_decay=0.1)
    before: dict[str, torch.Tensor] = {}
    setup.job.observers._watching.insert(0, At(1, lambda: before.update(setup.weights)))
    pretrained = setup.weights
    setup.train()
    moves = trains(method, family)
    for name, tensor in setup.weights.items():
        if name in pretrained and not moves(name):
            assert torch.equal(tensor, pretrained[name]), name
        elif moves(name):
            # Adam gives no step to a tensor whose gradient is 0: the keys' bias, which a softmax does not see.
            still = name.endswith(("key.bias", "k_lin.bias"))
            assert still or not torch.equal(tensor, before[name]), name


def modes(setup: Setup) -> dict[str, bool]:
    """Whether each dropout is on, seen while a step of the training runs."""
    seen: dict[str, bool] = {}
    steps: list[dict[str, bool]] = []
    for name, module in setup.net.model.named_modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(lambda module, _, __, name=name: seen.update({name: module.training}))
    setup.job.observers._watching.append(At(1, lambda: steps.append(dict(seen))))
    setup.train()
    return steps[0]


@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2"])
@pytest.mark.parametrize("method", ["head", "last_k", "full"])
def test_dropout_is_off_below_what_trains(method: str, family: str, training: Callable[..., Setup]) -> None:
    options = {"k": 1} if method == "last_k" else {}
    setup = training(method, family=family, options=options, dropout=0.3, max_steps=1)
    seen = modes(setup)
    blocks = BLOCKS[family]
    frozen = {
        "head": (blocks, "bert.embeddings", "distilbert.embeddings", "transformer.drop"),
        "last_k": (f"{blocks}.0", "bert.embeddings", "distilbert.embeddings", "transformer.drop"),
        "full": (),
    }[method]
    assert len(seen) > 3
    assert seen == {name: not name.startswith(frozen) if frozen else True for name in seen}


def test_prefix_gives_the_same_in_every_epoch(training: Callable[..., Setup]) -> None:
    """The output of the frozen blocks for a batch does not depend on the random numbers."""
    setup = training("head", dropout=0.5, epochs=2, batch_size=48, group_by_length=False, cache=False)
    outputs: list[Any] = []
    top = setup.net.model.get_submodule("bert.encoder.layer.1")
    top.register_forward_hook(lambda module, _, out: outputs.append(out if torch.is_tensor(out) else out[0]))
    setup.train()
    first, second = (out.detach() for out in outputs if len(out) == 48)
    torch.testing.assert_close(first.pow(3).sum(), second.pow(3).sum(), rtol=1e-5, atol=1e-4)


def test_validation_leaves_the_modes_as_they_were(training: Callable[..., Setup]) -> None:
    setup = training("last_k", options={"k": 1}, dropout=0.3, epochs=1, evaluate_every=2, cache=False)
    seen: dict[str, set[bool]] = defaultdict(set)
    for name, module in setup.net.model.named_modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(
                lambda module, _, __, name=name: seen[name].add(module.training) if torch.is_grad_enabled() else None
            )
    setup.train()
    assert len(seen) > 3
    assert all(len(found) == 1 for found in seen.values())


def test_gradual_keeps_the_moments_of_what_trains_on(
    training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]] = []
    real = Optimizer.regroup

    def regroup(self: Optimizer, tensors: Any, *rates: Any) -> None:
        names = {tensor.name: tensor.parameter for tensor in (*self.tensors, *tensors)}
        before = {key: value.clone() for key, value in self.state(names).items()}
        real(self, tensors, *rates)
        states.append((before, {key: value.clone() for key, value in self.state(names).items()}))

    monkeypatch.setattr(Optimizer, "regroup", regroup)
    setup = training("gradual", epochs=3, save_steps=18)
    setup.train()
    assert len(states) == 3
    for before, after in states:
        assert before.keys() == after.keys()
        assert all(torch.equal(value, after[key]) for key, value in before.items())
    stored = load_file(setup.job.checkpoints.latest() / "optimizer.safetensors")
    counted = {key.removesuffix("|step"): int(value) for key, value in stored.items() if key.endswith("|step")}
    assert counted["classifier.weight"] == 18
    assert counted["bert.encoder.layer.1.output.dense.weight"] == 15
    assert counted["bert.encoder.layer.0.output.dense.weight"] == 12
    assert counted["bert.embeddings.position_embeddings.weight"] == 9
