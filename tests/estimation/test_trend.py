from __future__ import annotations

import numpy as np
import pytest

from tunewise.estimation.trend import Trend, trend_of


def test_a_line_is_found_again() -> None:
    work = np.array([1.0, 2.0, 5.0, 9.0])
    trend = trend_of(work, 0.25 + 0.5 * work)
    assert trend == Trend(pytest.approx(0.25), pytest.approx(0.5))
    assert trend.at(np.array([0.0, 4.0])) == pytest.approx([0.25, 2.25])


def test_a_few_slow_steps_do_not_move_it() -> None:
    work = np.arange(1.0, 21.0)
    seconds = 0.1 + 0.02 * work
    seconds[[3, 11, 19]] *= 10  # least squares would put the slope at 0.05
    trend = trend_of(work, seconds)
    assert trend.slope == pytest.approx(0.02, rel=0.05) and trend.start == pytest.approx(0.1, rel=0.05)
    assert np.polyfit(work, seconds, 1)[0] > 0.04


def test_the_slope_is_the_median_of_all_pairs() -> None:
    generator = np.random.default_rng(0)
    work = np.arange(1.0, 10.0)
    seconds = 5 + work + generator.normal(0, 0.3, 9)
    slopes = [(seconds[b] - seconds[a]) / (work[b] - work[a]) for a in range(9) for b in range(a + 1, 9)]
    found = trend_of(work, seconds)
    assert found.slope == pytest.approx(np.median(slopes))
    assert found.start == pytest.approx(np.median(seconds - np.median(slopes) * work))


def test_neither_start_nor_slope_is_below_zero() -> None:
    assert trend_of([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) == Trend(2.0, 0.0)  # noise alone: level
    steep = trend_of([10.0, 20.0, 30.0], [1.0, 3.0, 5.0])  # the line through them begins below 0
    assert steep.start == 0.0 and steep.slope == pytest.approx(3 / 20)


def test_points_of_one_amount_of_work_make_a_level_line() -> None:
    assert trend_of([2.0, 2.0, 2.0], [1.0, 5.0, 1.5]) == Trend(1.5, 0.0)
    assert trend_of([2.0], [1.0]) == Trend(1.0, 0.0)


def test_no_point_is_no_line() -> None:
    with pytest.raises(ValueError, match="one point"):
        trend_of([], [])
