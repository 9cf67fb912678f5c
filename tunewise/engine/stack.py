"""Several LoRA runs that train in one pass over the base (stacked adapters).

Runs that share base, seed and order of the data read the same rows in every step, so that one pass over the base can
serve all of them. Each run is whole: it has its plan, optimiser, checkpoints, validation and record, and is carried out
as if it were alone, in a greenlet. One is at work at a time, and hands over where it needs the model's outputs for a
batch, or their gradients; once all of them wait, the runs that read the same batch of the same step are answered by one
pass. Whoever is behind, alone in its step, or done (stopped early, failed) is waited for by nobody.

Threads in the place of greenlets would each bring OpenMP threads of their own, which wait for each other: with two
threads, a stack of four runs took longer than with one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from greenlet import greenlet

from tunewise.engine.checkpoint import random_state, set_random_state
from tunewise.engine.device import Tuned
from tunewise.engine.dropout import Masks
from tunewise.engine.stacked_layers import StackedLayers, unshare
from tunewise.engine.step_loss import repeated
from tunewise.models.load import Net
from tunewise.models.memory import is_out_of_memory
from tunewise.objectives.base import Objective


@dataclass(eq=False)
class Ask:
    """What a run asks for at a batch: `alone` computes it without the others."""

    step: int
    batch: Mapping[str, torch.Tensor]
    net: Net
    objective: Objective
    masks: Masks
    tuned: Tuned
    alone: Callable[[], torch.Tensor]

    def is_the_same(self, other: Ask) -> bool:
        """Whether both read the same rows."""
        if self.step != other.step or self.batch.keys() != other.batch.keys():
            return False
        return all(torch.equal(values, other.batch[name]) for name, values in self.batch.items())


@dataclass(eq=False)
class Pass:
    """A pass for several runs: what it gave each of them, cut off from the graph, and the graph's end."""

    whole: torch.Tensor
    parts: Sequence[torch.Tensor]

    def backward(self) -> None:
        """Hands the gradients of all parts on, zero for a run that left its own."""
        gradients = [torch.zeros_like(part) if part.grad is None else part.grad for part in self.parts]
        self.whole.backward(torch.cat(gradients))


class Alone:
    """A run that passes over its base for itself."""

    most = 1
    """Runs that were served by one pass, at most."""

    clock = staticmethod(time.perf_counter)
    """Seconds of this run's own."""

    def outputs(self, ask: Ask) -> torch.Tensor:
        """The model's outputs for the batch."""
        return ask.alone()

    def backward(self, loss: torch.Tensor) -> None:
        """Leaves the gradients of a loss of the last outputs in the parameters."""
        loss.backward()

    def end(self, net: Net) -> None:
        """The training is over."""


ALONE = Alone()


@dataclass(eq=False)
class Member(Alone):
    """A run of a stack. Its clock stands still while others are at work, and counts its share of a pass for all."""

    most: int = field(default=1, init=False)
    asked: Ask | Pass | None = field(default=None, init=False)
    answer: Pass | None = field(default=None, init=False)
    place: int = field(default=0, init=False)  # of its rows in the answer
    problem: Exception | None = field(default=None, init=False)
    random: dict[str, torch.Tensor] = field(default_factory=dict, init=False)
    share: float = field(default=0.0, init=False)
    shares: bool = field(default=False, init=False)
    _others: float = field(default=0.0, init=False)
    _work: greenlet | None = field(default=None, init=False)

    def clock(self) -> float:
        return time.perf_counter() - self._others

    def outputs(self, ask: Ask) -> torch.Tensor:
        self._hand_over(ask)
        if self.answer is None:
            return ask.alone()
        self.most = max(self.most, len(self.answer.parts))
        return self.answer.parts[self.place]

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()
        if (shared := self.answer) is not None:
            self._hand_over(shared)

    def end(self, net: Net) -> None:
        if self.shares:
            unshare(net)

    def begin(self, work: Callable[[Member], None]) -> None:
        """The next turn is the run's first."""
        begun = time.perf_counter()

        def carry_out() -> None:
            self._others += time.perf_counter() - begun
            work(self)

        self._work = greenlet(carry_out)

    def take_turn(self) -> bool:
        """The run works until it hands over, or ends. Tells whether there is more to do; what it raises ends it."""
        self._work.switch()
        return not self._work.dead

    def _hand_over(self, asked: Ask | Pass) -> None:
        """Others work until this is answered."""
        begun, self.random = time.perf_counter(), random_state()
        self.asked, self.answer, self.problem, self.share = asked, None, None, 0.0
        self._work.parent.switch()
        set_random_state(self.random)
        self._others += time.perf_counter() - begun - self.share
        if self.problem is not None:
            raise self.problem


