"""What the methods have in common that peft inserts at layers of the blocks: where they go, what trains, merging."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field

from tunewise.errors import MethodError
from tunewise.methods.base import Method, MethodConfig
from tunewise.methods.parts import new_head_rules
from tunewise.types import Block, ModelMap, PeftInsert, Plan, Rule, Signals


class HeadConfig(MethodConfig):
    head_rate: float = Field(default=1.0, gt=0)
    """Factor on the learning rate of the output layers."""


class TargetsConfig(HeadConfig):
    targets: Literal["all-linear", "attention", "feed-forward"] | list[str] = Field(default="all-linear", min_length=1)
    """Layers that get an update: all linear layers of every block (in a net without linear layers: all convolutions),
    those of one half, or names they end with. Convolutions in groups, such as depthwise ones, have hardly anything to
    update, and are left as they are."""


class MergeConfig(HeadConfig):
    merge: bool = False
    """Hand over one merged transformers folder instead of a PEFT folder."""


class PeftLayers(Method):
    """One insert of peft's at some layers of the blocks; what it inserts trains, and the output layers.

    Attributes:
        peft_config: the configuration class in peft.
        convolutions: whether it can stand at convolutions.
        splits_base: see PeftInsert.
    """

    peft_config: ClassVar[str] = "LoraConfig"
    convolutions: ClassVar[bool] = False
    splits_base: ClassVar[bool] = False
    handover = "peft"
    packages = ("peft",)

    @abstractmethod
    def options(self, model: ModelMap) -> dict[str, Any]:
        """Options of the peft configuration, without the layers."""

    @abstractmethod
    def rules(self) -> tuple[Rule, ...]:
        """Rules for the tensors that peft inserts."""

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        options = {**self.options(model), "target_modules": self.layers(model)}
        return Plan(
            rules=(*self.rules(), *new_head_rules(model, self.config.head_rate)),
            learning_rate=self.learning_rate(model),
            inserts=(PeftInsert(self.peft_config, options, splits_base=self.splits_base),),
        )

    def layers(self, model: ModelMap) -> list[str]:
        """Paths of the layers that `targets` means.

        Raises:
            MethodError: there is none, or only convolutions, which the method cannot work with.
        """
        sites = list(self._sites(model))
        chosen = [path for path, block in sites if self._chosen(path, block)]
        if not chosen:
            names = sorted({path.rsplit(".", 1)[-1] for path, _ in sites})
            raise MethodError(
                f"{self.name}: no layer of the model that it can update matches targets: {self.config.targets}",
                fix=f"take all-linear, or names such as {', '.join(names)}",
            )
        if not self.convolutions and any(path in block.conv for block in model.blocks for path in chosen):
            self.refuse(f"the blocks of a '{model.family}' model are convolutions; it needs linear layers")
        return chosen

    def _sites(self, model: ModelMap) -> Iterator[tuple[str, Block]]:
        """The layers that can be chosen: convolutions where there are no others, or by name."""
        convolutions = not any(block.linear for block in model.blocks) or isinstance(self.config.targets, list)
        for block in model.blocks:
            whole = [path for path in block.conv if convolutions and path not in block.grouped]
            yield from ((path, block) for path in (*block.linear, *whole))

    def _chosen(self, path: str, block: Block) -> bool:
        targets = self.config.targets
        if targets == "all-linear":
            return True
        if isinstance(targets, str):
            kind = "attention" if targets == "attention" else "feed_forward"
            return any(tensor.name == f"{path}.weight" and tensor.kind == kind for tensor in block.tensors)
        return any(path == name or path.endswith(f".{name}") for name in targets)

    @property
    def merged(self) -> bool:
        return isinstance(self.config, MergeConfig) and self.config.merge
