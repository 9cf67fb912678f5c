"""ROC-AUC and average precision of one score column under many weightings, ties exact, sorted once."""

from __future__ import annotations

import numpy as np

from tunewise.evaluate.weighted import group_sums


def rank_quality(scores: np.ndarray, positive: np.ndarray, weights_nR: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ROC-AUC and average precision, each (R,); nan where a weighting holds only one of the two kinds of rows
    (average precision: no positive row).

    ROC-AUC = sum over positives of (weight of negatives below + half of those level) / (positives x negatives), the
    Mann-Whitney form. Average precision = sum over distinct scores of (gain in recall) x (precision down to there).
    Both change only where positives are, so the negatives between two positives are summed as one segment: a class
    with few positives costs one pass over the weights and little more.

    Args:
        scores: (n,).
        positive: bool (n,).
        weights_nR: (n, R).
    """
    segments, count = _segments(scores, positive)
    everything = group_sums(segments, count, weights_nR)
    found = group_sums(segments[positive], count, weights_nR[positive])
    others = everything - found
    positives, negatives = found.sum(axis=0), others.sum(axis=0)

    beaten = np.cumsum(others, axis=0) - others / 2
    pairs = positives * negatives
    wins = np.einsum("sR,sR->R", found, beaten)
    area = np.divide(wins, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0)

    hits_down_to = positives - np.cumsum(found, axis=0) + found
    rows_down_to = everything.sum(axis=0) - np.cumsum(everything, axis=0) + everything
    precision = np.divide(hits_down_to, rows_down_to, out=np.zeros_like(found), where=found > 0)
    gained = np.einsum("sR,sR->R", found, precision)
    average = np.divide(gained, positives, out=np.full(positives.shape, np.nan), where=positives > 0)
    return area, average


def _segments(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, int]:
    """The number of each row's segment, in ascending order of score, and how many segments there are.

    Rows with equal scores share a segment; scores at which no positive stands are joined with their like neighbours.
    """
    values, level_of_row = np.unique(scores, return_inverse=True)
    holds_positive = np.zeros(len(values), dtype=bool)
    holds_positive[level_of_row[positive]] = True
    starts = np.ones(len(values), dtype=bool)
    starts[1:] = holds_positive[1:] | holds_positive[:-1]
    segment_of_level = np.cumsum(starts) - 1
    return segment_of_level[level_of_row], int(segment_of_level[-1]) + 1
