"""The advice, against hand-made statistics."""

from __future__ import annotations

from typing import Any

import comparison_samples as samples
import pytest

from tunewise.report.words import advise, gap

CONTEXT = {"metric": "f1_macro", "greater_is_better": True}


def pair(difference: float, low: float, high: float, sure: bool) -> dict[str, Any]:
    better = ("first" if difference > 0 else "second") if sure else None
    return {
        "first": "first",
        "second": "second",
        "difference": difference,
        "low": low,
        "high": high,
        "p_adjusted": 0.01 if sure else 0.4,
        "distinguishable": sure,
        "better": better,
    }


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((0.012, 0.001, 0.024, True), "1.2 points lower (interval 0.1 to 2.4)"),
        ((-0.012, -0.024, -0.001, True), "1.2 points higher (interval 0.1 to 2.4)"),
        (
            (0.012, -0.005, 0.03, False),
            "1.2 points lower, a difference inside the interval (−0.5 to 3.0): it may be chance",
        ),
        (
            (0.012, 0.001, 0.024, False),
            "1.2 points lower (interval 0.1 to 2.4), not certain once corrected for the number of comparisons",
        ),
    ],
)
def test_a_gap_is_told_from_the_side_of_the_second(numbers: tuple[Any, ...], words: str) -> None:
    assert gap(pair(*numbers), CONTEXT) == words


def test_where_lower_is_better_the_gap_says_which_side_is_worse() -> None:
    context = {"metric": "rmse", "greater_is_better": False}
    assert gap(pair(-0.05, -0.08, -0.02, True), context) == "0.050 higher (worse) (interval 0.020 to 0.080)"


@pytest.fixture(scope="module")
def comparison() -> dict[str, Any]:
    return samples.comparison()


def test_the_advice_says_score_interval_and_cost(comparison: dict[str, Any]) -> None:
    advice = advise(comparison)
    found = comparison["recommendation"]
    assert advice.headline == f"Take {found['method']}."
    test = found["test"]
    assert f"{test['mean']:.3f} macro F1 on the 180 test rows" in advice.lead
    assert f"(95% interval {test['low']:.3f} to {test['high']:.3f}, mean of 3 seeds)" in advice.lead
    assert f"chosen on validation, where it scores {found['validation']:.3f}" in advice.lead


def test_cheaper_methods_are_told_dearest_first_and_the_majority_is_no_choice(comparison: dict[str, Any]) -> None:
    told = [point.text for point in advise(comparison).points if point.topic == "A cheaper choice"]
    expected = [
        each
        for each in reversed(comparison["recommendation"]["alternatives"])
        if each["method"] != "majority" and each["times_cheaper"] >= 1.15
    ][:4]
    assert told and [text.split(" is ")[0] for text in told] == [each["method"] for each in expected]
    assert f"{expected[-1]['times_cheaper']:.0f}x cheaper to train" in told[-1]


def test_whether_tuning_pays(comparison: dict[str, Any]) -> None:
    (point,) = [point for point in advise(comparison).points if point.topic == "Does tuning pay?"]
    method = comparison["recommendation"]["method"]
    assert point.text.startswith(f"Yes: {method} beats the baseline tfidf by ") and not point.warning

    found = comparison["recommendation"]
    unsure = {**found["against_baseline"], "difference": 0.01, "low": -0.02, "high": 0.04, "distinguishable": False}
    doubt = {**comparison, "recommendation": {**found, "tuning_pays": False, "against_baseline": unsure}}
    (point,) = [point for point in advise(doubt).points if point.topic == "Does tuning pay?"]
    assert point.text == (
        "Not shown: on test the baseline tfidf is 1.0 point lower, a difference inside the interval (−2.0 to 4.0): "
        "it may be chance."
    )
    assert point.warning


def test_a_method_that_wins_on_test_only_is_named(comparison: dict[str, Any]) -> None:
    found = comparison["recommendation"]
    told = {each["method"] for each in found["alternatives"]}
    other = next(
        each
        for each in comparison["pairs"]
        if each["first"] == found["method"] and each["second"] not in told and each["second"] in ("full", "layerwise")
    )
    beaten = {**other, "difference": -0.03, "low": -0.05, "high": -0.01, "distinguishable": True}
    beaten["better"] = other["second"]
    pairs = [beaten if each is other else each for each in comparison["pairs"]]
    (point,) = [each for each in advise({**comparison, "pairs": pairs}).points if each.topic == "Better on test"]
    assert point.text.startswith(f"{other['second']} is 3.0 points higher (interval 1.0 to 5.0) on test, though not on")


def test_a_chosen_baseline_is_said_to_be_one() -> None:
    plain = samples.comparison(methods=("head", "scratch"))
    found = {
        **plain["recommendation"],
        "method": "tfidf",
        "kind": "baseline",
        "against_baseline": None,
        "tuning_pays": False,
        "alternatives": [],
    }
    advice = advise({**plain, "recommendation": found})
    assert advice.headline == "Take tfidf: no fine-tuned model did better on validation."
    assert any(point.text.startswith("No: a baseline") for point in advice.points)


def test_one_run_is_no_choice_and_one_seed_is_a_warning() -> None:
    advice = advise(samples.comparison(methods=("full",), baselines=(), seeds=1))
    assert advice.headline.startswith("full scores 0.")
    assert [point.topic for point in advice.points] == ["One seed"]


def test_failures_are_counted_and_the_first_error_is_told() -> None:
    advice = advise(samples.comparison(methods=("full",), baselines=(), seeds=2, failed=(("full", 0), ("full", 1))))
    assert advice.headline == "No method has a result yet."
    assert advice.lead == "The first error: the loss was NaN at step 12"
    assert advice.points[0].text.startswith("Of 2 runs, 2 failed.")
