"""A model's outputs for many rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from tunewise.data.batches import pass_batches
from tunewise.data.inputs import Inputs
from tunewise.models.freed_memory import give_freed_memory_back
from tunewise.models.memory import PassSize
from tunewise.models.modes import eval_mode

# Each batch has other sizes, and what the last one freed has no room for the next. To give that back takes 10 ms; in an
# evaluation of 1,000 short texts (34 batches, 2.1 s) memory grows by 60 MB instead of 90.
BATCHES_BETWEEN = 8

Outputs = Callable[[nn.Module, Mapping[str, torch.Tensor]], torch.Tensor]


def predict_logits(
    model: nn.Module,
    inputs: Inputs,
    batch_size: int,
    *,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    stop: Callable[[], None] = lambda: None,
    size: PassSize | None = None,
    outputs: Outputs | None = None,
) -> np.ndarray:
    """Outputs (n, C) in the order of the rows, fp32, in eval mode without gradients; (n, W, C) where the model answers
    for words, NaN where a row has no such word.

    Rows go in batches of similar length, which are halved where memory runs out.

    Args:
        stop: is called before each batch and may raise.
        size: of batches that are known to fit; it is told where they do not.
        outputs: what is wanted of a batch, (B, C); None for the logits.

    Raises:
        OutOfMemoryError: a single row does not fit.
    """
    if not len(inputs):
        return np.empty((0, model.config.num_labels), dtype=np.float32)
    device = next(model.parameters()).device
    rows, found = [], []

    def logits_of(batch_rows: np.ndarray) -> np.ndarray:
        stop()
        batch = {key: value.to(device) for key, value in inputs.batch(batch_rows).items()}
        # Not inference mode: what a model caches in a forward pass must serve training too.
        with torch.no_grad(), autocast():
            wanted = model(**batch).logits if outputs is None else outputs(model, batch)
            return wanted.float().cpu().numpy()

    batches = pass_batches(inputs, batch_size, device.type)
    with eval_mode(model):
        for batch_rows, logits_BC in (size or PassSize()).run(batches, inputs.lengths, logits_of):
            rows.append(batch_rows)
            found.append(logits_BC)
            if device.type == "cpu" and len(found) % BATCHES_BETWEEN == 0:
                give_freed_memory_back()
    order = np.argsort(np.concatenate(rows))
    return np.concatenate(_of_one_width(found))[order]


def _of_one_width(outputs: list[np.ndarray]) -> list[np.ndarray]:
    """Outputs for words (B, W, C), each batch as wide as the widest; others as they are."""
    if outputs[0].ndim < 3:
        return outputs
    width = max(logits_BWC.shape[1] for logits_BWC in outputs)
    return [
        np.pad(logits_BWC, [(0, 0), (0, width - logits_BWC.shape[1]), (0, 0)], constant_values=np.nan)
        for logits_BWC in outputs
    ]
