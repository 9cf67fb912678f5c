"""Signals as the engine would give them, with made-up measurements."""

from __future__ import annotations

import numpy as np

from tunewise.methods import Method
from tunewise.types import ModelMap, Signals, TensorFlops


def signals_for(
    method: Method, model: ModelMap, step: int = 0, total_steps: int = 100, steps_per_epoch: int = 10
) -> Signals:
    """What the method needs is drawn at random; a tensor's FLOPs are 2 per element, for either gradient."""
    signals = Signals(step, total_steps, steps_per_epoch)
    generator = np.random.default_rng(step)
    measures = {
        need.kind: {
            tensor.name: generator.random(tensor.shape if need.kind == "fisher" else ())
            for tensor in model.tensors
            if need.wants(tensor.name)
        }
        for need in method.needs(model, signals)
    }
    forward = 2.0 * sum(tensor.size for tensor in model.tensors)
    return Signals(
        step,
        total_steps,
        steps_per_epoch,
        measures=measures,
        flops=tuple(TensorFlops(tensor.name, 2.0 * tensor.size, 2.0 * tensor.size) for tensor in model.tensors),
        forward_flops=forward,
        full_flops=3 * forward * total_steps,
        spent_flops=step * forward * 1.5,
    )
