"""What is chosen by measurement: by a clock that the test moves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest
import torch

from tunewise.engine.candidates import attention_question, precision_question, threads_question
from tunewise.engine.machine import FEWEST, Answer, Machine, Question, Work, measure, this_machine
from tunewise.errors import TunewiseWarning
from tunewise.models.attention import AttentionShape


class Clock:
    """Stands still but for the work, each kind of which takes the seconds of its list in turn."""

    def __init__(self, **seconds: float | Iterable[float]):
        self.now, self.done = 0.0, []
        self.seconds = {
            name: cycle([each] if isinstance(each, (int, float)) else each) for name, each in seconds.items()
        }

    def __call__(self) -> float:
        return self.now

    def work(self) -> Mapping[str, Work]:
        return {name: lambda name=name: self._spend(name) for name in self.seconds}

    def _spend(self, name: str) -> None:
        self.done.append(name)
        self.now += next(self.seconds[name])


def question(clock: Clock, **changes: object) -> Question:
    return replace(Question("what", "plain", 1.2, clock.work), **changes)


@pytest.mark.parametrize(
    ("plain", "other", "choice"), [(1.0, 0.8, "other"), (1.0, 0.9, "plain"), (1.0, 1.0, "plain"), (1.0, 3.0, "plain")]
)
def test_only_a_decisive_candidate_is_taken(plain: float, other: float, choice: str) -> None:
    clock = Clock(plain=plain, other=other)
    found = measure(question(clock), clock)
    assert found.choice == choice and found.seconds == {"plain": pytest.approx(plain), "other": pytest.approx(other)}
    assert ("1.25 times as fast as plain" if choice == "other" else "the default; nothing else") in found.why


def test_candidates_take_turns_and_the_least_counts() -> None:
    clock = Clock(plain=[9.0, 5.0, 1.0], other=[0.5, 0.5, 70.0])
    assert measure(question(clock), clock).choice == "other"
    assert clock.done == ["plain", "other"] * (1 + 2 * FEWEST)


def test_quick_work_is_repeated_more_often() -> None:
    slow, quick = Clock(plain=1.0, other=1.0), Clock(plain=0.001, other=0.001)
    measure(question(slow), slow)
    measure(question(quick), quick)
    assert len(slow.done) < len(quick.done) <= 2 * 41


def test_rounds_that_disagree_are_repeated_once_and_then_the_default_stays() -> None:
    # Warm-up, then two rounds of two: the first round likes `other`, the second does not.
    first, both = [1.0, 1.0, 1.0, 1.0, 1.0], [1.0] * 4
    settled = Clock(plain=first + both, other=[1.0, 0.5, 0.5, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5])
    found = measure(question(settled), settled)
    assert found.choice == "other" and len(settled.done) == 2 * (1 + 8)
    torn = Clock(plain=first + both, other=[1.0, 0.5, 0.5, 1.0, 1.0, 0.5, 0.5, 1.0, 1.0])
    found = measure(question(torn), torn)
    assert found.choice == "plain" and "disagreed, twice" in found.why


# ---------------------------------------------------------------- kept


def machine(folder: Path, clock: Clock, **identity: object) -> Machine:
    return Machine(folder, {"cpu": "Abacus", "torch": "2.0", **identity}, clock)


def test_asked_once(tmp_path: Path) -> None:
    fast, slow = Clock(plain=1.0, other=0.5), Clock(plain=1.0, other=2.0)
    first = machine(tmp_path / "new", fast).ask(question(fast))
    assert first.choice == "other" and first.seconds == {"plain": 1.0, "other": 0.5}
    assert machine(tmp_path / "new", slow).ask(question(slow)) == first and slow.done == []
    content = json.loads((tmp_path / "new" / "machine.json").read_text())
    (kept,) = content["machines"].values()
    assert kept["machine"] == {"cpu": "Abacus", "torch": "2.0"} and kept["answers"]["what"]["choice"] == "other"


def test_each_question_for_itself(tmp_path: Path) -> None:
    clock = Clock(plain=1.0, other=0.5)
    machine(tmp_path, clock).ask(question(clock))
    found = machine(tmp_path, clock).ask(question(clock, name="else", margin=3.0))
    assert found.choice == "plain"
    assert machine(tmp_path, clock).ask(question(clock)).choice == "other"


@pytest.mark.parametrize("change", [{"cpu": "Quipu"}, {"torch": "2.1"}, {"cores": 3}])
def test_another_machine_is_measured_anew_and_both_are_kept(tmp_path: Path, change: dict[str, object]) -> None:
    here, there = Clock(plain=1.0, other=0.5), Clock(plain=1.0, other=2.0)
    assert machine(tmp_path, here).ask(question(here)).choice == "other"
    assert machine(tmp_path, there, **change).ask(question(there)).choice == "plain"
    count = len(here.done)
    assert machine(tmp_path, here).ask(question(here)).choice == "other" and len(here.done) == count


def test_a_damaged_file_is_measured_anew_with_a_warning(tmp_path: Path) -> None:
    clock = Clock(plain=1.0, other=0.5)
    machine(tmp_path, clock).ask(question(clock))
    file = tmp_path / "machine.json"
    file.write_text(file.read_text().replace('"other"', '"plain"'))
    count = len(clock.done)
    with pytest.warns(TunewiseWarning, match="measured again"):
        assert machine(tmp_path, clock).ask(question(clock)).choice == "other"
    assert len(clock.done) > count
    count = len(clock.done)
    assert machine(tmp_path, clock).ask(question(clock)).choice == "other" and len(clock.done) == count


def test_where_nothing_can_be_kept_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    clock = Clock(plain=1.0, other=0.5)
    with pytest.warns(TunewiseWarning, match="cannot be kept"):
        assert machine(tmp_path / "file" / "cache", clock).ask(question(clock)).choice == "other"


def test_this_machine_is_known_by_cpu_cores_and_torch(cache_of_the_tests: Path) -> None:
    found = this_machine()
    assert found.folder == cache_of_the_tests and found.identity == this_machine().identity
    assert found.identity["torch"] == torch.__version__ and found.identity["cores"] >= 1
    json.dumps(dict(found.identity))


# ---------------------------------------------------------------- the questions


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SHAPE = AttentionShape(heads=2, head_width=4, tokens=16, drops=True)


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (precision_question(), {"fp32", "bf16"}),
        (attention_question(SHAPE, True, "bf16"), {"eager", "sdpa"}),
        (attention_question(SHAPE, False, "bf16"), {"eager", "sdpa"}),
        (threads_question(6, "fp32"), {"1", "2", "4", "6"}),
    ],
)
def test_the_work_runs_and_leaves_the_generator_alone(asked: Question, names: set[str], one_thread: None) -> None:
    before = torch.get_rng_state()
    work = asked.work()
    assert set(work) == names and asked.default in names
    for carry_out in work.values():
        carry_out()
        carry_out()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")


def test_questions_differ_where_the_answer_may() -> None:
    wide = replace(SHAPE, tokens=32)
    names = [
        attention_question(shape, training, precision).name
        for shape in (SHAPE, wide)
        for training in (True, False)
        for precision in ("fp32", "bf16")
    ]
    # Prediction is in fp32 whatever training is in.
    assert len(set(names)) == 6 and names[2] == names[3]
    assert "dropout" in names[0] and "dropout" not in names[2]


def test_answers_compare_by_content() -> None:
    assert Answer("a", "b", {"c": 1.0}) == Answer("a", "b", {"c": 1.0})
