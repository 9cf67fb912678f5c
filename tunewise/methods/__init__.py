"""All methods. Adding one is one file in this folder and one line in METHODS, or a package with an entry point."""

from __future__ import annotations

import difflib

from tunewise.errors import RecipeError
from tunewise.methods.adapter import Adapter
from tunewise.methods.adaptive import Adaptive
from tunewise.methods.attention import Attention
from tunewise.methods.base import Method, MethodConfig
from tunewise.methods.bitfit import BitFit
from tunewise.methods.blocks import Blocks
from tunewise.methods.chain_thaw import ChainThaw
from tunewise.methods.chosen_blocks import ChosenBlocks
from tunewise.methods.dora import Dora
from tunewise.methods.features import Features
from tunewise.methods.feed_forward import FeedForward
from tunewise.methods.fisher_norms import FisherNorms
from tunewise.methods.full import Full
from tunewise.methods.gradual import Gradual
from tunewise.methods.head import Head
from tunewise.methods.ia3 import Ia3
from tunewise.methods.inserted_blocks import InsertedBlocks
from tunewise.methods.installed import Methods
from tunewise.methods.ladder import Ladder
from tunewise.methods.last_k import LastK
from tunewise.methods.layerwise import Layerwise
from tunewise.methods.lora import Lora
from tunewise.methods.lora_plus import LoraPlus
from tunewise.methods.lp_ft import LpFt
from tunewise.methods.mlp_head import MlpHead
from tunewise.methods.norms import Norms
from tunewise.methods.oft import Oft
from tunewise.methods.output_norm import OutputNorm
from tunewise.methods.p_tuning import PTuning
from tunewise.methods.pattern import Pattern
from tunewise.methods.pissa import Pissa
from tunewise.methods.prefix_tuning import PrefixTuning
from tunewise.methods.prompt_tuning import PromptTuning
from tunewise.methods.qlora import Qlora
from tunewise.methods.scratch import Scratch
from tunewise.methods.ulmfit import Ulmfit
from tunewise.methods.vera import Vera
from tunewise.methods.visual_prompt import VisualPrompt

METHODS = Methods(
    (
        Features,
        Head,
        LastK,
        Blocks,
        ChosenBlocks,
        Attention,
        FeedForward,
        Pattern,
        Full,
        Layerwise,
        Gradual,
        Ulmfit,
        ChainThaw,
        LpFt,
        Norms,
        OutputNorm,
        FisherNorms,
        BitFit,
        Adaptive,
        Lora,
        LoraPlus,
        Dora,
        Pissa,
        Vera,
        Oft,
        Ia3,
        Qlora,
        PromptTuning,
        PTuning,
        PrefixTuning,
        VisualPrompt,
        Adapter,
        MlpHead,
        InsertedBlocks,
        Ladder,
        Scratch,
    )
)
"""By name: tunewise's own in the order of what they train, then those of installed packages."""

DEFAULT = ("features", "head", "last_k", "full", "layerwise", "gradual", "lora", "adapter", "scratch")
"""What is compared where a recipe names no methods: one or two of each kind, and the control."""


def find_method(name: str) -> type[Method]:
    """The method of that name.

    Raises:
        RecipeError: there is none; names the nearest, or says why that of an installed package cannot be used.
    """
    if name in METHODS:
        return METHODS[name]
    if problem := METHODS.why_left_out(name):
        raise RecipeError(problem, fix="update or uninstall the package, or tell its author")
    near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.5)
    raise RecipeError(
        f"there is no method '{name}'",
        fix=(f"did you mean '{near[0]}'? " if near else "") + f"The methods are: {', '.join(METHODS)}",
    )


__all__ = ["DEFAULT", "METHODS", "Method", "MethodConfig", "find_method"]
