"""All methods. Adding one is one file in this folder and one line in METHODS."""

from __future__ import annotations

import difflib

from tunewise.errors import RecipeError
from tunewise.methods.adapter import Adapter
from tunewise.methods.base import Method, MethodConfig
from tunewise.methods.features import Features
from tunewise.methods.full import Full
from tunewise.methods.gradual import Gradual
from tunewise.methods.head import Head
from tunewise.methods.last_k import LastK
from tunewise.methods.layerwise import Layerwise
from tunewise.methods.lora import Lora
from tunewise.methods.scratch import Scratch

METHODS: dict[str, type[Method]] = {
    method.name: method for method in (Features, Head, LastK, Full, Layerwise, Gradual, Lora, Adapter, Scratch)
}


def find_method(name: str) -> type[Method]:
    """The method of that name.

    Raises:
        RecipeError: there is none; names the nearest.
    """
    if name in METHODS:
        return METHODS[name]
    near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.5)
    raise RecipeError(
        f"there is no method '{name}'",
        fix=(f"did you mean '{near[0]}'? " if near else "") + f"The methods are: {', '.join(METHODS)}",
    )


__all__ = ["METHODS", "Method", "MethodConfig", "find_method"]
