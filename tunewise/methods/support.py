"""What is known of methods and kinds of models: the support matrix that `tunewise conformance` found.

It holds for a method with its default options and a model of the usual form of its kind (its `model_type`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

LANGUAGE = "-lm"
"""Ends the name of a kind of model that gives the next token: `llama-lm` is not what the classifier `llama` is."""


@dataclass(frozen=True)
class Support:
    """What came of a method with a kind of model. Where it is refused: why, and the nearest method that works."""

    status: Literal["works", "refused"]
    reason: str | None = None
    instead: str | None = None


class SupportMatrix:
    """The pairs that were tried.

    Attributes:
        families: the kinds of models, by `model_type`.
        language_families: those that give the next token, by `model_type` and `LANGUAGE`.
        made_with: versions of the libraries with which it was found.
    """

    def __init__(self, content: Mapping[str, Any]):
        self.made_with: dict[str, str] = dict(content["made_with"])
        self._pairs = {
            (pair["method"], pair["model"]): Support(pair["status"], pair["reason"], pair["instead"])
            for pair in content["pairs"]
        }
        tried = tuple(dict.fromkeys(family for _, family in self._pairs))
        self.families = tuple(family for family in tried if not family.endswith(LANGUAGE))
        self.language_families = tuple(family for family in tried if family.endswith(LANGUAGE))

    def get(self, method: str, family: str) -> Support | None:
        """What is known of a pair; None where it was not tried."""
        return self._pairs.get((method, family))

    def of(self, method: str) -> dict[str, Support]:
        """By kind of model."""
        tried = (*self.families, *self.language_families)
        return {family: pair for family in tried if (pair := self.get(method, family))}


@cache
def support_matrix() -> SupportMatrix:
    """The matrix of this version of tunewise."""
    return SupportMatrix(json.loads(files("tunewise.methods").joinpath("support.json").read_text(encoding="utf-8")))
