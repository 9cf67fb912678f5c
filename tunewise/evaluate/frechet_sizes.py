"""How the Fréchet distance falls with the number of images, and what it would be with infinitely many.

Chong and Forsyth 2020, Effectively Unbiased FID and Inception Score and Where to Find Them. Shape legend: N real
images, M generated images, D features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tunewise.evaluate.generated_images import frechet_distance, frechet_of_moments, moments
from tunewise.evaluate.image_checks import checked_pair, fewest_images

POINTS = 10
DRAWS = 8
"""Subsets of each size, whose distances are averaged; one where there are more than 256 features."""
MANY_FEATURES = 256


@dataclass(frozen=True)
class Point:
    """The distance from so many images of each kind, the mean over random subsets of that size."""

    real: int
    generated: int
    distance: float


@dataclass(frozen=True)
class Growth:
    """`points` from few images to all; `infinite` is FID-infinity, None where `why_not` says why. It may be below 0 by
    chance."""

    points: tuple[Point, ...]
    infinite: float | None
    why_not: str | None = None


def frechet_at_sizes(
    real_ND: np.ndarray, generated_MD: np.ndarray, points: int = POINTS, draws: int | None = None, seed: int = 0
) -> Growth:
    """Fréchet distances of ever more images, and a line through them over 1 / share of the images: where that meets 0,
    there would be infinitely many.

    The bias of the distance is c / N + c' / M for many images. Both kinds are drawn by the same share, so that the line
    takes both away; the authors, who have 50,000 real images, draw the generated ones alone.

    Args:
        points: how many sizes, evenly spaced from `fewest_images` (or a fifth, if that is more) to all.
        draws: subsets of each size but the last; None for 8, or 1 of more than 256 features.

    Raises:
        DataError: as `frechet_distance`.
    """
    whole = frechet_distance(real_ND, generated_MD)
    real_ND, generated_MD = checked_pair(real_ND, generated_MD)
    counts, features = (len(real_ND), len(generated_MD)), real_ND.shape[1]
    draws = draws or (1 if features > MANY_FEATURES else DRAWS)
    least = max(fewest_images(features) / min(counts), 1 / 5)
    if least > 1 / 2:
        why_not = (
            f"{2 * fewest_images(features):,} images of each kind are needed to see how the distance of {features:,} "
            f"features falls with their number; there are {counts[0]:,} and {counts[1]:,}"
        )
        return Growth((Point(*counts, whole),), None, why_not)
    rng = np.random.default_rng(seed)
    found = []
    for share in np.linspace(least, 1, points)[:-1]:
        sizes = [int(np.ceil(round(share * count, 6))) for count in counts]
        values = []
        for _ in range(draws):
            subsets = (
                features_ND[rng.permutation(len(features_ND))[:size]]
                for features_ND, size in zip((real_ND, generated_MD), sizes, strict=True)
            )
            values.append(frechet_of_moments(*(moment for subset in subsets for moment in moments(subset))))
        found.append(Point(*sizes, float(np.mean(values))))
    found.append(Point(*counts, whole))
    inverse = [counts[1] / point.generated for point in found]
    _, infinite = np.polyfit(inverse, [point.distance for point in found], 1)
    return Growth(tuple(found), float(infinite))
