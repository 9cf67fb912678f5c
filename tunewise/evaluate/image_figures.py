"""All figures of generated images from the features of one extractor: values, intervals, and why one is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunewise.errors import DataError
from tunewise.evaluate.frechet_sizes import Growth, frechet_at_sizes
from tunewise.evaluate.generated_images import (
    SPLITS,
    frechet_distance,
    inception_score,
    kernel_distance,
    kernel_estimate,
)
from tunewise.evaluate.image_checks import FEWEST
from tunewise.evaluate.image_intervals import (
    centred_interval,
    paired_difference,
    resampled_frechet,
    resampled_inception,
    resampled_kernel,
)


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What an extractor says of images: `features_ND` (N, D) and the class probabilities `probabilities_NC` (N, C),
    both float64; None where it has no classes. `extractor` names it for people, `sha256` for good."""

    features_ND: np.ndarray
    probabilities_NC: np.ndarray | None
    extractor: str
    sha256: str


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure, or `why_not`. `deviation` is over subsets (KID) or splits (Inception score); `interval` is None where
    `no_interval` says why; `note` is what to know besides. `resampled` (R,) goes in pairs with that of another model
    that drew as many images from the same noise."""

    value: float | None = None
    deviation: float | None = None
    interval: tuple[float, float] | None = None
    why_not: str | None = None
    no_interval: str | None = None
    note: str | None = None
    resampled: np.ndarray | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a record, without the resamples and what is not there."""
        found = {name: value for name, value in vars(self).items() if name != "resampled" and value is not None}
        return {**found, **({"interval": list(self.interval)} if self.interval else {})}


@dataclass(frozen=True, eq=False)
class ImageFigures:
    """`figures`: fid, fid_infinity, kid and inception_score. `growth`: the distance at growing numbers of images; None
    where these are too few for one."""

    extractor: str
    sha256: str
    features: int
    real: int
    generated: int
    figures: Mapping[str, Figure]
    growth: Growth | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a record."""
        points = self.growth.points if self.growth else ()
        return {
            "extractor": {"name": self.extractor, "sha256": self.sha256, "features": self.features},
            "real": self.real,
            "generated": self.generated,
            "figures": {name: figure.as_dict() for name, figure in self.figures.items()},
            "fid_at": [{"real": p.real, "generated": p.generated, "fid": p.distance} for p in points],
        }


def image_figures(
    real: ImageFeatures,
    generated: ImageFeatures,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> ImageFigures:
    """All figures; one for which there are too few images is missing, with the reason. Intervals are percentile
    bootstrap over images, real and generated.

    Raises:
        DataError: features of two extractors, or features that are not sound.
    """
    check_one_extractor({"real images": real.sha256, "generated images": generated.sha256})
    pair = real.features_ND, generated.features_ND
    growth, too_few = _given(lambda: frechet_at_sizes(*pair, seed=seed))
    figures = {
        "fid": _figure(
            lambda: (frechet_distance(*pair), None),
            lambda: resampled_frechet(*pair, resamples, seed),
            confidence,
        ),
        "fid_infinity": Figure(growth.infinite, why_not=growth.why_not) if growth else Figure(why_not=too_few),
        "kid": _figure(
            lambda: (kernel_estimate(*pair), kernel_distance(*pair, seed=seed)[1]),
            lambda: resampled_kernel(*pair, resamples, seed),
            confidence,
        ),
        "inception_score": _inception(generated, resamples, confidence, seed),
    }
    counts = len(real.features_ND), len(generated.features_ND)
    return ImageFigures(real.extractor, real.sha256, pair[0].shape[1], *counts, figures, growth)


def figure_differences(
    first: ImageFigures, second: ImageFigures, confidence: float = 0.95
) -> dict[str, tuple[float, tuple[float, float] | None]]:
    """Each figure of the first model less that of the second, with its interval where both were resampled. Both drew
    their images from the same noise, in the same order, and stand beside the same real images.

    Raises:
        DataError: they are of two extractors, or of other numbers of images.
    """
    check_one_extractor({"the first model": first.sha256, "the second model": second.sha256})
    counts = (first.real, first.generated), (second.real, second.generated)
    if counts[0] != counts[1]:
        raise DataError(
            f"figures of {counts[0][1]:,} generated beside {counts[0][0]:,} real images and of {counts[1][1]:,} beside "
            f"{counts[1][0]:,} cannot be compared: they depend on these numbers",
            fix="draw as many images with both models, from the same noise",
        )
    found: dict[str, tuple[float, tuple[float, float] | None]] = {}
    for name, figure in first.figures.items():
        other = second.figures[name]
        if figure.value is None or other.value is None:
            continue
        if figure.resampled is None or other.resampled is None:
            found[name] = figure.value - other.value, None
        else:
            found[name] = paired_difference(figure.resampled, other.resampled, figure.value, other.value, confidence)
    return found


def check_one_extractor(digests: Mapping[str, str]) -> None:
    """Makes sure that figures that are to stand side by side are of the same extractor: those of others mean something
    else, whatever their names are.

    Args:
        digests: the sha256 of the extractor, by the name of whose images it read.

    Raises:
        DataError: names the two.
    """
    (first, digest), *others = digests.items()
    for name, other in others:
        if other != digest:
            raise DataError(
                f"features of {first} and of {name} are of different extractors (sha256 {digest[:12]} and "
                f"{other[:12]}): their figures cannot be compared",
                where=name,
                fix="measure both with the same extractor",
            )


def _given(make: Callable[[], Any]) -> tuple[Any, str | None]:
    """What it makes, or why there are too few images."""
    try:
        return make(), None
    except DataError as problem:
        return None, problem.what


def _figure(
    compute: Callable[[], tuple[float, float | None]],
    resampled: Callable[[], np.ndarray | str],
    confidence: float,
    note: str | None = None,
) -> Figure:
    found, why_not = _given(compute)
    if found is None:
        return Figure(why_not=why_not)
    (value, deviation), values_R = found, resampled()
    if isinstance(values_R, str):
        return Figure(value, deviation, no_interval=values_R, note=note)
    spread = centred_interval(values_R, value, confidence)
    return Figure(value, deviation, spread, note=note, resampled=values_R)


def _inception(generated: ImageFeatures, resamples: int, confidence: float, seed: int) -> Figure:
    probabilities_NC = generated.probabilities_NC
    if probabilities_NC is None:
        return Figure(why_not="the extractor has no output layer for classes, of which the Inception score is made")
    count, classes = probabilities_NC.shape
    splits = min(SPLITS, max(1, count // classes)) if count >= FEWEST else 1
    note = None
    if splits < SPLITS:
        note = f"in {splits} split{'s' * (splits != 1)}: {SPLITS} need {SPLITS * classes:,} images"
    return _figure(
        lambda: inception_score(probabilities_NC, splits, seed),
        lambda: resampled_inception(probabilities_NC, splits, resamples, seed),
        confidence,
        note,
    )
