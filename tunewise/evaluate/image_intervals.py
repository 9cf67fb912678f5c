"""Intervals of the figures of generated images, and of their difference between two models, by resampled images.

Shape legend: N real images, M generated images, D features, C classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tunewise.errors import DataError
from tunewise.evaluate.generated_images import frechet_of_moments, kernel_blocks, own_kernels, split_rows, split_score
from tunewise.evaluate.image_checks import checked_pair, checked_probabilities
from tunewise.evaluate.intervals import interval, resamples

MOST_OPERATIONS = 3e11
"""Of a bootstrap: about a minute of one core."""

_OF_A_FACTOR = 40  # D^3 operations of two eigendecompositions and the singular values of a product


def resampled_frechet(real_ND: np.ndarray, generated_MD: np.ndarray, count: int, seed: int = 0) -> np.ndarray | str:
    """Fréchet distances (R,) of so many resamples of the images, real and generated; or why it is too much work. Equal
    seeds and numbers of images draw equal rows, so that the values of two models go in pairs."""
    real_ND, generated_MD = checked_pair(real_ND, generated_MD)
    features, images = real_ND.shape[1], len(real_ND) + len(generated_MD)
    if too_much := _too_much(count * (2 * images * features**2 + _OF_A_FACTOR * features**3)):
        return too_much
    centre_D = real_ND.mean(axis=0)  # far from 0, squares would lose digits
    pair = real_ND - centre_D, generated_MD - centre_D
    return np.array(
        [
            frechet_of_moments(*_weighted(pair[0], real_N), *_weighted(pair[1], generated_M))
            for real_RN, generated_RM in _both(*pair, count, seed)
            for real_N, generated_M in zip(real_RN, generated_RM, strict=True)
        ]
    )


def _weighted(features_ND: np.ndarray, weights_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unbiased covariance where each image counts so often."""
    count = weights_N.sum()
    weighted_ND = features_ND * weights_N[:, None]
    mean_D = weighted_ND.sum(axis=0) / count
    return mean_D, (weighted_ND.T @ features_ND - count * np.outer(mean_D, mean_D)) / (count - 1)


def resampled_kernel(real_ND: np.ndarray, generated_MD: np.ndarray, count: int, seed: int = 0) -> np.ndarray | str:
    """Unbiased kernel distances (R,) of resamples, as `resampled_frechet`. An image that was drawn twice is not
    compared with itself, which would make the distance larger."""
    real_ND, generated_MD = checked_pair(real_ND, generated_MD)
    images = len(real_ND) + len(generated_MD)
    if too_much := _too_much(2.0 * count * images**2):
        return too_much
    parts = []
    for real_RN, generated_RM in _both(real_ND, generated_MD, count, seed):
        crossed = _products(real_ND, generated_MD, real_RN, generated_RM)
        crossed /= real_RN.sum(axis=1) * generated_RM.sum(axis=1)
        parts.append(_within(real_ND, real_RN) + _within(generated_MD, generated_RM) - 2 * crossed)
    return np.concatenate(parts)


def _within(features_ND: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """The mean kernel of two different images (R,)."""
    squares_RN = weights_RN**2
    whole = _products(features_ND, features_ND, weights_RN, weights_RN) - squares_RN @ own_kernels(features_ND)
    return whole / (weights_RN.sum(axis=1) ** 2 - squares_RN.sum(axis=1))


def _products(first_ND: np.ndarray, second_MD: np.ndarray, first_RN: np.ndarray, second_RM: np.ndarray) -> np.ndarray:
    """Sums of all kernels (R,), each counted as often as its images."""
    found_R, start = np.zeros(len(first_RN)), 0
    for block_BM in kernel_blocks(first_ND, second_MD):
        end = start + len(block_BM)
        found_R += ((first_RN[:, start:end] @ block_BM) * second_RM).sum(axis=1)
        start = end
    return found_R


def resampled_inception(probabilities_NC: np.ndarray, splits: int, count: int, seed: int = 0) -> np.ndarray | str:
    """Inception scores (R,), means over splits, of resamples of generated images, as `resampled_frechet`. A split of
    which no image was drawn has no part in the mean."""
    probabilities_NC = checked_probabilities(probabilities_NC, splits)
    if too_much := _too_much(2.0 * count * probabilities_NC.size):
        return too_much
    rows_of = split_rows(len(probabilities_NC), splits, seed)
    parts = []
    for weights_RN in resamples(len(probabilities_NC), count, _rng(seed, "generated")):
        scores = [split_score(probabilities_NC[rows], weights_RN[:, rows]) for rows in rows_of]
        parts.append(np.nanmean(scores, axis=0))
    return np.concatenate(parts)


def centred_interval(values_R: np.ndarray, estimate: float, confidence: float) -> tuple[float, float]:
    """The percentile interval of resampled values, moved so that their mean is the estimate. A resample has fewer
    different images than the set, so that it has the bias of a smaller one; without the move the interval of a Fréchet
    distance would lie above the distance itself."""
    low, high = interval(values_R - (values_R.mean() - estimate), confidence)
    return low, high


def paired_difference(
    first_R: np.ndarray, second_R: np.ndarray, first: float, second: float, confidence: float
) -> tuple[float, tuple[float, float]]:
    """A figure of one model less that of another, with its interval. Both drew their images from the same noise, row
    by row, and were resampled with the same seed.

    Raises:
        DataError: the numbers of resamples differ.
    """
    if len(first_R) != len(second_R):
        raise DataError(
            f"{len(first_R):,} and {len(second_R):,} resamples do not go in pairs",
            fix="resample both with the same count and seed",
        )
    return first - second, centred_interval(first_R - second_R, first - second, confidence)


def _both(
    real_ND: np.ndarray, generated_MD: np.ndarray, count: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of how often each image counts: real ones (r, N) and generated ones (r, M). What real images are drawn
    depends on the seed and their number alone, and so of the generated ones."""
    rngs = _rng(seed, "real"), _rng(seed, "generated")
    done = 0
    while done < count:
        size = min(_BLOCK, count - done)
        real, generated = (
            np.concatenate(list(resamples(len(features), size, rng)))
            for features, rng in zip((real_ND, generated_MD), rngs, strict=True)
        )
        yield real, generated
        done += size


_BLOCK = 100


def _rng(seed: int, kind: str) -> np.random.Generator:
    return np.random.default_rng([seed, 0 if kind == "real" else 1])


def _too_much(operations: float) -> str | None:
    if operations <= MOST_OPERATIONS:
        return None
    return f"resampling takes {operations:.0e} operations, more than {MOST_OPERATIONS:.0e}: no interval"
