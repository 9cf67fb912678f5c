"""Layers in which an output has no weights but zeros, as pruning and some pretraining leave them: DoRA divides by the
norm of an output's weights, so that such a layer would give NaN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from tunewise.models.load import Net

NAMED = 3


def without_dead_filters(options: Mapping[str, Any], net: Net) -> dict[str, Any]:
    """The options of peft's configuration, with DoRA at the layers alone in which every output has a direction; the
    net's notes say which are left as they are."""
    if not options.get("use_dora"):
        return dict(options)
    paths = options["target_modules"]
    dead = [path for path in paths if has_dead_output(net.model.get_submodule(path))]
    if dead:
        named = ", ".join(dead[:NAMED]) + (", ..." if len(dead) > NAMED else "")
        net.note(
            f"{len(dead):,} of {len(paths):,} layers have outputs whose weights are all zero, which have no direction "
            f"for DoRA to change, and are left as they are: {named}"
        )
    return {**options, "target_modules": [path for path in paths if path not in dead]}


def has_dead_output(layer: torch.nn.Module) -> bool:
    """Whether all weights of an output are zero."""
    weight_OI = layer.weight.detach().T if isinstance(layer, Conv1D) else layer.weight.detach()
    return not bool(weight_OI.flatten(1).any(dim=1).all())
