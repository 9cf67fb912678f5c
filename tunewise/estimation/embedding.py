"""What embedding all rows would cost, from embedding some."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from tunewise.engine.encode import encode
from tunewise.engine.feature_head import FeatureHead
from tunewise.engine.features import Embedder
from tunewise.estimation.sample import some_rows
from tunewise.models.cost import watch_flops
from tunewise.models.load import Net
from tunewise.types import DataBundle

PROBE = 64
ROWS_PER_OUTPUT = 4
"""A solver that finds hardly a row of a class tells little of one that finds all."""

BYTES_OF_A_FEATURE = 4
"""fp32, in the one array that the solver reads; what is large lies in a file, whose pages count while they are read."""


def embedded_rows(
    net: Net, data: DataBundle, autocast: Callable[[], AbstractContextManager[Any]], budget: float
) -> dict[str, int]:
    """How many rows of `train` and of `validation` can be embedded in so many seconds: the same share of both."""
    probe = some_rows(data.splits["train"], PROBE)
    embed = Embedder(net, autocast=autocast)
    embed(probe.texts)  # the first pass sets up what is made once
    begun = time.perf_counter()
    embed(probe.texts)
    rows = budget * len(probe) / (time.perf_counter() - begun)
    whole = {name: len(data.splits[name]) for name in ("train", "validation")}
    least = max(PROBE, ROWS_PER_OUTPUT * data.schema.outputs)
    share = min(1.0, max(least, rows) / sum(whole.values()))
    return {name: max(1, round(share * count)) for name, count in whole.items()}


def embedding_flops(net: Net, splits: Sequence[Sequence[tuple[str, ...]]]) -> float:
    """FLOPs of embedding all texts of these splits, counted over the batches that they make."""
    embed = Embedder(net)
    total = 0.0
    for texts in splits:
        for column in zip(*texts, strict=True):
            inputs = encode([(text,) for text in column], net).each_window
            batches = [rows for _, of_part in embed.batches(inputs) for rows in of_part]
            with watch_flops(net.model, net.map) as flops:
                embed([(column[0],)])
            total += sum(flops.forward(len(rows), int(inputs.lengths[rows].max())) for rows in batches)
    return total


def embedding_bytes(head: FeatureHead, data: DataBundle) -> int:
    """Memory of the features of `train` and `validation`."""
    rows = sum(len(data.splits[name]) for name in ("train", "validation"))
    return rows * len(head.layers[0][0]) * BYTES_OF_A_FEATURE
