"""Gradient checkpointing: blocks that keep only their input, and are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.checkpoint import checkpoint

from tunewise.engine.dropout import Masks
from tunewise.errors import MethodError
from tunewise.models.load import Net


@contextmanager
def blocks_computed_again(net: Net, masks: Masks, wanted: bool) -> Iterator[None]:
    """Inside, where it is wanted, every block that trains, or passes a gradient on, keeps only its input. What it
    computes the second time is the same to the bit: dropout leaves out the same elements.

    Raises:
        MethodError: transformers cannot do so with this model.
    """
    if not wanted:
        yield
        return

    def twice(block: Callable[..., Any], *args: Any) -> Any:
        return checkpoint(block, *args, use_reentrant=False, context_fn=masks.drawn_again)

    model = getattr(net.model, "base_model", net.model) if hasattr(net.model, "peft_config") else net.model
    model = model if hasattr(model, "supports_gradient_checkpointing") else model.model
    if not model.supports_gradient_checkpointing:
        raise MethodError(
            f"transformers has no gradient checkpointing for a '{net.map.family}' model",
            where="train.gradient_checkpointing",
            fix="leave it out; a smaller batch_size with more accumulate takes less memory too",
        )
    # Not activation_checkpointing_enable: it lets a gradient pass down to the embedding, through frozen blocks too.
    model._set_gradient_checkpointing(enable=True, gradient_checkpointing_func=twice)
    try:
        yield
    finally:
        model._set_gradient_checkpointing(enable=False)
