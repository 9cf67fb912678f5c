"""How near generated images are to real ones, from features of both: Fréchet and kernel distance, and Inception score.

Features are what a classifier reads in its last layer; pure functions of them, in float64. Shape legend: N real images,
M generated images, D features, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tunewise.errors import DataError
from tunewise.evaluate.image_checks import check_enough, checked_pair, checked_probabilities, fewest_images

FEWEST_FOR_KERNEL = 10
SPLITS = 10
SUBSETS = 100
LARGEST_SUBSET = 1000

_AT_ONCE = 1000  # rows of a kernel matrix


def frechet_distance(real_ND: np.ndarray, generated_MD: np.ndarray) -> float:
    """The Fréchet distance (FID) of two normal distributions with the means and covariances of these features, at
    least 0: |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)). Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule.

    It is biased: fewer images give a larger distance (`frechet_at_sizes` shows by how much).

    Raises:
        DataError: features that are not finite or of two widths; fewer images than `fewest_images`.
    """
    real_ND, generated_MD = checked_pair(real_ND, generated_MD)
    needed = fewest_images(real_ND.shape[1])
    check_enough(real_ND, generated_MD, needed, f"the Fréchet distance (FID) of {real_ND.shape[1]:,} features")
    return frechet_of_moments(*moments(real_ND), *moments(generated_MD))


def moments(features_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and unbiased covariance (D, D)."""
    mean_D = features_ND.mean(axis=0)
    centred_ND = features_ND - mean_D
    return mean_D, centred_ND.T @ centred_ND / (len(features_ND) - 1)


def frechet_of_moments(mean_D: np.ndarray, cov_DD: np.ndarray, mean2_D: np.ndarray, cov2_DD: np.ndarray) -> float:
    """The distance of two normal distributions. With S = A A' and T = B B', the trace of (S T)^(1/2) is the sum of the
    singular values of A' B: real and stable, where a root of the product itself gives complex numbers."""
    shared = np.linalg.svd(_factor(cov_DD).T @ _factor(cov2_DD), compute_uv=False).sum()
    apart = float(((mean_D - mean2_D) ** 2).sum())
    return max(0.0, apart + float(np.trace(cov_DD) + np.trace(cov2_DD) - 2 * shared))


def _factor(cov_DD: np.ndarray) -> np.ndarray:
    values_D, vectors_DD = np.linalg.eigh(cov_DD)
    return vectors_DD * np.sqrt(np.clip(values_D, 0, None))


def kernel_distance(
    real_ND: np.ndarray, generated_MD: np.ndarray, subsets: int = SUBSETS, size: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """The kernel distance (KID) over random subsets of both: mean and deviation (of the population) over subsets.
    Binkowski et al. 2018, Demystifying MMD GANs: unbiased squared MMD with the kernel (x y / D + 1)^3.

    Args:
        size: images of a subset; None for half of the smaller set, 1,000 at most.

    Raises:
        DataError: features that are not finite or of two widths; fewer than 10 images, or than a subset has.
    """
    real_ND, generated_MD = _checked_for_kernel(real_ND, generated_MD)
    size = min(LARGEST_SUBSET, len(real_ND) // 2, len(generated_MD) // 2) if size is None else size
    check_enough(real_ND, generated_MD, size, f"a kernel distance (KID) over subsets of {size:,}")
    if size < 2 or subsets < 1:
        raise DataError(
            f"{subsets} subsets of {size} images make no kernel distance",
            fix="take at least one subset of at least two images",
        )
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(subsets):
        real, generated = (rng.permutation(len(set_))[:size] for set_ in (real_ND, generated_MD))
        found.append(_squared_mmd(real_ND[real], generated_MD[generated]))
    return float(np.mean(found)), float(np.std(found))


def kernel_estimate(real_ND: np.ndarray, generated_MD: np.ndarray) -> float:
    """The unbiased estimate of the kernel distance (KID) from all images; below 0 by chance where there is none.

    Raises:
        DataError: as `kernel_distance`.
    """
    return _squared_mmd(*_checked_for_kernel(real_ND, generated_MD))


def _checked_for_kernel(real_ND: np.ndarray, generated_MD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    real_ND, generated_MD = checked_pair(real_ND, generated_MD)
    check_enough(real_ND, generated_MD, FEWEST_FOR_KERNEL, "a kernel distance (KID)", "draw more images")
    return real_ND, generated_MD


def _squared_mmd(real_ND: np.ndarray, generated_MD: np.ndarray) -> float:
    crossed = sum(block.sum() for block in kernel_blocks(real_ND, generated_MD)) / len(real_ND) / len(generated_MD)
    return float(_mean_off_diagonal(real_ND) + _mean_off_diagonal(generated_MD) - 2 * crossed)


def _mean_off_diagonal(features_ND: np.ndarray) -> float:
    count = len(features_ND)
    whole = sum(block.sum() for block in kernel_blocks(features_ND, features_ND))
    return float((whole - own_kernels(features_ND).sum()) / (count * (count - 1)))


def kernel_blocks(first_ND: np.ndarray, second_MD: np.ndarray) -> Iterator[np.ndarray]:
    """The kernel matrix, 1,000 rows at a time."""
    for start in range(0, len(first_ND), _AT_ONCE):
        yield (first_ND[start : start + _AT_ONCE] @ second_MD.T / first_ND.shape[1] + 1) ** 3


def own_kernels(features_ND: np.ndarray) -> np.ndarray:
    """The kernel of each image with itself (N,)."""
    return ((features_ND**2).sum(axis=1) / features_ND.shape[1] + 1) ** 3


def inception_score(probabilities_NC: np.ndarray, splits: int = SPLITS, seed: int = 0) -> tuple[float, float]:
    """The Inception score: exp of the mean KL divergence of an image's class probabilities from their mean, from 1 to
    C; mean and deviation (of the population) over splits, drawn at random so that the order of images (by class, say)
    does not matter. Salimans et al. 2016, Improved Techniques for Training GANs.

    Raises:
        DataError: no probabilities; fewer than 50 images, or fewer in a split than there are classes.
    """
    probabilities_NC = checked_probabilities(probabilities_NC, splits)
    scores = [
        split_score(probabilities_NC[rows], np.ones((1, len(rows))))[0]
        for rows in split_rows(len(probabilities_NC), splits, seed)
    ]
    return float(np.mean(scores)), float(np.std(scores))


def split_rows(count: int, splits: int, seed: int) -> list[np.ndarray]:
    """Which rows each split has."""
    return np.array_split(np.random.default_rng(seed).permutation(count), splits)


def split_score(probabilities_NC: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """The score of one split (R,), for R ways in which its images count: exp(H(mean) - mean H); NaN where none does."""
    counts_R1 = weights_RN.sum(axis=1, keepdims=True)
    weights_RN = weights_RN / np.where(counts_R1 > 0, counts_R1, np.nan)
    return np.exp(_entropy(weights_RN @ probabilities_NC) - weights_RN @ _entropy(probabilities_NC))


def _entropy(probabilities_NC: np.ndarray) -> np.ndarray:
    return -(probabilities_NC * np.log(np.where(probabilities_NC > 0, probabilities_NC, 1))).sum(axis=1)
