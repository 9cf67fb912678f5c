"""Visual prompts: trained vectors among the patches of an image; our own, since peft has none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tunewise.methods.base import Method, MethodConfig
from tunewise.methods.parts import new_head_rules
from tunewise.types import ModelMap, ModuleInsert, Plan, Rule, Signals

if TYPE_CHECKING:
    import torch
    from torch import nn


class VisualPromptConfig(MethodConfig):
    tokens: int = Field(default=10, ge=1)
    """Number n of vectors among those of the patches."""

    depth: Literal["shallow", "deep"] = "deep"
    """shallow: they enter the first block only. deep: every block gets n of its own, in the place of the former."""


class VisualPrompt(Method):
    """Block 1 reads [x_cls; p_1 ... p_n; patches]; deep: block i reads its own p in the place of what the block before
    made of p. After the last block they are taken out, so that the head reads what it always did. p and head train."""

    name = "visual_prompt"
    group = "prompts"
    trains = "vectors among the patches of an image, and the output layers"
    source = "Jia et al. 2022, Visual Prompt Tuning"
    handover = "tunewise"
    modalities = ("image",)
    instead = "prompt_tuning"
    starts_unchanged = False
    Config = VisualPromptConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        if model.modality != "image":
            self.refuse("its vectors stand among the patches of an image, and this model reads text")
        self._check_blocks(model)
        rules = (Rule("*.visual_prompt", weight_decay=0.0), *new_head_rules(model))
        return Plan(rules, self.learning_rate(model), inserts=tuple(self._inserts(model)))

    def _inserts(self, model: ModelMap) -> Iterator[ModuleInsert]:
        paths = [block.path for block in model.blocks]
        last = len(paths) - 1
        deep = range(len(paths)) if self.config.depth == "deep" else (0,)
        tokens, bound = self.config.tokens, _bound(model)
        for (enters, leaves), group in groupby(deep, lambda place: (place == 0, place == last)):
            options = {"tokens": tokens, "width": model.width, "enters": enters, "leaves": leaves, "bound": bound}
            where = tuple(paths[place] for place in group)
            yield ModuleInsert("tunewise.methods.visual_prompt:with_visual_prompt", where, options, positions=tokens)
        if last not in deep:
            build = "tunewise.methods.visual_prompt:without_visual_prompt"
            yield ModuleInsert(build, (paths[last],), {"tokens": tokens})

    def _check_blocks(self, model: ModelMap) -> None:
        shapes = {tuple(tensor.shape for tensor in block.tensors) for block in model.blocks}
        if len(shapes) > 1 or not all(block.attention for block in model.blocks):
            self.refuse(f"not every block of a '{model.family}' model attends to all patches, and to more", "bitfit")
        if any("relative_position" in tensor.name for tensor in model.tensors):
            self.refuse(
                f"the blocks of a '{model.family}' model know where each patch is, and take no others", "bitfit"
            )

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """5e-3: half of what vectors in front of a text take, since every block has its own."""
        return 5e-3


def _bound(model: ModelMap) -> float:
    """sqrt(6 / (patch + d)): what Glorot and Bengio draw the weights from that make a vector (d) of a patch."""
    patches = (tensor.shape for tensor in model.embedding if len(tensor.shape) == 4)
    patch = next((math.prod(shape[1:]) for shape in patches), model.width)
    return math.sqrt(6 / (patch + model.width))


def with_visual_prompt(
    module: nn.Module, tokens: int, width: int, bound: float, enters: bool, leaves: bool
) -> nn.Module:
    """Wraps a block: it reads `tokens` vectors of its own behind the first token; in the place of as many, unless it is
    where they enter. `leaves`: they are taken out again behind it."""
    import torch
    from torch import nn

    from tunewise.models.wrapped import Wrapped

    class Prompted(Wrapped):
        def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            table_BND = self.visual_prompt.to(hidden_states.dtype).expand(len(hidden_states), -1, -1)
            patches_BTD = hidden_states[:, 1 if enters else 1 + tokens :]
            output = self.base_layer(torch.cat([hidden_states[:, :1], table_BND, patches_BTD], 1), *args, **kwargs)
            return _taken_out(output, tokens) if leaves else output

    wrapped = Prompted(module)
    wrapped.visual_prompt = nn.Parameter(torch.empty(1, tokens, width).uniform_(-bound, bound))
    return wrapped.to(next(module.parameters()).device)


def without_visual_prompt(module: nn.Module, tokens: int) -> nn.Module:
    """Wraps a block so that `tokens` vectors behind the first token are taken out of what it gives."""
    from tunewise.models.wrapped import Wrapped

    class Unprompted(Wrapped):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return _taken_out(self.base_layer(*args, **kwargs), tokens)

    return Unprompted(module)


def _taken_out(output: Any, tokens: int) -> Any:
    """The output of a block, a tensor or a tuple that begins with one, without the prompt."""
    import torch

    if isinstance(output, tuple):
        return (_taken_out(output[0], tokens), *output[1:])
    return torch.cat([output[:, :1], output[:, 1 + tokens :]], dim=1)
