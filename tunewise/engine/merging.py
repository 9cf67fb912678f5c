"""An adapter and its base model written as one whole model, so that another run can begin from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunewise.commit import commit_folder
from tunewise.engine.handover import load_model
from tunewise.engine.peft_folder import merge
from tunewise.errors import ModelError
from tunewise.models.from_runs import META, manifest_digest, merged_folder
from tunewise.models.load import Net
from tunewise.models.memory import memory_told
from tunewise.types import ModuleInsert, Plan

TOLERANCE = 1e-3
"""Of the largest output, by which the merged model may differ: updates are rounded when they are added to weights."""


def merge_model(place: Path) -> Path:
    """Writes the model in a folder, merged with its base, into the folder beside it that `merged_folder` names, and
    returns that.

    Args:
        place: a model folder of tunewise that holds no whole model.

    Raises:
        ModelError: it cannot be merged; says why, and what to do.
        StoreError, CorruptError: as `load_model`; or the folder cannot be written.
    """
    with memory_told("merging the model with its base"):
        net, plan, head, _ = load_model(place, torch.device("cpu"))
        _check_merges(place, net, plan, whole=head is None)
        before = _outputs(net.model)
        model = merge(net.model) if hasattr(net.model, "merge_and_unload") else net.model
        _check_equal(place, before, _outputs(model))
    target, digest = merged_folder(place), manifest_digest(place)
    stored = json.loads((place / META).read_text(encoding="utf-8"))
    told = {**stored, "kind": "transformers", "plan": None, "merged_from": digest}

    def write(staging: Path) -> None:
        model.config.use_cache = True
        model.save_pretrained(staging)
        if net.tokenizer is not None:
            net.tokenizer.save_pretrained(staging)
        (staging / META).write_text(json.dumps(told, indent=1), encoding="utf-8")

    size = sum(parameter.numel() * 4 for parameter in model.parameters())
    commit_folder(target, write, {"kind": "transformers"}, replace=True, size=size)
    return target


def _check_merges(place: Path, net: Net, plan: Plan, whole: bool) -> None:
    why = None
    if not whole:
        why = "its classifier is not part of the model"
    elif net.prompt or any(isinstance(addition, ModuleInsert) for addition in plan.inserts):
        why = "its method puts layers or virtual tokens into the model, which are no part of its weights"
    if why is not None:
        raise ModelError(
            f"the model cannot become one with its base: {why}",
            where=str(place),
            fix="train it with a method that hands over a whole model or one that merges, such as full or lora",
        )


@torch.no_grad()
def _outputs(model: nn.Module) -> torch.Tensor:
    """What the model says of a few tokens."""
    ids_BT = torch.arange(16).reshape(2, 8) % model.get_input_embeddings().weight.shape[0]
    inputs: dict[str, Any] = {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)}
    if model.config.is_encoder_decoder and hasattr(model, "prepare_decoder_input_ids_from_labels"):
        inputs["decoder_input_ids"] = ids_BT
    return model.eval()(**inputs).logits


def _check_equal(place: Path, before: torch.Tensor, after: torch.Tensor) -> None:
    apart = float((before - after).abs().max())
    if not apart <= TOLERANCE * max(1.0, float(before.abs().max())):
        raise ModelError(
            f"the merged model gives other outputs, by {apart:.3g}",
            where=str(place),
            fix="train it with the option `merge: true`, or with a method that hands over a whole model, such as full",
        )
