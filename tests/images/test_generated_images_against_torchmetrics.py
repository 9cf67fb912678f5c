"""FID, KID and Inception score are those of torchmetrics, on the same features."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tunewise.evaluate.generated_images import (
    frechet_distance,
    inception_score,
    kernel_distance,
    kernel_estimate,
    split_rows,
)

REAL = np.random.default_rng(0).normal(size=(120, 12)).astype(np.float32)
GENERATED = (1.3 * np.random.default_rng(1).normal(size=(120, 12)) @ np.diag(np.linspace(0.5, 1.5, 12)) + 0.3).astype(
    np.float32
)


class AsTheyAre(torch.nn.Module):
    """Takes features for images."""

    num_features = 12

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


@pytest.fixture(scope="module")
def theirs() -> SimpleNamespace:
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.inception import InceptionScore
    from torchmetrics.image.kid import KernelInceptionDistance

    return SimpleNamespace(
        FrechetInceptionDistance=FrechetInceptionDistance,
        KernelInceptionDistance=KernelInceptionDistance,
        InceptionScore=InceptionScore,
    )


def permuted_as(monkeypatch: pytest.MonkeyPatch, permute: Callable[[int], np.ndarray]) -> None:
    """torch draws the order that ours draws."""
    monkeypatch.setattr(torch, "randperm", lambda count, **_: torch.from_numpy(permute(count)))


def computed(metric: torch.nn.Module) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    metric.update(torch.from_numpy(REAL), real=True)
    metric.update(torch.from_numpy(GENERATED), real=False)
    return metric.compute()


def test_frechet_distance(theirs):
    metric = theirs.FrechetInceptionDistance(feature=AsTheyAre(), input_img_size=(12,))
    expected = float(computed(metric.set_dtype(torch.float64)))
    assert expected > 1
    assert frechet_distance(REAL, GENERATED) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size", [40, 120])
def test_kernel_distance(theirs, monkeypatch, size):
    rng = np.random.default_rng(3)
    permuted_as(monkeypatch, rng.permutation)
    mean, deviation = computed(theirs.KernelInceptionDistance(feature=AsTheyAre(), subsets=8, subset_size=size))
    ours = kernel_distance(REAL, GENERATED, subsets=8, size=size, seed=3)
    assert ours == (pytest.approx(float(mean), rel=1e-4), pytest.approx(float(deviation), rel=1e-3, abs=1e-5))
    if size == len(REAL):
        assert kernel_estimate(REAL, GENERATED) == pytest.approx(float(mean), rel=1e-4)


@pytest.mark.parametrize("splits", [1, 5, 10])
def test_inception_score(theirs, monkeypatch, splits):
    permuted_as(monkeypatch, lambda count: np.concatenate(split_rows(count, splits, 3)))
    metric = theirs.InceptionScore(feature=AsTheyAre(), splits=splits)
    logits = torch.from_numpy(GENERATED)
    metric.update(logits)
    mean, deviation = metric.compute()
    ours = inception_score(torch.softmax(logits.double(), dim=1).numpy(), splits=splits, seed=3)
    assert float(mean) > 1.1
    assert ours[0] == pytest.approx(float(mean), rel=1e-5)
    if splits > 1:  # theirs divides by one less than the number of splits, the authors' own code by the number
        assert ours[1] * np.sqrt(splits / (splits - 1)) == pytest.approx(float(deviation), rel=1e-4)
