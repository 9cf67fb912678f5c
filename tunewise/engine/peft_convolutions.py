"""Convolutions that peft has wrapped: what a model asks of them is passed on."""

from __future__ import annotations

from torch import nn

from tunewise.models.blocks import is_convolution

ASKED = ("stride", "kernel_size", "dilation", "padding", "groups")


def pass_on(model: nn.Module) -> nn.Module:
    """Gives peft's layers the sizes of the convolution that they keep, and returns the model. transformers' MobileNets
    pad an image by the stride and the kernel of a convolution, which they read from outside."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in model.modules():
        if isinstance(module, BaseTunerLayer) and is_convolution(kept := module.get_base_layer()):
            for name in ASKED:
                setattr(module, name, getattr(kept, name))
    return model
