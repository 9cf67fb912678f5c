"""Nets with a method applied, and their outputs, for the tests of methods that add modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import ViTConfig, ViTForImageClassification

from tunewise.data.tokenise import tokenise
from tunewise.engine.apply import choose_trained, insert
from tunewise.methods import METHODS
from tunewise.models.blocks import map_model, named_tensors
from tunewise.models.load import Net, load_net
from tunewise.models.locate import locate
from tunewise.types import Plan, Schema, Signals

SCHEMA = Schema("classification", ("message",), "label", ("a", "b", "c"))
TEXTS = [("thanks for the parcel",), ("late",), ("my refund is with the courier today",)]
FAMILIES = ["bert", "roberta", "distilbert", "modernbert", "gpt2", "llama", "t5", "deberta-v2", "electra", "mpnet"]


def net_of(folder: Path, attention: str | None = None) -> Net:
    return load_net(locate(str(folder), folder), SCHEMA, attention=attention)


def tiny_vit() -> Net:
    """A random ViT of 4 blocks, as a net without a processor."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ViTConfig(
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=64,
            image_size=8,
            patch_size=4,
            num_labels=3,
            initializer_range=0.2,
        )
        model = ViTForImageClassification(config)
    return Net(model, None, map_model(model), None, 0)


def plan_of(net: Net, name: str, **options: Any) -> Plan:
    return METHODS[name](METHODS[name].Config(**options)).plan(net.map, Signals())


def put(net: Net, name: str, **options: Any) -> set[str]:
    """Applies a method, and returns the names of what trains."""
    plan = plan_of(net, name, **options)
    insert(plan, net, seed=0)
    return {tensor.name for tensor in choose_trained(plan, net)}


def batch_of(net: Net, texts: list[tuple[str, ...]] = TEXTS) -> dict[str, torch.Tensor]:
    if net.map.modality == "image":
        return {"pixel_values": torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))}
    return tokenise(texts, net.tokenizer, net.max_length).batch(range(len(texts)))


def logits_of(net: Net, texts: list[tuple[str, ...]] = TEXTS) -> torch.Tensor:
    with torch.no_grad():
        return net.model.eval()(**batch_of(net, texts)).logits


def stir(net: Net, *parts: str) -> None:
    """Gives inserted tensors random values, so that they do something."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in named_tensors(net.model).items():
            if any(part in name for part in parts):
                tensor.normal_(std=0.3, generator=generator)


def sizes_of(net: Net, *parts: str) -> int:
    """How many numbers the tensors with these parts in their names hold."""
    return sum(tensor.numel() for name, tensor in named_tensors(net.model).items() if any(p in name for p in parts))
