"""Metrics of language models, made of numbers of each row (`types.ROW_NUMBERS`).

Shape legend: n rows, K numbers of a row, R weightings of the rows.
"""

from __future__ import annotations

import numpy as np

from tunewise.evaluate.ranking import rank_quality
from tunewise.evaluate.sample import Sample


def perplexity(sample: Sample) -> np.ndarray:
    """e to the mean of -ln p over all tokens, (R,): rows count by their tokens."""
    nll_R, tokens_R, _ = _sums(sample)
    return np.exp(nll_R / tokens_R)


def next_token_accuracy(sample: Sample) -> np.ndarray:
    """Share of all tokens that the model holds for the likeliest, (R,)."""
    _, tokens_R, right_R = _sums(sample)
    return right_R / tokens_R


def preference_accuracy(sample: Sample) -> np.ndarray:
    """Share of pairs whose chosen answer is worth more; where both are worth the same, half, (R,)."""
    margins = _margins(sample)
    return sample.mean((margins > 0) + 0.5 * (margins == 0))


def reward_margin(sample: Sample) -> np.ndarray:
    """By how much the chosen answer is worth more, (R,)."""
    return sample.mean(_margins(sample))


def mean_loss(sample: Sample) -> np.ndarray:
    """The last number of a row, (R,)."""
    return sample.mean(sample.predictions.scores[:, -1])


def reward_auc(sample: Sample) -> np.ndarray:
    """ROC-AUC of the reward, (R,)."""
    rewards, good = sample.predictions.scores[:, 0], sample.predictions.targets > 0.5
    return rank_quality(rewards, good, sample.weights_nR)[0]


def mean_reward(sample: Sample) -> np.ndarray:
    return sample.mean(sample.predictions.scores[:, 0])


def mean_kl(sample: Sample) -> np.ndarray:
    """Of a whole text, (R,)."""
    return sample.mean(sample.predictions.scores[:, 1])


def kl_per_token(sample: Sample) -> np.ndarray:
    """Over the tokens of all texts, (R,)."""
    _, kl_R, tokens_R = _sums(sample)
    return kl_R / tokens_R


def mean_tokens(sample: Sample) -> np.ndarray:
    return sample.mean(sample.predictions.scores[:, 2])


def _margins(sample: Sample) -> np.ndarray:
    """(n,)"""
    return sample.predictions.scores[:, 0] - sample.predictions.scores[:, 1]


def _sums(sample: Sample) -> np.ndarray:
    """Of each number, over the rows: (K, R)."""
    return sample.predictions.scores.T @ sample.weights_nR
