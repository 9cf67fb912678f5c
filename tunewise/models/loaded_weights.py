"""What came out of a checkpoint: nothing missing that was pretrained, and no weight that is not finite."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from tunewise.errors import ModelError
from tunewise.models.blocks import named_tensors
from tunewise.models.finite_values import all_finite
from tunewise.models.located import LocatedModel
from tunewise.models.weights_files import check_weights
from tunewise.types import ModelMap


def check_loaded(model: nn.Module, model_map: ModelMap, located: LocatedModel) -> None:
    """Only poolers and output layers may be new: many checkpoints come without them.

    Raises:
        ModelError: others are missing, or a weight is not finite.
    """
    body = {tensor.name for group in model_map.groups[:-1] for tensor in group}
    inside = f"{model.base_model_prefix}."
    body |= {t.name for t in model_map.head if t.name.startswith(inside) and ".pooler." not in t.name}
    if model_map.family.startswith("timm-"):  # the output layer is part of what timm makes
        body -= {t.name for t in model_map.head if t.shape[:1] == (model.config.num_labels,)}
    if lost := [tensor.name for tensor in model_map.tensors if tensor.name in body and not tensor.pretrained]:
        raise ModelError(
            f"the weights of {len(lost)} tensors are missing or have other shapes: {', '.join(lost[:3])}",
            where=str(located.path),
            fix="check that config.json and weights belong together",
        )
    for name, parameter in named_tensors(model).items():
        if not all_finite(parameter):
            raise ModelError(
                f"the weights hold NaN or infinity in {name}",
                where=str(_file_of(name, located)),
                fix="download the model again, or take another checkpoint",
            )


def _file_of(name: str, located: LocatedModel) -> Path:
    """The file that holds a tensor; checkpoints often leave the first part of its name out."""
    for file, header in check_weights(located.path).items():
        if any(name == stored or name.endswith(f".{stored}") for stored in header):
            return located.path / file
    return located.path
