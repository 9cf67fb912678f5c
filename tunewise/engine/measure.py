"""Measurements on training rows that methods ask for before they plan (`types.Need`); the model stays as it was.

Dropout is off, so that what is measured is the model and not the noise; only `angle` trains as the run does. The rows
are drawn from seed and step alone, without regard to their lengths.

Shape legend: V rows of the vocabulary, U rows in use, D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import nn

from tunewise.data.inputs import Inputs, items_of
from tunewise.engine.apply import TrainedTensor, choose_trained, left_as_it_was
from tunewise.engine.course import Course
from tunewise.engine.optim import Optimizer
from tunewise.engine.vocabulary import used_rows
from tunewise.errors import NonFiniteError
from tunewise.models.blocks import named_tensors
from tunewise.models.cost import StepFlops, watch_flops
from tunewise.models.load import Net
from tunewise.models.tensor_flops import FlopsTable, step_shape, watch_tensors
from tunewise.objectives.base import Loss
from tunewise.types import Need, Plan, Rule, Signals

Values = dict[str, np.ndarray]


@dataclass
class Measuring:
    """Measures at one point of a training, and counts what that takes.

    Args:
        loss: one forward pass over these training rows.
        inputs: the training rows.
        available: numbers of those that can be read; None for all.
        learning_rate: the method's peak rate, for needs that give none.
        optimizer: of the run, whose moments the measured steps go on from; None before the first step.
        passes: how often a step of the run reads a row, which a step of a measurement does once.
    """

    net: Net
    loss: Callable[[np.ndarray], Loss]
    course: Course
    inputs: Inputs
    learning_rate: float
    optimizer: Optimizer | None = None
    passes: int = 1
    available: np.ndarray | None = None
    step: int = field(default=0, init=False)
    forward_flops: float = 0.0
    backward_flops: float = 0.0
    _flops: StepFlops | None = field(default=None, init=False)

    def fill(self, signals: Signals, needs: Sequence[Need]) -> Signals:
        """The same with measures and FLOPs in them.

        Raises:
            NonFiniteError: a measurement is NaN or infinite.
        """
        self.step, course = signals.step, self.course
        measures, table = self.measure(needs), self.table()
        items = partial(items_of, self.inputs)
        whole, to_come = (
            self.passes
            * step_shape(
                (course.micro_batches(step) for step in range(first, course.total_steps)),
                self.inputs.shape,
                items,
                table.beyond,
            )
            for first in (0, self.step)
        )
        return replace(
            signals,
            measures=measures,
            flops=table.at(to_come),
            forward_flops=table.forward_at(to_come),
            full_flops=course.total_steps * table.full_at(whole),
        )

    def measure(self, needs: Sequence[Need]) -> dict[str, Values]:
        """What was asked for, by kind and tensor."""
        kinds = {
            "importance": self._importance,
            "gradient_norm": self._gradient_norm,
            "fisher": self._fisher,
            "angle": self._angle,
        }
        measures: dict[str, Values] = {}
        for need in needs:
            with left_as_it_was(self.net.model) as before:
                torch.manual_seed(self.course.seed)
                values = kinds[need.kind](need, before)
            if wrong := [name for name, value in values.items() if not np.isfinite(value).all()]:
                raise NonFiniteError(
                    f"{need.kind} of {wrong[0]}, measured before step {self.step + 1}, is not finite",
                    fix="lower the learning rate, or set train.precision to fp32",
                )
            measures.setdefault(need.kind, {}).update(values)
        return measures

    def table(self) -> FlopsTable:
        """What each tensor's gradient costs, from a forward pass of the shortest row."""
        rows = self._all_rows()
        shortest = rows[[int(self.inputs.lengths[rows].argmin())]]
        with left_as_it_was(self.net.model):
            self._train(Need("importance"))
            table = watch_tensors(self.net.model, self.net.map, lambda: self._forward(shortest))
        return table

    # ---- kinds

    def _importance(self, need: Need, before: Mapping[nn.Parameter, torch.Tensor]) -> Values:
        """-sum of (w1 - w0) x gradient at w1. The step is the one that the run would take next, with its moments and
        its rate, which in warm-up is low: at the peak rate 24 of MiniLM's 105 tensors overshot and came out negative,
        at that of the first step 3 (keys' biases, which have no gradient but rounding)."""
        tensors = self._train(Need("importance"))
        optimizer = self._optimizer(tensors, need)
        optimizer.set_rates(self.step)
        rows = self._rows(need)
        self._gradient(rows)
        optimizer.clip()
        optimizer.step()
        optimizer.adamw.zero_grad(set_to_none=True)
        self._gradient(rows)
        return {
            name: -((parameter.detach() - before[parameter]) * gradient).sum().cpu().double().numpy()
            for name, parameter, gradient in self._gradients(tensors)
            if need.wants(name)
        }

    def _gradient_norm(self, need: Need, before: Mapping[nn.Parameter, torch.Tensor]) -> Values:
        tensors = self._train(need)
        self._gradient(self._rows(need))
        return {name: gradient.norm().cpu().double().numpy() for name, _, gradient in self._gradients(tensors)}

    def _fisher(self, need: Need, before: Mapping[nn.Parameter, torch.Tensor]) -> Values:
        """Row by row: exact for every model and objective, where a vectorised gradient is for some."""
        tensors, rows = self._train(need), self._rows(need)
        squares = {parameter: torch.zeros_like(parameter) for _, parameter, _ in self._gradients(tensors)}
        for row in rows:
            for parameter in squares:
                parameter.grad = None
            self._gradient(np.array([row]))
            for _, parameter, gradient in self._gradients(tensors):
                squares[parameter].addcmul_(gradient, gradient)
        whole = {module.weight: module for module in used_rows(self.net.model)}
        for parameter, module in whole.items():
            if parameter in squares:
                squares[parameter] = module.spread(squares[parameter], torch.zeros_like(module.whole))
        return {tensor.name: (squares[tensor.parameter] / len(rows)).cpu().numpy() for tensor in tensors}

    def _angle(self, need: Need, before: Mapping[nn.Parameter, torch.Tensor]) -> Values:
        """All steps at the highest rate still to come: so few at those of the warm-up would hardly turn anything."""
        tensors = self._train(Need("angle"), dropout=True)
        optimizer = self._optimizer(tensors, need)
        optimizer.set_rates(max(range(self.step, self.course.total_steps), key=optimizer.factor))
        size, rows = self.course.rows_per_step, self._rows(need, repeat=True)
        for start in range(0, len(rows), size):
            self._gradient(rows[start : start + size])
            optimizer.clip()
            optimizer.step()
            optimizer.adamw.zero_grad(set_to_none=True)
        whole = {module.weight: module for module in used_rows(self.net.model)}
        values = {}
        for tensor in tensors:
            if need.wants(tensor.name):
                pair = (before[tensor.parameter], tensor.parameter.detach())
                if module := whole.get(tensor.parameter):
                    pair = tuple(module.spread(values_UD, module.whole) for values_UD in pair)
                values[tensor.name] = np.array(angle(*pair))
        return values

    # ---- parts

    def _train(self, need: Need, dropout: bool = False) -> list[TrainedTensor]:
        """Makes the tensors of the map that are needed require a gradient."""
        there = named_tensors(self.net.model)
        rules = tuple(Rule(t.name) for t in self.net.map.tensors if need.wants(t.name) and t.name in there)
        tensors = choose_trained(Plan(rules, learning_rate=0.0), self.net)
        if not dropout:
            self.net.model.eval()
            for module in used_rows(self.net.model):
                module.train()  # in eval mode it passes no gradient on
        self._flops = None
        return tensors

    def _optimizer(self, tensors: Sequence[TrainedTensor], need: Need) -> Optimizer:
        rate, total = need.learning_rate or self.learning_rate, self.course.total_steps
        schedule = self.optimizer.schedule if self.optimizer else None
        optimizer = Optimizer(tensors, rate, self.course.config, total, schedule)
        if self.optimizer is not None:
            names = named_tensors(self.net.model)
            optimizer.load_state(self.optimizer.state(names), names)
        return optimizer

    def _rows(self, need: Need, repeat: bool = False) -> np.ndarray:
        """Rows for `batches` optimiser steps: each at most once, unless they may repeat where there are too few."""
        count = need.batches * self.course.rows_per_step
        order = np.random.default_rng([self.course.seed, self.step, 1]).permutation(self._all_rows())
        return np.resize(order, count) if repeat else order[:count]

    def _all_rows(self) -> np.ndarray:
        return np.arange(len(self.inputs)) if self.available is None else self.available

    def _gradient(self, rows: np.ndarray) -> None:
        """Sets the gradient of the mean loss over rows, in batches of rows of similar length."""
        n_items = 0.0
        for batch in self.course.batches_of(rows):
            loss = self._forward(batch)
            loss.total.backward()
            self.backward_flops += self._flops.backward(*self.inputs.shape(batch), items_of(self.inputs, batch))
            n_items += loss.n_items
        for parameter in self.net.model.parameters():
            if parameter.grad is not None:
                parameter.grad /= n_items

    def _forward(self, rows: np.ndarray) -> Loss:
        with nullcontext(self._flops) if self._flops else watch_flops(self.net.model, self.net.map) as self._flops:
            loss = self.loss(rows)
        self.forward_flops += self._flops.forward(*self.inputs.shape(rows), items_of(self.inputs, rows))
        return loss

    @staticmethod
    def _gradients(tensors: Sequence[TrainedTensor]) -> list[tuple[str, nn.Parameter, torch.Tensor]]:
        """Name, parameter and gradient; 0 where the loss does not depend on it."""
        return [
            (t.name, t.parameter, torch.zeros_like(t.parameter) if t.parameter.grad is None else t.parameter.grad)
            for t in tensors
        ]


def angle(before: torch.Tensor, after: torch.Tensor) -> float:
    """arccos(<w0, w1> / (|w0| |w1|)) in radians, in fp64, as 2 atan2(|u - v|, |u + v|) of the unit vectors u, v: the
    same, but exact where the angle is small. 0 between two zero tensors, a right angle where only one is zero."""
    one, other = (tensor.detach().cpu().double().flatten() for tensor in (before, after))
    lengths = one.norm(), other.norm()
    if not all(lengths):
        return 0.0 if not any(lengths) else math.pi / 2
    unit, turned = one / lengths[0], other / lengths[1]
    return 2.0 * math.atan2(float((unit - turned).norm()), float((unit + turned).norm()))
