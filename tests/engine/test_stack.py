"""Several LoRA runs in one pass over the base: each is the run that it would be alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import nn
from training_bench import At, Recorder, Setup

from tunewise.engine.events import Evaluated, Observer, Saved, Step, Warned
from tunewise.engine.stack import Member, Stack
from tunewise.engine.stop import Stop, Told
from tunewise.engine.train import train
from tunewise.errors import Interrupted, NonFiniteError
from tunewise.models.blocks import named_tensors
from tunewise.models.load import Net, load_net
from tunewise.models.located import LocatedModel
from tunewise.types import DataBundle

SCALES = (0.3, 1.0, 3.0)
Make = Callable[..., Setup]


@dataclass
class Run:
    """What a training was: its losses, its scores, its weights, where a checkpoint was saved, what it raised."""

    losses: list[float] = field(default_factory=list)
    scores: list[Any] = field(default_factory=list)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    saved: list[int] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    stacked: int = 0
    seconds: float = 0.0
    problem: BaseException | None = None


def watch(setup: Setup, observer: Observer) -> None:
    setup.job.observers._watching.append(observer)


def carried_out(setup: Setup, member: Member | None = None) -> Run:
    run, recorder = Run(), Recorder()
    torch.set_num_threads(1)
    watch(setup, recorder)
    job = setup.job if member is None else replace(setup.job, stack=member)
    try:
        trained = train(setup.net, setup.method, job)
        run.stacked, run.seconds = trained.stacked, trained.seconds
    except Exception as problem:
        run.problem = problem
    run.losses = [event.loss for event in recorder.of(Step)]
    run.scores = [(event.step, event.loss, event.scores) for event in recorder.of(Evaluated)]
    run.saved = [event.step for event in recorder.of(Saved)]
    run.told = [event.message for event in recorder.of(Warned)]
    run.weights, run.notes = setup.weights, tuple(setup.net.notes)
    return run


def in_a_stack(setups: Sequence[Setup]) -> list[Run]:
    runs: list[Run] = [Run()] * len(setups)

    def work(number: int) -> Callable[[Member], None]:
        def carry_out(member: Member) -> None:
            runs[number] = carried_out(setups[number], member)

        return carry_out

    assert Stack(len(setups)).run([work(number) for number in range(len(setups))]) == []
    return runs


def check_same(one: Run, other: Run) -> None:
    """Their first losses to 1e-5; what is left of rounding grows with the steps."""
    assert one.problem is None and other.problem is None, (one.problem, other.problem)
    assert len(one.losses) == len(other.losses) > 3
    assert one.losses[:4] == pytest.approx(other.losses[:4], rel=1e-5)
    assert one.losses == pytest.approx(other.losses, rel=1e-3)
    assert [step for step, *_ in one.scores] == [step for step, *_ in other.scores]
    assert one.weights.keys() == other.weights.keys()
    for name, tensor in one.weights.items():
        assert torch.allclose(tensor, other.weights[name], atol=1e-3), name


@pytest.fixture
def lora(training: Make, monkeypatch: pytest.MonkeyPatch) -> Make:
    """`lora(scale, at, options={}, **settings)`: a run of LoRA in a folder; its attention draws its masks as all other
    layers do."""
    usual = load_net

    def eager(located: LocatedModel, *args: Any, **named: Any) -> Net:
        return usual(located, *args, attention="eager", **named)

    monkeypatch.setattr("training_bench.load_net", eager)

    def make(scale: float, at: str, method: str = "lora", options: dict[str, Any] | None = None, **more: Any) -> Setup:
        options = {"rate_scale": scale, "rank": 4, **(options or {})}
        return training(method, at=at, options=options, **{"dropout": 0.1, **more})

    return make


def compared(make: Make, *args: Any, scales: Sequence[float] = SCALES, **more: Any) -> tuple[list[Run], list[Run]]:
    """The runs with these rates alone, and in a stack."""
    alone = [carried_out(make(scale, f"alone-{scale}", *args, **more)) for scale in scales]
    return alone, in_a_stack([make(scale, f"stacked-{scale}", *args, **more) for scale in scales])


# ---- the same run


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "gpt2"])
def test_every_run_of_a_stack_is_the_run_alone(lora: Make, family: str) -> None:
    alone, stacked = compared(lora, family=family, options={"dropout": 0.1})
    for one, other in zip(alone, stacked, strict=True):
        check_same(one, other)
        assert (one.stacked, other.stacked) == (1, 3)
    assert stacked[0].losses != stacked[1].losses


@pytest.mark.parametrize(
    ("method", "options", "more"),
    [
        ("lora_plus", {}, {}),
        ("pissa", {}, {}),
        ("lora", {"targets": "attention", "rank": 64}, {}),
        ("lora", {"dropout": 0.1}, {"objective": {"r_drop": 1.0}}),
        ("lora", {}, {"augment": {"mixup": 0.4}}),
        ("lora", {}, {"augment": {"word_dropout": 0.2}}),
        ("lora", {}, {"accumulate": 2}),
        ("lora", {}, {"batch_tokens": 64}),
        ("lora", {}, {"early_stopping": 1, "epochs": 6}),
        ("lora", {}, {"max_length": 8, "cut": "chunks"}),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else value,
)
def test_whatever_the_recipe_says(lora: Make, method: str, options: dict[str, Any], more: dict[str, Any]) -> None:
    alone, stacked = compared(lora, method, options, **more)
    for one, other in zip(alone, stacked, strict=True):
        check_same(one, other)
        assert other.stacked == 3


def test_numbers_too(lora: Make, toy_data: Callable[..., DataBundle]) -> None:
    for one, other in zip(*compared(lora, data=toy_data("regression")), strict=True):
        check_same(one, other)
        assert other.stacked == 3


def test_in_bf16_on_held_weights(lora: Make) -> None:
    base = {name: tensor.clone() for name, tensor in named_tensors(lora(1.0, "base").net.model).items()}
    setups = [lora(scale, f"stacked-{scale}", precision="bf16") for scale in SCALES]
    alone = [carried_out(lora(scale, f"alone-{scale}", precision="bf16")) for scale in SCALES]
    for one, other in zip(alone, in_a_stack(setups), strict=True):
        assert other.losses == pytest.approx(one.losses, rel=0.03)  # bf16 has 8 bits
        assert other.stacked == 3
    for setup in setups:  # what was shared is each one's own again, and as it was
        frozen = {name: tensor for name, tensor in named_tensors(setup.net.model).items() if name in base}
        same = [name for name, tensor in frozen.items() if not tensor.requires_grad]
        assert len(same) > 10 and all(torch.equal(frozen[name], base[name]) for name in same)
    places = [{tensor.data_ptr() for tensor in setup.net.model.parameters()} for setup in setups]
    assert not places[0] & places[1] and not places[1] & places[2]


def test_the_base_is_passed_once_for_all(lora: Make) -> None:
    setups = [lora(scale, f"stacked-{scale}", max_steps=6, evaluate_every=6) for scale in SCALES]
    rows: list[list[int]] = [[] for _ in setups]
    for setup, seen in zip(setups, rows, strict=True):
        block = setup.net.map.blocks[0].path
        layer = setup.net.model.get_submodule(block)

        def count(module: nn.Module, args: Any, output: Any, seen: list[int] = seen) -> None:
            if torch.is_grad_enabled():
                seen.append(len(args[0]))

        layer.register_forward_hook(count)
    in_a_stack(setups)
    assert rows == [[8, *[24] * 5], [8], [8]]  # the first step shows each what it costs


def test_its_own_seconds_are_a_share(lora: Make) -> None:
    begun = time.perf_counter()
    runs = in_a_stack([lora(scale, f"stacked-{scale}") for scale in SCALES])
    assert all(run.seconds > 0 for run in runs)
    assert sum(run.seconds for run in runs) < time.perf_counter() - begun


# ---- what cannot be one pass


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ({}, {"options": {"rank": 8}}, "does not train alike"),
        ({}, {"options": {"alpha": 8.0}}, "different kinds"),
        ({"method": "dora"}, {"method": "dora"}, "neither an update of a linear layer nor of the head"),
        ({"method": "norms", "options": {"rank": None}}, {"method": "norms", "options": {"rank": None}}, "neither"),
    ],
)
def test_what_differs_goes_alone_and_says_why(
    training: Make, first: dict[str, Any], second: dict[str, Any], why: str
) -> None:
    def make(at: str, given: dict[str, Any]) -> Setup:
        options = {"rank": 4, **given.get("options", {})}
        options = {name: value for name, value in options.items() if value is not None}
        return training(given.get("method", "lora"), at=at, options=options, dropout=0.0)

    alone = [carried_out(make("a0", first)), carried_out(make("a1", second))]
    stacked = in_a_stack([make("s0", first), make("s1", second)])
    for one, other in zip(alone, stacked, strict=True):
        check_same(one, other)
        assert other.stacked == 1 and any(why in note for note in other.notes)


def test_runs_of_other_seeds_go_alone(lora: Make) -> None:
    alone = [carried_out(lora(1.0, f"alone-{seed}", seed=seed)) for seed in (0, 1)]
    stacked = in_a_stack([lora(1.0, f"stacked-{seed}", seed=seed) for seed in (0, 1)])
    for one, other in zip(alone, stacked, strict=True):
        check_same(one, other)
        assert other.stacked == 1


# ---- what goes wrong in one of them


@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_that_fails_leaves_the_others_as_they_are(lora: Make, which: int) -> None:
    setups = [lora(scale, f"stacked-{scale}") for scale in SCALES]
    setups[which] = lora(1e30, "failing")
    runs = in_a_stack(setups)
    assert isinstance(runs[which].problem, NonFiniteError) and len(runs[which].losses) < 6
    for number, scale in enumerate(SCALES):
        if number != which:
            check_same(carried_out(lora(scale, f"alone-{scale}")), runs[number])
            assert runs[number].stacked == 3


@pytest.mark.parametrize("in_backward", [False, True])
def test_memory_that_runs_out_ends_the_stack_not_the_runs(lora: Make, in_backward: bool) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")

    def tight(module: nn.Module, args: Any, output: Any) -> None:
        hidden = output[0]
        if torch.is_grad_enabled() and len(hidden) > 8:
            hidden.register_hook(fail) if in_backward else fail()

    setups = [lora(scale, f"stacked-{scale}", dropout=0.0) for scale in SCALES]
    for setup in setups:
        setup.net.model.base_model.register_forward_hook(tight)
    alone = [carried_out(lora(scale, f"alone-{scale}", dropout=0.0)) for scale in SCALES]
    for one, other in zip(alone, in_a_stack(setups), strict=True):
        check_same(one, other)
        if in_backward:  # the step was done again, in halves
            assert any("memory ran out" in told for told in other.told)
        else:
            assert other.stacked == 1 and any("OutOfMemoryError" in note for note in other.notes)


# ---- stopping and going on


def test_a_stack_that_is_stopped_goes_on_where_it_was(lora: Make) -> None:
    whole = in_a_stack([lora(scale, f"whole-{scale}") for scale in SCALES])
    stop = Stop()  # of the process, which hears the signals
    setups = [lora(scale, f"cut-{scale}", stop=Told(stop)) for scale in SCALES]
    watch(setups[2], At(5, lambda: setattr(stop, "requested", True)))
    cut = in_a_stack(setups)
    assert all(isinstance(run.problem, Interrupted) for run in cut)
    assert [run.saved for run in cut] == [[6], [6], [5]]  # the others had begun the next step
    resumed = in_a_stack([lora(scale, f"cut-{scale}") for scale in SCALES])
    for one, before, after in zip(whole, cut, resumed, strict=True):
        assert after.stacked > 1
        after.losses = before.losses + after.losses
        after.scores = before.scores + after.scores
        check_same(one, after)


def test_who_is_behind_is_waited_for(lora: Make) -> None:
    """A run that was killed earlier goes on alone until the others are reached."""
    whole = [carried_out(lora(scale, f"whole-{scale}")) for scale in SCALES]
    parts = []
    for scale, step in zip(SCALES, (3, 7, 3), strict=True):
        stop = Stop()
        setup = lora(scale, f"cut-{scale}", stop=stop)
        watch(setup, At(step, lambda stop=stop: setattr(stop, "requested", True)))
        parts.append(carried_out(setup))
    resumed = in_a_stack([lora(scale, f"cut-{scale}") for scale in SCALES])
    for one, before, after in zip(whole, parts, resumed, strict=True):
        assert after.stacked == 3
        after.losses = before.losses + after.losses
        after.scores = before.scores + after.scores
        check_same(one, after)
