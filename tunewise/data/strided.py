"""Rows that are longer than a model reads, in windows that overlap: each token to learn is learnt in one of them.

As transformers documents for the perplexity of models of fixed length: each window begins `stride` tokens after the one
before, and of it only what no window before held is scored.

Shape legend: N rows, W windows.
"""

from __future__ import annotations

import numpy as np

from tunewise.data.labelled import LabelledTokens
from tunewise.data.ragged import Ragged


def in_windows(rows: LabelledTokens, window: int, stride: int) -> tuple[LabelledTokens, np.ndarray]:
    """The windows of all rows, and the row of each (W,). A token that is not in a row's first window has at least
    `window - stride` tokens before it in its own.

    Args:
        rows: uncut, of a decoder.
        window: tokens that the model reads.
        stride: smaller than the window.
    """
    ids, learnt, row_W = [], [], []
    for row in range(len(rows)):
        for start, end, scored in spans(len(rows.ids[row]), window, stride):
            marks = rows.learnt[row][start:end].copy()
            marks[: scored - start] = 0
            ids.append(rows.ids[row][start:end])
            learnt.append(marks)
            row_W.append(row)
    windows = LabelledTokens(Ragged.of(ids, np.int32), Ragged.of(learnt, np.int8), rows.pad)
    return windows, np.array(row_W, dtype=np.int64)


def spans(length: int, window: int, stride: int) -> list[tuple[int, int, int]]:
    """Of each window of a row its first token, the one behind its last, and the first that is scored in it."""
    found, start, scored = [], 0, 0
    while True:
        end = min(start + window, length)
        found.append((start, end, scored))
        if end == length:
            return found
        start, scored = start + stride, end


def summed(numbers_WK: np.ndarray, row_W: np.ndarray, rows: int) -> np.ndarray:
    """The numbers of each row (N, K): sums over its windows."""
    totals = np.zeros((rows, numbers_WK.shape[1]), dtype=numbers_WK.dtype)
    np.add.at(totals, row_W, numbers_WK)
    return totals
