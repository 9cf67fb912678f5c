"""QLoRA: LoRA beside linear layers that are kept in 4 bits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tunewise.methods.lora import Lora, UpdateConfig
from tunewise.types import ModelMap, ModuleInsert, Plan, Signals

if TYPE_CHECKING:
    from torch import nn

# T5 turns its activations into the number format of this layer's weight, which must stay one of floating point.
KEPT_WHOLE = (".DenseReluDense.wo",)


class QloraConfig(UpdateConfig):
    double_quant: bool = True
    """Keep the scales of the 4-bit weights in 8 bits: 0.37 bits less per weight."""


class Qlora(Lora):
    """As LoRA, with the frozen linear layers of all blocks in NF4: a weight is one of 16 quantiles of a normal
    distribution, times the largest weight of its 64. A step computes in full precision. The PEFT folder belongs on a
    base in 4 bits; on the original one its outputs differ by the rounding."""

    name = "qlora"
    group = "low-rank and multiplicative"
    trains = "low-rank updates of linear layers kept in 4 bits, and the output layers"
    source = "Dettmers et al. 2023, QLoRA: Efficient Finetuning of Quantized LLMs"
    packages = ("peft", "bitsandbytes")
    instead = "lora"
    convolutions = False
    starts_unchanged = False
    stacks = False
    Config = QloraConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        plan = super().plan(model, signals)
        where = tuple(path for block in model.blocks for path in block.linear if not path.endswith(KEPT_WHOLE))
        four_bits = ModuleInsert(
            "tunewise.methods.qlora:in_four_bits", where, {"double_quant": self.config.double_quant}
        )
        return replace(plan, inserts=(four_bits, *plan.inserts))


def in_four_bits(module: nn.Module, double_quant: bool) -> nn.Module:
    """The linear layer with its weight in NF4, under the same names."""
    import torch

    from tunewise.models.hub_kernels import import_bitsandbytes

    import_bitsandbytes()
    from bitsandbytes.nn import Linear4bit, Params4bit

    weight = module.weight.detach()
    if type(module).__name__ == "Conv1D":
        weight = weight.T.contiguous()
    layer = Linear4bit(
        weight.shape[1], weight.shape[0], bias=False, compress_statistics=double_quant, quant_type="nf4", device="meta"
    )
    layer.weight = Params4bit(
        weight.to("cpu", torch.float32, copy=True),
        requires_grad=False,
        compress_statistics=double_quant,
        quant_type="nf4",
        module=layer,
    )
    layer.bias = module.bias
    # On some processors it would predict in bf16, though it trained in fp32.
    layer.support_avx512bf16_for_cpu = False
    return layer.to(module.weight.device)
