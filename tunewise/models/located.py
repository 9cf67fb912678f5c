"""A model folder that has passed the checks of `models.locate`, and of which kind its model is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LocatedModel:
    """A model folder that has passed the checks.

    `name` is what the recipe says, `path` the folder it stands for, `config` the content of its config.json, `note`
    a line for the log where the two differ, `fingerprint` a sha256 over the config and the sizes and headers of the
    weight files, `weights_bytes` what all weights take as fp32.
    """

    name: str
    path: Path
    config: dict[str, Any]
    fingerprint: str
    note: str | None = None
    weights_bytes: int = 0

    @property
    def family(self) -> str:
        return family_of(self.config)


def family_of(config: Mapping[str, Any]) -> str:
    """The kind of model, by its `model_type`; of a model of timm, by the first word of its architecture: `timm-vgg`."""
    if is_timm(config):
        return f"timm-{re.match(r'[a-z]*', str(config['architecture'])).group()}"
    return str(config.get("model_type", "unknown"))


def is_timm(config: Mapping[str, Any]) -> bool:
    """Whether timm makes the model; its own files do not name a model_type."""
    made = config.get("model_type") == "timm_wrapper" or ("model_type" not in config and "pretrained_cfg" in config)
    return made and isinstance(config.get("architecture"), str)
