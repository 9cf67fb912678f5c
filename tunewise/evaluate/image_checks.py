"""What features and probabilities of images have to be, and how many, before a figure is made of them.

Shape legend: N real images, M generated images, D features, C classes.
"""

from __future__ import annotations

import numpy as np

from tunewise.errors import DataError

FEWEST = 50
"""Images of each kind for a Fréchet distance or an Inception score, however few the features are."""

_FIX = "draw more images, take an extractor with fewer features, or the kernel distance, which needs fewer"


def fewest_images(features: int) -> int:
    """Images of each kind that a Fréchet distance needs: one more than features. With fewer the covariance is singular
    whatever the images are, and the distance measures how few they are."""
    return max(FEWEST, features + 1)


def checked_pair(real_ND: np.ndarray, generated_MD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in float64.

    Raises:
        DataError: not two matrices of one width, or not finite.
    """
    pair = np.asarray(real_ND, dtype=np.float64), np.asarray(generated_MD, dtype=np.float64)
    if any(found.ndim != 2 or not found.shape[1] for found in pair) or pair[0].shape[1] != pair[1].shape[1]:
        raise DataError(
            f"features of real and generated images are of shapes {pair[0].shape} and {pair[1].shape}",
            fix="take both from the same extractor",
        )
    for found, kind in zip(pair, ("real", "generated"), strict=True):
        if wrong := int((~np.isfinite(found).all(axis=1)).sum()):
            raise DataError(
                f"features of {wrong:,} of {len(found):,} {kind} images are not finite",
                fix="look at these images, or take another extractor",
            )
    return pair


def check_enough(real_ND: np.ndarray, generated_MD: np.ndarray, needed: int, what: str, fix: str = _FIX) -> None:
    """Raises where there are fewer images of a kind than `needed`.

    Raises:
        DataError: says how many there are.
    """
    if min(len(real_ND), len(generated_MD)) < needed:
        raise DataError(
            f"{what} needs at least {needed:,} real and {needed:,} generated images; there are {len(real_ND):,} and "
            f"{len(generated_MD):,}",
            fix=fix,
        )


def checked_probabilities(probabilities_NC: np.ndarray, splits: int) -> np.ndarray:
    """In float64.

    Raises:
        DataError: no probabilities; fewer than 50 images, or fewer in a split than there are classes.
    """
    found_NC = np.asarray(probabilities_NC, dtype=np.float64)
    sound = found_NC.ndim == 2 and bool(np.isfinite(found_NC).all()) and bool((found_NC >= 0).all())
    if not sound or not np.allclose(found_NC.sum(axis=1), 1, atol=1e-4):
        raise DataError(
            f"an Inception score is of class probabilities, rows that sum to 1; came {found_NC.shape}",
            fix="take a classifier whose softmax they are",
        )
    count, classes = found_NC.shape
    if splits < 1 or count < max(FEWEST, splits * classes):
        fit = count // classes if count >= FEWEST else 0
        raise DataError(
            f"an Inception score in {splits} splits needs at least {max(FEWEST, splits * classes):,} images, in each "
            f"split as many as there are classes ({classes:,}); there are {count:,}",
            fix=f"draw more images, or take at most {fit} split{'s' * (fit != 1)}" if fit else "draw more images",
        )
    return found_NC
