"""Dropout masks from a fast generator that the step seeds.

On a CPU torch draws dropout masks one by one, on one thread: 5 to 16% of a training step. Here they are 16 random bits
per element, from numpy's SFC64 (250 us for the mask of 58,000 elements by torch, 90 us so). Each step seeds its own, so
that a resumed run draws what the uninterrupted one would have.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn import functional

LEVELS = 1 << 16


class Masks:
    """The dropout masks of a run."""

    def __init__(self, seed: int):
        self.seed = seed
        self.begin(0)

    def begin(self, *numbers: int) -> None:
        """From here on, masks follow from the run's seed and these numbers alone."""
        self._numbers = np.random.SFC64([self.seed, *numbers])

    @property
    def state(self) -> dict[str, Any]:
        """Where the numbers are; masks drawn from the same state are the same."""
        return self._numbers.state

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._numbers.state = state

    @contextmanager
    def drawing(self, times: int = 1) -> Iterator[None]:
        """Inside, every dropout of a model on the CPU takes its mask from here: modules and transformers' attention all
        call `torch.nn.functional.dropout`. On other devices torch's own is fast.

        Args:
            times: rows stand so many times behind each other, and have the same masks each time.
        """
        usual = functional.dropout

        def dropout(hidden: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
            if not training or not 0.0 < p < 1.0 or hidden.device.type != "cpu" or not hidden.is_floating_point():
                return usual(hidden, p, training, inplace)
            if times > 1:
                each = hidden.unflatten(0, (times, -1))
                mask = self.mask(each[0], p)
                return (each.mul_(mask) if inplace else each * mask).flatten(0, 1)
            mask = self.mask(hidden, p)
            return hidden.mul_(mask) if inplace else hidden * mask

        functional.dropout = dropout
        try:
            yield
        finally:
            functional.dropout = usual

    def drawn_again(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """For what is computed twice, as `torch.utils.checkpoint` wants it: inside the second, masks are those that
        were drawn inside the first."""
        state: list[Any] = []

        @contextmanager
        def first() -> Iterator[None]:
            state.append(self.state)
            yield

        @contextmanager
        def second() -> Iterator[None]:
            now, self.state = self.state, state[0]
            try:
                with self.drawing():
                    yield
            finally:
                self.state = now

        return first(), second()

    def mask(self, like: torch.Tensor, p: float) -> torch.Tensor:
        """0 with probability p (to the next 65,536th) and else 1 / (1 - p), of the shape and type of `like`."""
        dropped = min(max(round(p * LEVELS), 1), LEVELS - 1)
        words = self._numbers.random_raw(-(-like.numel() // 4))  # 64 bits each
        bits = torch.from_numpy(words.view(np.int16)[: like.numel()]).view(like.shape)
        return (bits >= dropped - LEVELS // 2).to(like.dtype).mul_(LEVELS / (LEVELS - dropped))
