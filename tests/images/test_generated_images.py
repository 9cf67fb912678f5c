"""Figures of generated images: cases worked out by hand, what bias is and how it is seen, refusals, intervals."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import sqrtm

from tunewise.errors import DataError
from tunewise.evaluate.frechet_sizes import frechet_at_sizes
from tunewise.evaluate.generated_images import (
    frechet_distance,
    frechet_of_moments,
    inception_score,
    kernel_distance,
    kernel_estimate,
    moments,
)
from tunewise.evaluate.image_checks import fewest_images
from tunewise.evaluate.image_figures import ImageFeatures, check_one_extractor, figure_differences, image_figures
from tunewise.evaluate.image_intervals import (
    centred_interval,
    resampled_frechet,
    resampled_inception,
    resampled_kernel,
)


def rows(count: int, features: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, features))


def with_moments(mean: float, deviation: float, count: int = 60, features: int = 3) -> np.ndarray:
    """Images whose features have exactly this mean and deviation, and no covariance."""
    basis, _ = np.linalg.qr(np.column_stack([np.ones(count), rows(count, features)]))
    return mean + deviation * basis[:, 1:] * math.sqrt(count - 1)


# ---------------------------------------------------------------- Fréchet distance


def test_two_normal_distributions_in_closed_form():
    """|m - m'|^2 + sum (s - s')^2 where covariances are diagonal: 3 (2^2 + 1.5^2)."""
    assert frechet_distance(with_moments(0, 1), with_moments(2, 2.5)) == pytest.approx(3 * (4 + 2.25), rel=1e-12)


def test_covariances_that_do_not_commute_give_what_scipys_square_root_gives():
    first, second = rows(80, 6, 1) @ rows(6, 6, 2), rows(90, 6, 3) @ rows(6, 6, 4) + 1
    (mean, cov), (other_mean, other_cov) = moments(first), moments(second)
    root = sqrtm(cov @ other_cov)
    expected = ((mean - other_mean) ** 2).sum() + np.trace(cov + other_cov - 2 * root.real)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)


def test_identical_sets_have_no_distance_even_where_the_covariance_is_singular():
    whole = rows(70, 5) * 1e3
    assert frechet_distance(whole, whole) == pytest.approx(0, abs=1e-7)
    flat = np.column_stack([whole, whole[:, :2]])
    assert frechet_distance(flat, flat[::-1]) == pytest.approx(0, abs=1e-6)
    dead = np.column_stack([whole, np.zeros(70)])  # a feature that no image has
    assert math.isfinite(frechet_distance(dead, dead + 1))


def test_the_distance_falls_with_the_number_of_images_and_its_limit_is_nearer_the_truth():
    features = 16
    mixed, moved = rows(features, features, 5) / 4, 0.1 * rows(1, features, 6)
    cov = mixed @ mixed.T + 0.1 * np.eye(features)
    truth = frechet_of_moments(np.zeros(features), np.eye(features), moved[0], cov)
    factor = np.linalg.cholesky(cov)
    plain, limits = [], []
    for seed in range(12):
        generated = rows(200, features, 100 + seed) @ factor.T + moved
        growth = frechet_at_sizes(rows(200, features, 200 + seed), generated, seed=seed)
        distances = [point.distance for point in growth.points]
        assert distances[0] > distances[-1] > truth
        assert [(point.real, point.generated) for point in growth.points][-1] == (200, 200)
        assert growth.points[0].generated == fewest_images(features) == 50
        plain.append(distances[-1])
        limits.append(growth.infinite)
    assert abs(np.mean(limits) - truth) < 0.5 * (np.mean(plain) - truth)


def test_where_there_is_no_room_for_smaller_sets_the_limit_is_left_out_with_the_reason():
    growth = frechet_at_sizes(rows(99), rows(120, seed=1))
    assert growth.infinite is None and len(growth.points) == 1
    assert "100 images of each kind are needed" in growth.why_not and "99 and 120" in growth.why_not
    assert frechet_at_sizes(rows(100), rows(120, seed=1)).infinite is not None


@pytest.mark.parametrize(("features", "images"), [(4, 49), (80, 80)])
def test_too_few_images_for_a_frechet_distance_are_refused(features, images):
    with pytest.raises(DataError) as problem:
        frechet_distance(rows(500, features), rows(images, features))
    assert f"at least {max(50, features + 1)} real" in problem.value.what and f"and {images}" in problem.value.what
    assert "fewer features" in problem.value.fix
    assert frechet_distance(rows(500, features), rows(images + 1, features)) > 0


@pytest.mark.parametrize("compute", [frechet_distance, kernel_estimate, kernel_distance, frechet_at_sizes])
def test_features_that_are_not_sound_are_refused(compute):
    with pytest.raises(DataError, match="same extractor"):
        compute(rows(60, 4), rows(60, 5))
    with pytest.raises(DataError, match="1 of 60 generated images are not finite"):
        compute(rows(60), np.where(np.arange(60)[:, None] == 7, np.nan, rows(60)))


# ---------------------------------------------------------------- kernel distance


def kernel(first: np.ndarray, second: np.ndarray) -> float:
    return (float(first @ second) / len(first) + 1) ** 3


def unbiased(real: np.ndarray, generated: np.ndarray) -> float:
    """Image by image, as the definition says."""

    def within(images: np.ndarray) -> float:
        return np.mean([kernel(a, b) for i, a in enumerate(images) for j, b in enumerate(images) if i != j])

    return within(real) + within(generated) - 2 * np.mean([kernel(a, b) for a in real for b in generated])


def test_the_kernel_distance_is_what_the_definition_says():
    real, generated = rows(12), rows(15, seed=1) + 0.5
    assert kernel_estimate(real, generated) == pytest.approx(unbiased(real, generated), rel=1e-10)
    mean, deviation = kernel_distance(real, generated[:12], subsets=5, size=12)
    assert mean == pytest.approx(unbiased(real, generated[:12]), rel=1e-10)
    assert deviation == pytest.approx(0, abs=1e-12)  # every subset is the whole set


def test_the_kernel_distance_is_unbiased_and_its_subsets_follow_from_the_seed():
    values = [kernel_estimate(rows(10, seed=2 * seed), rows(10, seed=2 * seed + 1)) for seed in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20
    real, generated = rows(40), rows(40, seed=1) + 1
    first, again, other = (kernel_distance(real, generated, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert first[0] == pytest.approx(kernel_estimate(real, generated), abs=0.2 * first[1]) and first[1] > 0


def test_more_images_than_a_block_of_the_kernel_matrix_change_nothing(monkeypatch):
    real, generated = rows(30), rows(25, seed=1)
    whole = kernel_estimate(real, generated)
    resampled = resampled_kernel(real, generated, 20)
    monkeypatch.setattr("tunewise.evaluate.generated_images._AT_ONCE", 7)
    assert kernel_estimate(real, generated) == pytest.approx(whole, rel=1e-10)
    np.testing.assert_allclose(resampled_kernel(real, generated, 20), resampled, rtol=1e-9, atol=1e-12)


def test_too_few_images_for_a_kernel_distance_are_refused():
    with pytest.raises(DataError, match="at least 10 real and 10 generated images; there are 30 and 9"):
        kernel_estimate(rows(30), rows(9))
    with pytest.raises(DataError, match="subsets of 20 needs at least 20"):
        kernel_distance(rows(30), rows(15), size=20)
    with pytest.raises(DataError, match="at least one subset of at least two"):
        kernel_distance(rows(30), rows(15), subsets=0)


# ---------------------------------------------------------------- Inception score


def test_certain_and_evenly_spread_classes_score_their_number_and_equal_ones_score_one():
    certain = np.eye(4)[np.arange(400) % 4]
    mean, deviation = inception_score(certain, splits=1)
    assert (mean, deviation) == (pytest.approx(4, rel=1e-12), 0)
    constant = np.tile([0.7, 0.2, 0.1, 0.0], (400, 1))
    assert inception_score(constant) == (pytest.approx(1, abs=1e-12), pytest.approx(0, abs=1e-12))


def test_the_order_of_images_by_class_does_not_lower_the_score():
    in_order = np.repeat(np.eye(4), 100, axis=0)
    assert inception_score(in_order)[0] > 3.5  # splits of one class each would score 1


def test_what_no_inception_score_can_be_made_of_is_refused():
    with pytest.raises(DataError) as problem:
        inception_score(np.full((120, 20), 0.05))
    assert "at least 200 images" in problem.value.what and "at most 6 splits" in problem.value.fix
    assert inception_score(np.full((120, 20), 0.05), splits=6)[0] == pytest.approx(1)
    with pytest.raises(DataError, match="at least 50 images"):
        inception_score(np.full((40, 2), 0.5), splits=1)
    with pytest.raises(DataError, match="sum to 1"):
        inception_score(np.full((100, 3), 0.5))


# ---------------------------------------------------------------- intervals


def drawn_again(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.repeat(images, weights.astype(int), axis=0)


def test_a_resample_counts_images_as_often_as_they_were_drawn():
    from tunewise.evaluate.intervals import resamples

    real, generated = rows(60, 3), rows(70, 3, 1) + 10
    weights = [
        next(resamples(len(images), 3, np.random.default_rng([5, kind])))
        for kind, images in enumerate((real, generated))
    ]
    expected = [
        frechet_of_moments(*moments(drawn_again(real, ours)), *moments(drawn_again(generated, theirs)))
        for ours, theirs in zip(*weights, strict=True)
    ]
    np.testing.assert_allclose(resampled_frechet(real, generated, 3, seed=5), expected, rtol=1e-9)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 70)
    scores = [inception_score(drawn_again(probabilities, theirs), splits=1)[0] for theirs in weights[1]]
    np.testing.assert_allclose(resampled_inception(probabilities, 1, 3, seed=5), scores, rtol=1e-9)


def test_a_split_of_which_nothing_was_drawn_leaves_the_others():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(2), 50)
    values = resampled_inception(probabilities, 25, 100)  # of two images each: every seventh stays empty
    assert np.isfinite(values).all() and values.std() > 0


def test_an_image_drawn_twice_is_not_compared_with_itself():
    real, generated = rows(40), rows(40, seed=1)
    values = resampled_kernel(real, generated, 400)
    assert abs(values.mean() - kernel_estimate(real, generated)) < 4 * values.std() / 20


def test_an_interval_lies_around_the_distance_and_is_as_wide_as_new_images_ask_for():
    """Resamples alone lie above it: each has fewer different images."""
    drawn = [(rows(100, 4, 2 * seed), rows(100, 4, 2 * seed + 1) + 1) for seed in range(60)]
    distances = [frechet_distance(*pair) for pair in drawn]
    values = resampled_frechet(*drawn[0], 300)
    low, high = centred_interval(values, distances[0], 0.95)
    assert low < distances[0] < high and values.mean() > distances[0]
    assert 0.6 < (high - low) / (2 * 1.96 * np.std(distances)) < 1.7


def test_where_resampling_is_too_much_work_there_is_a_reason_in_its_place():
    assert "more than 3e+11" in resampled_frechet(rows(600, 500), rows(600, 500), 1000)
    assert "no interval" in resampled_kernel(rows(10_000, 1), rows(10_000, 1), 1000)


# ---------------------------------------------------------------- all of them


def features(images: np.ndarray, classes: int | None = 3, sha256: str = "a" * 64) -> ImageFeatures:
    probabilities = None
    if classes:
        weights = np.exp(images[:, :classes])
        probabilities = weights / weights.sum(axis=1, keepdims=True)
    return ImageFeatures(images, probabilities, "features of a test", sha256)


def test_all_figures_come_with_their_intervals_and_become_plain_data():
    import json

    found = image_figures(features(rows(120)), features(rows(110, seed=1) + 0.5), resamples=200)
    assert list(found.figures) == ["fid", "fid_infinity", "kid", "inception_score"]
    for name in ("fid", "kid", "inception_score"):
        low, high = found.figures[name].interval
        assert low < found.figures[name].value < high
    told = json.loads(json.dumps(found.as_dict()))
    assert told["extractor"] == {"name": "features of a test", "sha256": "a" * 64, "features": 4}
    assert (told["real"], told["generated"]) == (120, 110)
    assert len(told["fid_at"]) == 10 and told["fid_at"][-1]["fid"] == told["figures"]["fid"]["value"]
    assert "resampled" not in told["figures"]["fid"] and told["figures"]["kid"]["deviation"] > 0


def test_figures_that_need_more_images_are_missing_with_the_reason():
    found = image_figures(features(rows(120)), features(rows(20, seed=1), classes=None), resamples=200)
    assert found.figures["kid"].value is not None and found.growth is None
    for name in ("fid", "fid_infinity"):
        assert found.figures[name].value is None and "at least 50" in found.figures[name].why_not
    assert "no output layer for classes" in found.figures["inception_score"].why_not
    found = image_figures(features(rows(60)), features(rows(60, 4, 1), 4), resamples=200)
    assert found.figures["inception_score"].note is None
    found = image_figures(features(rows(60, 8)), features(rows(60, 8, 1), 8), resamples=200)
    assert found.figures["inception_score"].note == "in 7 splits: 10 need 80 images"
    few = image_figures(features(rows(60)), features(rows(40, 4, 1)), resamples=200)
    assert "at least 50 images" in few.figures["inception_score"].why_not


def test_models_that_drew_from_the_same_noise_are_compared_in_pairs():
    real, noise = features(rows(120)), rows(120, seed=1)
    first, second = (image_figures(real, features(noise + by), resamples=200) for by in (1.0, 0.9))
    differences = figure_differences(first, second)
    for name in ("fid", "kid"):
        value, (low, high) = differences[name]
        assert value == pytest.approx(first.figures[name].value - second.figures[name].value)
        assert 0 < low < value < high
        alone = first.figures[name].interval
        assert high - low < 0.5 * (alone[1] - alone[0])
    assert differences["fid_infinity"][1] is None


def test_figures_of_two_extractors_are_not_compared():
    real, other = features(rows(120)), features(rows(120, seed=1), sha256="b" * 64)
    with pytest.raises(DataError, match="different extractors"):
        image_figures(real, other)
    first = image_figures(real, features(rows(120, seed=1)), resamples=200)
    with pytest.raises(DataError, match="cannot be compared"):
        figure_differences(first, replace(first, sha256="b" * 64))
    with pytest.raises(DataError, match="depend on these numbers"):
        figure_differences(first, replace(first, generated=50))
    check_one_extractor({"full": "a", "lora": "a"})
    with pytest.raises(DataError) as problem:
        check_one_extractor({"full": "a" * 64, "lora": "a" * 64, "head": "b" * 64})
    assert problem.value.where == "head"
