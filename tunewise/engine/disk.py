"""Whether the disk has room for what a training will save, as soon as it is known what trains."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tunewise.commit import Series
from tunewise.commit.room import bytes_in, check_room

MOMENTS = 2  # AdamW's, of every weight that trains


def checkpoint_bytes(trained: Mapping[str, torch.Tensor], keep_best: bool) -> int:
    """What a checkpoint takes: the weights that train, the best of them, and the moments."""
    return (1 + MOMENTS + keep_best) * sum(tensor.nbytes for tensor in trained.values())


def check_disk(series: Series, trained: Mapping[str, torch.Tensor], keep_best: bool, handed_over: int) -> None:
    """Makes sure that there is room for the checkpoints, of which there is one more while a new one is being saved, and
    for the model beside those that are kept.

    Args:
        trained: all tensors that train.
        handed_over: bytes of the model handed over, where it holds more than what trains.

    Raises:
        StoreError: names the bytes needed and free.
    """
    one, own = checkpoint_bytes(trained, keep_best), checkpoint_bytes(trained, False) // (1 + MOMENTS)
    needed = max((series.keep + 1) * one, series.keep * one + max(own, handed_over))
    less = "set train.keep_best to false, or " if keep_best else ""
    check_room(
        series.parent,
        needed - bytes_in(series.parent),
        f"{series.keep + 1} checkpoints of {one:,} bytes, then the model",
        f"{less}take a method that trains fewer weights",
    )
