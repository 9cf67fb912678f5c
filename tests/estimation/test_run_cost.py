"""What a run would cost, against what it does cost. Times are never compared: the machine may be busy."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest

from tunewise.engine.loop import Training
from tunewise.errors import MethodError
from tunewise.estimation import calibration, embedding, run_cost
from tunewise.estimation.cached import open_some
from tunewise.estimation.calibration import Calibration, Shapes, spread
from tunewise.models.cost import StepFlops

EXACT = 1e-9
PHASED = ("gradual", "ulmfit", "chain_thaw", "lp_ft", "chosen_blocks", "adaptive")


def assert_same_flops(cost, record) -> None:
    assert cost.forward_flops == pytest.approx(record.costs.forward_flops, rel=EXACT)
    assert cost.backward_flops == pytest.approx(record.costs.backward_flops, rel=EXACT)


@pytest.mark.parametrize("method", ["features", "head", "last_k", "full", {"lora": {"rank": 2}}, "adapter", *PHASED])
def test_what_can_be_counted_is_what_a_run_records(method, recipe, estimated, real) -> None:
    chosen = recipe(method)
    cost, record = estimated(chosen), real(chosen)
    assert_same_flops(cost, record)
    assert cost.trainable_parameters == record.costs.trainable_parameters
    assert cost.total_parameters == record.costs.total_parameters
    assert cost.saved_bytes == pytest.approx(record.costs.saved_bytes, rel=0.6)  # without the model card
    if method == "features":
        assert cost.steps == cost.phases == cost.checkpoint_bytes == 0 and cost.seconds.validate == 0
    else:
        assert cost.phases == len(record.plans) and cost.steps == 2 * 8 and cost.checkpoint_bytes > 0
    seconds = cost.seconds
    assert min(seconds.load, seconds.prepare, seconds.train, seconds.evaluate, seconds.save) > 0
    assert seconds.total == pytest.approx(sum(vars(seconds).values())) and seconds.marginal < seconds.total


@pytest.mark.parametrize(
    "train",
    [
        {"accumulate": 3},
        {"batch_tokens": 90},
        {"epochs": 1.3},
        {"group_by_length": False, "evaluate_every": 3},
        {"cache": False},
    ],
    ids=lambda train: next(iter(train)),
)
@pytest.mark.parametrize("method", ["head", "gradual"])
def test_whatever_the_course(method, train, recipe, estimated, real) -> None:
    chosen = recipe(method, **{"epochs": 2, **train})
    assert_same_flops(estimated(chosen), real(chosen))


@pytest.mark.parametrize("method", ["features", "head", "last_k", "chosen_blocks"])
def test_rows_in_windows_cost_all_their_windows(method, recipe, estimated, real) -> None:
    windows = {"cut": "chunks", "chunk_stride": 1, "max_length": 10}
    cost = estimated(recipe(method, **windows))
    assert_same_flops(cost, real(recipe(method, **windows)))
    assert cost.forward_flops > 1.3 * estimated(recipe(method, max_length=10)).forward_flops


@pytest.mark.parametrize(
    ("method", "train"), [("head", {}), ("last_k", {}), ("last_k", {"cut": "chunks", "max_length": 10})]
)
def test_where_few_rows_are_kept_all_are_counted(
    method, train, recipe, estimated, real, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "MOST_STEPS", 2)
    chosen, opened = recipe(method, batch_size=4, **train), []

    def watched(*arguments):
        opened.append(open_some(*arguments))
        return opened[-1]

    monkeypatch.setattr(calibration, "open_some", watched)
    cost = estimated(chosen)
    assert cost.measured_steps == 4 < cost.steps
    assert_same_flops(cost, real(chosen))
    assert opened[0].bytes > 0 and opened[0].of_all.seconds > opened[0].spent.seconds > 0


def test_a_budget_of_nothing_still_counts_all(recipe, estimated, real) -> None:
    chosen = recipe("gradual")
    cost = estimated(chosen, budget=0.0)
    assert_same_flops(cost, real(chosen))
    assert cost.measured_steps < cost.steps
    assert any("told by phases before" in note for note in cost.notes)


def test_more_budget_carries_out_more(recipe, estimated) -> None:
    few, many = (estimated(recipe("full"), budget=budget).measured_steps for budget in (0.0, 60.0))
    assert 6 == few < many == 1 + 16 + 6  # all 16, and the heaviest before every third of them


def test_features_of_few_rows_tell_of_all(recipe, estimated, real, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "PROBE", 8)
    monkeypatch.setattr(embedding, "ROWS_PER_OUTPUT", 1)
    chosen = recipe("features")
    cost = estimated(chosen, budget=0.0)
    assert_same_flops(cost, real(chosen))
    assert any("one row in" in note for note in cost.notes)


def test_the_step_of_most_padded_tokens_comes_first(recipe, estimated, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[int, int]] = []
    step = Training._step

    def watched(training: Calibration) -> None:
        widest = [
            sum(len(rows) * int(training.inputs.lengths[rows].max()) for rows in training.course.micro_batches(number))
            for number in range(training.course.total_steps)
        ]
        taken.append((widest[training.progress.step], max(widest)))
        step(training)

    monkeypatch.setattr(Training, "_step", watched)
    estimated(recipe("full"))
    assert taken[0][0] == taken[0][1] == taken[1][0] and min(tokens for tokens, _ in taken) < taken[0][0]


def test_it_writes_into_its_scratch_folder_only(recipe, estimated, tmp_path: Path) -> None:
    estimated(recipe("lora"))
    assert {path.name for path in tmp_path.iterdir()} <= {"scratch", "cache of the estimate"}


def test_what_the_run_would_meet_is_raised(recipe, estimated) -> None:
    with pytest.raises(MethodError, match="blocks"):
        estimated(recipe({"last_k": {"k": 99}}))


def test_a_baseline_has_a_time_and_no_flops(recipe, estimated) -> None:
    cost = estimated(recipe("head"), baseline="tfidf")
    assert cost.seconds.train > 0 == cost.forward_flops and cost.steps == cost.saved_bytes == 0


def test_what_only_training_needs_is_gone_before_evaluation(recipe, estimated, monkeypatch: pytest.MonkeyPatch) -> None:
    made, alive, evaluate = [], [], run_cost.evaluate
    begin = Calibration.__post_init__

    def watched(training: Calibration) -> None:
        begin(training)
        made.append(weakref.ref(training))

    def evaluating(*arguments):
        alive.append(made[0]() is not None)
        return evaluate(*arguments)

    monkeypatch.setattr(Calibration, "__post_init__", watched)
    monkeypatch.setattr(run_cost, "evaluate", evaluating)
    estimated(recipe("full"))
    assert alive == [False]  # or its moments would count where a run has none


def test_a_cache_that_is_too_small_is_told(recipe, estimated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MOST_STEPS", 2)
    monkeypatch.setenv("TUNEWISE_CACHE_LIMIT", "60000")
    notes = estimated(recipe("last_k", batch_size=4)).notes
    assert any("the cache has room for" in note for note in notes)


# ---------------------------------------------------------------- parts


def test_flops_of_steps_are_the_sums_of_their_batches() -> None:
    shapes = Shapes(np.array([0, 0, 1, 2, 2]), np.array([4, 2, 8, 1, 1]), np.array([5, 9, 3, 7, 2]), np.zeros(5, int))
    flops = StepFlops(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    forward, backward = shapes.flops(flops, 0, 3)
    two = flops.forward(4, 5) + flops.forward(2, 9), flops.forward(1, 7) + flops.forward(1, 2)
    assert forward.tolist() == [two[0], flops.forward(8, 3), two[1]]
    assert backward[1] == flops.backward(8, 3)
    assert shapes.flops(flops, 1, 2)[0].tolist() == [flops.forward(8, 3)]
    assert shapes.flops(StepFlops(), 0, 3)[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("count", [1, 2, 5, 40, 1000])
def test_steps_are_spread_however_early_one_stops(count: int) -> None:
    work = np.random.default_rng(count).random(count)
    steps = list(spread(work, first=100))
    assert len(set(steps)) == len(steps) <= calibration.MOST_STEPS
    assert all(100 <= step < 100 + count for step in steps)
    if count <= 5:
        assert len(steps) == count
    if count == 1000:
        for taken in (5, 20, 60):
            ranks = np.sort([int((work < work[step - 100]).sum()) for step in steps[:taken]])
            assert np.diff(ranks, prepend=0, append=1000).max() <= 2.7 * 1000 / taken
