"""Metrics of language models, made of numbers of each row (`types.ROW_NUMBERS`).

Shape legend: n rows, K numbers of a row, R weightings of the rows.
"""

from __future__ import annotations

import numpy as np

from tunewise.evaluate.sample import Sample


def perplexity(sample: Sample) -> np.ndarray:
    """e to the mean of -ln p over all tokens, (R,): rows count by their tokens."""
    nll_R, tokens_R, _ = _sums(sample)
    return np.exp(nll_R / tokens_R)


def next_token_accuracy(sample: Sample) -> np.ndarray:
    """Share of all tokens that the model holds for the likeliest, (R,)."""
    _, tokens_R, right_R = _sums(sample)
    return right_R / tokens_R


def _sums(sample: Sample) -> np.ndarray:
    """Of each number, over the rows: (K, R)."""
    return sample.predictions.scores.T @ sample.weights_nR
