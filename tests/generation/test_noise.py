"""Noise on images: as diffusers adds it, weighted by hand-computed values, and drawn by row alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tunewise.data.noise import Drawn, NoisedPixels
from tunewise.data.pixels import Pixels
from tunewise.models.noise_schedule import NoiseSchedule

PREDICTIONS = ("epsilon", "sample", "v_prediction")


def schedule(prediction: str = "epsilon") -> NoiseSchedule:
    betas = np.linspace(1e-4, 0.02, 1000, dtype=np.float64)
    return NoiseSchedule(np.cumprod(1 - betas).astype(np.float32), prediction)


def noised(count: int = 6, **options) -> NoisedPixels:
    stored = np.random.default_rng(0).integers(0, 256, (count, 1, 4, 4), dtype=np.uint8)
    pixels = Pixels(stored, np.full(1, 2 / 255, np.float32), np.full(1, -1, np.float32))
    return NoisedPixels(pixels, None, schedule(), **{"drawn": Drawn(), **options})


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_noise_and_what_is_predicted_are_those_of_diffusers(prediction):
    from diffusers import DDPMScheduler

    ours, theirs = schedule(prediction), DDPMScheduler(prediction_type=prediction)
    assert np.allclose(ours.alphas_T, theirs.alphas_cumprod.numpy(), rtol=2e-5)
    ours = NoiseSchedule(theirs.alphas_cumprod.numpy(), prediction)
    generator = np.random.default_rng(1)
    images, noise = generator.standard_normal((2, 5, 3, 4, 4)).astype(np.float32)
    steps = np.array([0, 1, 300, 998, 999])
    as_torch = [torch.from_numpy(values) for values in (images, noise, steps)]
    assert np.allclose(ours.noised(images, noise, steps), theirs.add_noise(*as_torch).numpy(), atol=1e-6)
    wanted = {"epsilon": as_torch[1], "sample": as_torch[0], "v_prediction": theirs.get_velocity(*as_torch)}[prediction]
    assert np.allclose(ours.wanted(images, noise, steps), wanted.numpy(), atol=1e-6)


def test_weights_of_min_snr_by_hand():
    alphas = np.array([0.9, 0.5, 0.0], np.float32)  # SNR 9, 1, 0
    steps = np.arange(3)
    assert NoiseSchedule(alphas, "epsilon").weights(steps, 5.0) == pytest.approx([5 / 9, 1, 1], rel=1e-5)
    assert NoiseSchedule(alphas, "sample").weights(steps, 5.0) == pytest.approx([5, 1, 0], rel=1e-5)
    assert NoiseSchedule(alphas, "v_prediction").weights(steps, 5.0) == pytest.approx([5 / 10, 1 / 2, 0], rel=1e-5)
    assert NoiseSchedule(alphas, "epsilon").weights(steps, None).tolist() == [1, 1, 1]


def test_what_a_row_reads_depends_on_seed_epoch_and_row_alone():
    whole = noised(drawn=Drawn(3, 1)).batch([0, 1, 2, 3, 4, 5])
    few = noised(drawn=Drawn(3, 1)).batch([4, 2])
    for name in ("pixel_values", "wanted", "timestep"):
        assert torch.equal(whole[name][[4, 2]], few[name])
    for other in (Drawn(4, 1), Drawn(3, 2)):
        assert not torch.equal(noised(drawn=other).batch([4, 2])["wanted"], few["wanted"])
    assert not torch.equal(whole["wanted"][0], whole["wanted"][1])


def test_rows_of_a_step_keep_their_numbers():
    whole = noised(drawn=Drawn(0, 0))
    some = noised(drawn=Drawn(0, 0), rows_N=np.array([0, 1, 2, 5, 4, 3])).batch([3])
    assert torch.equal(some["wanted"], whole.batch([5])["wanted"])


def test_fixed_timesteps_are_spread_evenly_over_the_range():
    drawn, count = Drawn(), 50
    steps = [drawn.step(row, count, 1000) for row in range(count)]
    assert sorted(steps) == [10 + 20 * place for place in range(count)]
    assert steps != sorted(steps)  # the order of rows, which may be that of classes, has nothing to do with it
    assert np.array_equal(drawn.noise(3, (1, 4, 4)), Drawn(seed=9).noise(3, (1, 4, 4)))


def test_drawn_timesteps_are_uniform_and_noise_is_normal():
    drawn = Drawn(0, 0)
    steps = np.array([drawn.step(row, 1, 10) for row in range(2000)])
    assert np.bincount(steps, minlength=10).min() > 140
    noise = np.stack([drawn.noise(row, (64,)) for row in range(500)])
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
