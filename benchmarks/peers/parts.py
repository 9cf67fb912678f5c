"""What each method changes about a BERT classifier, as the guides write it by hand or with peft.

Where peft has a method, peft's is taken; where nobody has one, the few lines that a guide prints.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, Trainer, TrainerCallback

DECAY = 0.8  # of the learning rate from one layer to the one below
VIRTUAL_TOKENS = 20
BOTTLENECK = 8  # the model's width divided by this
LORA = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.1, "target_modules": ["query", "value"]}
METHODS = (
    "head",
    "last_k",
    "full",
    "layerwise",
    "gradual",
    "lora",
    "adapter",
    "prefix_tuning",
    "prompt_tuning",
    "norms",
    "bitfit",
)


def apply_method(method: str, model: PreTrainedModel) -> nn.Module:
    """Freezes and inserts; returns the model to train. Output layers (pooler and classifier) train in every method.

    Raises:
        ValueError: there is no such method here.
    """
    if method not in METHODS:
        raise ValueError(f"the peers have no method '{method}'")
    if method in ("lora", "prefix_tuning", "prompt_tuning"):
        return _with_peft(method, model)
    if method == "adapter":
        _insert_bottlenecks(model)
    trains = _rule(method, len(model.bert.encoder.layer))
    for name, parameter in model.named_parameters():
        parameter.requires_grad = trains(name)
    return model


def _rule(method: str, depth: int) -> Callable[[str], bool]:
    rules: dict[str, Callable[[str], bool]] = {
        "head": lambda name: False,
        "last_k": lambda name: name.startswith(tuple(f"bert.encoder.layer.{n}." for n in (depth - 2, depth - 1))),
        "adapter": lambda name: "bottleneck" in name or ("LayerNorm" in name and "encoder" in name),
        "norms": lambda name: "LayerNorm" in name,
        "bitfit": lambda name: name.endswith("bias"),
    }
    rule = rules.get(method, lambda name: True)  # full, layerwise and gradual begin with everything
    return lambda name: is_head(name) or rule(name)


def is_head(name: str) -> bool:
    """Whether a tensor belongs to the output layers: pooler and classifier."""
    return "pooler" in name or name.startswith("classifier") or ".classifier" in name


def _with_peft(method: str, model: PreTrainedModel) -> nn.Module:
    from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model

    if method == "lora":
        return get_peft_model(model, LoraConfig(task_type="SEQ_CLS", modules_to_save=["classifier", "pooler"], **LORA))
    kind = PrefixTuningConfig if method == "prefix_tuning" else PromptTuningConfig
    wrapped = get_peft_model(model, kind(task_type="SEQ_CLS", num_virtual_tokens=VIRTUAL_TOKENS))
    for name, parameter in wrapped.named_parameters():
        if "pooler" in name:
            parameter.requires_grad = True
    return wrapped


class Bottleneck(nn.Module):
    """A linear layer, and a bottleneck with a residual connection behind it; starts as the layer alone."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.linear = linear
        width = linear.out_features
        self.bottleneck_down = nn.Linear(width, max(1, width // BOTTLENECK))
        self.bottleneck_up = nn.Linear(max(1, width // BOTTLENECK), width)
        nn.init.normal_(self.bottleneck_down.weight, std=0.02)
        for tensor in (self.bottleneck_down.bias, self.bottleneck_up.weight, self.bottleneck_up.bias):
            nn.init.zeros_(tensor)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        out = self.linear(hidden)
        return out + self.bottleneck_up(nn.functional.gelu(self.bottleneck_down(out)))


def _insert_bottlenecks(model: PreTrainedModel) -> None:
    """After attention and after feed-forward of every block (Houlsby et al. 2019)."""
    for layer in model.bert.encoder.layer:
        layer.attention.output.dense = Bottleneck(layer.attention.output.dense)
        layer.output.dense = Bottleneck(layer.output.dense)


def layerwise_groups(model: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: the top block at `DECAY` of the rate, the embedding lowest."""
    depth = len(model.bert.encoder.layer)
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if is_head(name):
            below = 0
        elif ".layer." in name:
            below = depth - int(name.split(".layer.")[1].split(".")[0])
        else:
            below = depth + 1
        groups.setdefault(learning_rate * DECAY**below, []).append(parameter)
    return [{"params": parameters, "lr": rate} for rate, parameters in groups.items()]


class GradualUnfreezing(TrainerCallback):
    """Trains the output layers first and one group more at even distances, all by half of the training."""

    def __init__(self, model: nn.Module):
        depth = len(model.bert.encoder.layer)
        paths = [f"bert.encoder.layer.{number}." for number in reversed(range(depth))]
        named = list(model.named_parameters())
        blocks = [[tensor for name, tensor in named if name.startswith(path)] for path in paths]
        embedding = [tensor for name, tensor in named if name.startswith("bert.embeddings.")]
        self.frozen = [*blocks, embedding]

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        phases = len(self.frozen)
        for number, group in enumerate(self.frozen, start=1):
            trains = state.global_step >= round(number * 0.5 * state.max_steps / phases)
            for parameter in group:
                parameter.requires_grad = trains


def add_schedule(method: str, trainer: Trainer, expert: bool) -> None:
    """What needs more than freezing: rates by layer, and unfreezing by steps."""
    if method == "layerwise":
        rate = trainer.args.learning_rate
        trainer.optimizer = torch.optim.AdamW(layerwise_groups(trainer.model, rate), weight_decay=0.0, fused=expert)
    if method == "gradual":
        trainer.add_callback(GradualUnfreezing(trainer.model))
