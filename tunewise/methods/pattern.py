"""Tensors chosen by name."""

from __future__ import annotations

import difflib
from typing import Annotated

from pydantic import Field

from tunewise.errors import MethodError
from tunewise.methods.base import Method, MethodConfig
from tunewise.types import ModelMap, Plan, Rule, Signals


class PatternConfig(MethodConfig):
    train: list[str] | dict[str, Annotated[float, Field(gt=0)]] = Field(default=["*"], min_length=1)
    """Shell patterns over the names of tensors (`*` matches any run of characters, dots too), or patterns with a factor
    on the learning rate of each, as in `{"*.attention.*": 1, "*.LayerNorm.*": 10}`. The first that matches a tensor
    decides."""

    head: bool = True
    """Train the output layers too, where no pattern matches them."""


class Pattern(Method):
    """Any part of the model, for which there is no method of its own."""

    name = "pattern"
    group = "full and partial"
    trains = "tensors whose names match given patterns, and the output layers"
    source = "Shen et al. 2021, Partial Is Better Than All: Revisiting Fine-Tuning Strategy for Few-Shot Learning"
    Config = PatternConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        train = self.config.train
        factors = train if isinstance(train, dict) else dict.fromkeys(train, 1.0)
        patterns = Plan(rules=tuple(Rule(*each) for each in factors.items()), learning_rate=0.0)
        chosen = {tensor.name: patterns.rule_for(tensor.name) for tensor in model.tensors}
        self._check(patterns.rules, chosen)
        if self.config.head:
            chosen |= {tensor.name: chosen[tensor.name] or Rule(tensor.name) for tensor in model.head}
        rules = [Rule(name, rule.lr_scale) for name, rule in chosen.items() if rule]
        return Plan(rules=tuple(rules), learning_rate=self.learning_rate(model))

    def _check(self, patterns: tuple[Rule, ...], chosen: dict[str, Rule | None]) -> None:
        """Every pattern must decide about some tensor: one that does not is a slip of the pen."""
        for rule in patterns:
            if rule in chosen.values():
                continue
            if any(rule.matches(name) for name in chosen):
                raise MethodError(
                    f"pattern: '{rule.pattern}' decides nothing: patterns before it take every tensor that it matches",
                    fix="put it before them, or remove it",
                )
            raise MethodError(
                f"pattern: no tensor of the model has a name that matches '{rule.pattern}'",
                fix=f"the nearest names are {', '.join(_nearest(rule.pattern, chosen))}",
            )


def _nearest(pattern: str, names: dict[str, Rule | None], count: int = 3) -> list[str]:
    """The names with a part most like what the pattern says between its outer stars."""
    said = pattern.strip("*.")
    parts = said.count(".") + 1

    def likeness(name: str) -> float:
        split = name.split(".")
        windows = [".".join(split[start : start + parts]) for start in range(max(1, len(split) - parts + 1))]
        return max(difflib.SequenceMatcher(None, window, said).ratio() for window in windows)

    return sorted(names, key=likeness, reverse=True)[:count]
