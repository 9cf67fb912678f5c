from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from multiprocessing import Pipe

import pytest

from tunewise.engine.events import Evaluated, Finished, Observer, Observers, Planned, Saved, Started, Step, Warned

EVENTS = [
    Started(10, "lora"),
    Planned(0, 1200, 0),
    Step(1, 0.1, 0.7, 1e-4, 1.5, 320, 0.02),
    Evaluated(1, 0.1, "validation", 0.6, {"f1_macro": 0.5}),
    Saved(1, "checkpoints/step-00000001-0123abcd"),
    Warned("too long", 1),
    Finished("finished", 1),
]


class Recorder(Observer):
    def __init__(self):
        self.seen = []

    def _keep(self, event):
        self.seen.append(event)

    on_started = on_planned = on_step = on_evaluated = on_saved = on_warned = on_finished = _keep


class Broken(Observer):
    def on_step(self, event: Step) -> None:
        raise RuntimeError("the disk is full")


def test_every_event_reaches_every_observer_in_order() -> None:
    first, second = Recorder(), Recorder()
    observers = Observers([first, second, Observer()])
    for event in EVENTS:
        observers.emit(event)
    assert first.seen == second.seen == EVENTS


def test_can_be_used_as_an_observer() -> None:
    inner = Recorder()
    observers = Observers([inner])
    for event in EVENTS:
        getattr(observers, f"on_{type(event).__name__.lower()}")(event)
    assert inner.seen == EVENTS


def test_a_broken_observer_is_dropped_with_one_warning() -> None:
    before, broken, after = Recorder(), Broken(), Recorder()
    observers = Observers([before, broken, after])
    for step in (1, 2, 3):
        observers.emit(Step(step, 0.1, 0.7, 1e-4, 1.5, 320, 0.02))
    message = "Broken stopped at step 1, and the run goes on without it: RuntimeError: the disk is full"
    assert observers.warnings == [message]
    assert [event.step for event in after.seen if isinstance(event, Step)] == [1, 2, 3]
    assert before.seen == after.seen and before.seen[1] == Warned(message, 1)


def test_observers_that_break_on_the_warning_of_another() -> None:
    class BrokenToo(Observer):
        def on_warned(self, event: Warned) -> None:
            raise ValueError("me too")

    last = Recorder()
    observers = Observers([Broken(), BrokenToo(), Broken(), last])
    observers.emit(EVENTS[2])
    observers.emit(EVENTS[2])
    assert [event for event in last.seen if isinstance(event, Step)] == [EVENTS[2]] * 2
    assert sum("BrokenToo stopped" in warning for warning in observers.warnings) == 1


def test_ctrl_c_is_not_caught() -> None:
    class Interrupting(Observer):
        def on_step(self, event: Step) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Observers([Interrupting()]).emit(EVENTS[2])


def test_a_warning_without_a_step_is_about_the_last_one() -> None:
    seen = Recorder()
    observers = Observers([seen])
    observers.emit(Warned("early"))
    observers.emit(Started(10, "full", step=4))
    observers.emit(Warned("resumed"))
    observers.emit(EVENTS[2])
    observers.emit(Warned("late"))
    assert [event.step for event in seen.seen if isinstance(event, Warned)] == [0, 4, 1]


def test_warnings_are_listed_once() -> None:
    observers = Observers()
    for message in ("a", "b", "a"):
        observers.emit(Warned(message))
    assert observers.warnings == ["a", "b"]


def test_warnings_of_an_earlier_session_come_first_and_once() -> None:
    observers = Observers()
    observers.emit(Warned("rows were cut"))
    observers.recall(["rows were cut", "over-fitting"])
    observers.emit(Warned("over-fitting"))
    observers.emit(Warned("new"))
    assert observers.warnings == ["rows were cut", "over-fitting", "new"]


def test_the_end_is_at_the_last_step() -> None:
    seen = Recorder()
    observers = Observers([seen])
    observers.emit(EVENTS[2])
    observers.emit(Finished("failed"))
    assert seen.seen[-1] == Finished("failed", EVENTS[2].step)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_cannot_be_changed_and_can_be_sent(event) -> None:
    for item in fields(event):
        with pytest.raises(FrozenInstanceError):
            setattr(event, item.name, None)
    there, here = Pipe()
    there.send(event)
    assert here.recv() == event


def test_scores_cannot_be_changed() -> None:
    given = {"f1_macro": 0.5}
    event = Evaluated(1, 0.1, "validation", 0.6, given)
    given["f1_macro"] = 1.0
    assert event.scores["f1_macro"] == 0.5
    with pytest.raises(TypeError):
        event.scores["f1_macro"] = 1.0