class Stack:
    """Runs that meet at each pass.

    Args:
        count: how many.
    """

    def __init__(self, count: int):
        self.members = [Member() for _ in range(count)]
        self._here: list[Member] = []
        self._layers: StackedLayers | None = None
        self._together: list[Member] = []
        self._refused: str | None = None

    def run(self, works: Sequence[Callable[[Member], None]]) -> list[Exception]:
        """Carries out the work of each member, and returns what they raised."""
        problems: list[Exception] = []
        for member, work in zip(self.members, works, strict=True):
            member.begin(work)
        self._here = list(self.members)
        while self._here:
            ready = next((member for member in self._here if member.asked is None), None)
            if ready is None:
                self._answer()
                continue
            try:
                goes_on = ready.take_turn()
            except Exception as problem:
                problems.append(problem)
                goes_on = False
            if not goes_on:
                self._here.remove(ready)
                self._layers = None  # it keeps the nets of all
        return problems

    def _answer(self) -> None:
        """Backward passes first: what was left of one is done with."""
        begun = time.perf_counter()
        served = [member for member in self._here if isinstance(member.asked, Pass)]
        if served:
            self._backward(served)
        else:
            served = self._same_batch()
            if len(served) > 1 and self._refused is None:
                self._forward(served)
        for member in served:
            member.asked, member.share = None, (time.perf_counter() - begun) / len(served)

    def _same_batch(self) -> list[Member]:
        """The runs that are the furthest behind and read the same rows."""
        first = min(self._here, key=lambda member: member.asked.step)
        return [member for member in self._here if member.asked.is_the_same(first.asked)]

    def _forward(self, served: list[Member]) -> None:
        """What cannot be computed for all at once is left to each, from now on."""
        asks, random = [member.asked for member in served], served[0].random
        masks = asks[0].masks.state
        try:
            set_random_state(random)
            found = self._pass_of(served)
        except Exception as problem:
            self._refused = f"{type(problem).__name__}: {problem}"
        if self._refused is None:
            random, masks = random_state(), asks[0].masks.state
            for place, member in enumerate(served):
                member.answer, member.place, member.random = found, place, random
        else:
            self._layers = None
            for ask in asks:
                ask.net.note(f"not trained in one pass with the runs that read the same rows: {self._refused}")
        for ask in asks:
            ask.masks.state = masks

    def _pass_of(self, served: list[Member]) -> Pass | None:
        asks = [member.asked for member in served]
        first, count = asks[0], len(asks)
        if self._layers is None or self._together != served:
            self._layers, self._together = StackedLayers([ask.net for ask in asks], first.masks), served
            self._refused = self._layers.refused
            for member in served:
                member.shares = member.shares or self._refused is None
        if self._refused is not None:
            return None
        with first.tuned.autocast(), self._layers.computing():
            whole = first.objective.outputs(first.net.model, repeated(first.batch, count))
        return Pass(whole, [part.detach().requires_grad_() for part in whole.chunk(count)])

    def _backward(self, served: list[Member]) -> None:
        """What goes wrong is each run's to deal with; where memory ran out, each does the step again, and goes on
        alone."""
        try:
            served[0].asked.backward()
        except Exception as problem:
            told = problem
            if is_out_of_memory(problem):
                self._refused = "memory ran out"
                told = torch.OutOfMemoryError(str(problem))  # the error itself keeps alive what filled the memory
            for member in served:
                member.problem = told
