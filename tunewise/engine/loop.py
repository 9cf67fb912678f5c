"""The training loop: plan, step, validate, save. Gradient descent for any plan; methods have no branch here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from tunewise.commit import Series
from tunewise.data.inputs import Inputs
from tunewise.data.tokenise import with_prompt
from tunewise.engine.apply import TrainedTensor, choose_trained, count_all, count_trained, insert
from tunewise.engine.checkpoint import load_checkpoint, save_checkpoint, set_random_state
from tunewise.engine.collapse import stop_collapsed
from tunewise.engine.computed_again import blocks_computed_again
from tunewise.engine.course import Course
from tunewise.engine.device import Tuned
from tunewise.engine.disk import check_disk
from tunewise.engine.dropout import Masks
from tunewise.engine.events import Observers, Phase, Planned, Saved, Started, Step, Warned, Wrote
from tunewise.engine.feed import Feed
from tunewise.engine.finite import Culprits, check_finite
from tunewise.engine.gradients import Gradients
from tunewise.engine.held import HeldWeights
from tunewise.engine.measure import Measuring
from tunewise.engine.measured_rows import MeasuredRows, check_answers, measured_rows
from tunewise.engine.optim import Optimizer
from tunewise.engine.progress import Progress
from tunewise.engine.settings import TrainConfig
from tunewise.engine.stack import ALONE, Alone
from tunewise.engine.step_loss import check_r_drop
from tunewise.engine.stop import Stop
from tunewise.engine.told_rounds import add_step
from tunewise.engine.validation import Validated, copies
from tunewise.engine.vocabulary import only_used_rows
from tunewise.errors import Interrupted
from tunewise.methods.base import Method
from tunewise.models.batch_norm import put_back
from tunewise.models.blocks import named_tensors
from tunewise.models.load import Net
from tunewise.models.memory import PassSize, memory_told
from tunewise.objectives.base import Objective
from tunewise.types import Need, Plan, Signals, Split


@dataclass
class Training(Validated):
    """One run of gradient descent.

    Args:
        validate: gives (loss, value of the metric to choose by, all scores) of the model as it is now, on validation.
        pass_size: of the batches of a validation.
        handed_over: bytes of the model handed over, where it holds more than what trains.
        stack: passes over the model, alone or with other runs, and knows the time that is this run's own.
        greater_is_better: of that metric.
        feed: what the model reads of the rows of `train` and `validation`.
        targets: of the rows of `train`, in their order.
    """

    net: Net
    method: Method
    objective: Objective
    train: Split
    feed: Feed
    targets: torch.Tensor
    config: TrainConfig
    tuned: Tuned
    seed: int
    validate: Callable[[], tuple[float, float, Mapping[str, float]]]
    greater_is_better: bool
    observers: Observers
    label: str
    checkpoints: Series
    stop: Stop
    fingerprint: str
    pass_size: PassSize = field(default_factory=PassSize)
    handed_over: int = 0
    stack: Alone = ALONE

    def __post_init__(self) -> None:
        self.inputs: Inputs = self.feed.inputs["train"]
        self.net.updates_batch_norm = self.config.batch_norm == "updated"
        classes = self.train.targets if self.config.balanced_batches else None
        self.course = Course(self.inputs.lengths, self.config, self.seed, classes, self.objective.passes)
        self.progress = Progress()
        self.best: dict[str, torch.Tensor] | None = None
        self.scaler = torch.amp.GradScaler(self.tuned.device, enabled=self.tuned.precision == "fp16")
        self.device = torch.device(self.tuned.device)
        self.targets = self.targets.to(self.device)
        self.optimizer: Optimizer | None = None
        self.masks = Masks(self.seed)
        self.held = HeldWeights(self.net, self.tuned)
        self.gradients = Gradients(
            self.net,
            self.objective,
            self.feed,
            self.targets,
            self.course,
            self.masks,
            self.tuned,
            self.scaler,
            self.observers,
            self.stack,
        )
        self.begun, self.saved_at = self.stack.clock(), time.perf_counter()
        self.earlier_seconds = 0.0

    def run(self) -> Progress:
        """Trains to the end, or to an early stop, and leaves the weights to hand over in the model.

        Raises:
            Interrupted: the user stopped it; a checkpoint was saved.
            NonFiniteError: the loss or a gradient is not finite, and the weights are those before that step; or weights
                are not, and nothing was done with them.
            OutOfMemoryError: a single row does not fit into memory.
        """
        folder = self.checkpoints.latest()
        state, tensors = load_checkpoint(folder) if folder else (None, {})
        # A resumed run does not measure again: the plans are in the checkpoint.
        self.net.to(self.device)
        self.plan = Plan.from_dict(state["progress"]["plans"][0]) if state else self._make_plan(step=0)
        insert(self.plan, self.net, self.seed)
        self.objective.attach(self.net.model)
        self.parameters = count_all(self.net)
        self.net.to(self.device)
        self.feed.inputs = {name: with_prompt(rows, self.net.prompt) for name, rows in self.feed.inputs.items()}
        self.inputs = self.feed.inputs["train"]
        torch.manual_seed(self.seed)
        # Other words may have tokens that are in no text of the data: then all rows of the vocabulary train.
        used = nullcontext() if self.feed.augmented else only_used_rows(self.net.model, self.inputs)
        with used, blocks_computed_again(self.net, self.masks, self.config.gradient_checkpointing):
            try:
                self._begin(state, tensors)
                self._go_on()
                self.progress.seconds += self.held.end().seconds
                self._take_best()
                self.objective.detach(self.net.model)
            finally:
                self.feed.end_phase()
                self.held.end()
                self.stack.end(self.net)
        return self.progress

    def _go_on(self) -> None:
        """Steps to the end. Whoever asks for a stop gets a checkpoint after the step at work."""
        course, progress = self.course, self.progress
        with self.stop.deferred():
            if progress.unvalidated:
                self._after_step()
            while progress.step < course.total_steps and not progress.stopped_early:
                if self.plan.until == progress.step:
                    with self._saved_where_left():
                        self._write_measured()
                    with self.stop.at_once():
                        self._replan()
                with self._saved_where_left():
                    self._step()
                progress.unvalidated = course.validates(progress.step) and not progress.collapsed
                self._after_step()

    @contextmanager
    def _saved_where_left(self) -> Iterator[None]:
        """Whoever stops while the model writes what a step reads gets a checkpoint: all is as it was before."""
        try:
            yield
        except Interrupted:
            if self.progress.step:
                self._save()
            raise

    def _after_step(self) -> None:
        progress = self.progress
        try:
            if progress.unvalidated:
                self._validate()
                progress.unvalidated = False
        except Interrupted:  # it can take minutes: what resumes from here begins with it
            self._save()
            raise
        due = self.course.saves(progress.step, time.perf_counter() - self.saved_at)
        # Whoever resumes must cut batches from the same step on.
        if due or self.stop.requested or progress.halvings < self.course.halvings:
            self._save()
            self.stop.check()

    # ---- plan

    def _make_plan(self, step: int) -> Plan:
        signals = Signals(step, self.course.total_steps, self.course.steps_per_epoch, self.objective.schema.task)
        if needs := self.method.needs(self.net.map, signals):
            signals = self._measure(needs, signals)
        plan = self.method.plan(self.net.map, signals)
        if needs and self.objective.writes and step == 0:
            check_answers(plan, self.method)
        return self.objective.with_own_rules(plan)

    def _measure(self, needs: tuple[Need, ...], signals: Signals) -> Signals:
        start, progress = time.perf_counter(), self.progress
        self.masks.begin(progress.step, 1)  # the step itself draws others
        exact = self.tuned.precision == "fp16"  # whose gradients would need a scale of their own
        autocast = nullcontext if exact else self.tuned.autocast
        with self._measured_rows() as rows:
            if rows.silent:
                self._warn(
                    "all answers to each prompt of the round got the same reward: what was measured on them says "
                    "nothing of what is worth training"
                )
            measuring = Measuring(
                net=self.net,
                loss=lambda numbers: self.gradients.loss(rows.reading, numbers, autocast),
                course=self.course,
                inputs=rows.inputs,
                learning_rate=self.method.learning_rate(self.net.map),
                optimizer=self.optimizer,
                passes=self.gradients.passes,
                available=rows.numbers,
            )
            signals = self.gradients.fitting(progress.step, lambda: measuring.fill(signals, needs))
        progress.count_measuring(measuring.forward_flops, measuring.backward_flops, time.perf_counter() - start)
        return replace(signals, spent_flops=progress.learning_flops, measuring_flops=progress.measuring_flops)

    def _measured_rows(self) -> AbstractContextManager[MeasuredRows]:
        begun, step = self.optimizer is not None, self.progress.step
        return measured_rows(self.net, self.objective, self.feed, self.course, self.targets, step, begun)

    def _begin(self, state: Mapping[str, Any] | None, tensors: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """At the first step, or where the newest sound checkpoint is."""
        if state:
            self.progress = Progress(**state["progress"])
            self.earlier_seconds = self.progress.elapsed
            self.course.halvings, self.pass_size.most = self.progress.halvings, self.progress.pass_tokens
            self.observers.recall(state["warnings"])
        self.observers.emit(Started(self.course.total_steps, self.label, self.progress.step))
        for message in self.checkpoints.warnings:
            self.observers.emit(Warned(message, self.progress.step))
        if state:
            self._restore(state, tensors)
        else:
            trained = self._apply_plan()
            self.optimizer = self._optimizer(trained)

    def _optimizer(self, trained: list[TrainedTensor]) -> Optimizer:
        rate, schedule = self.plan.learning_rate, self.plan.schedule
        return Optimizer(trained, rate, self.config, self.course.total_steps, schedule)

    def _write_measured(self) -> None:
        """What a plan is measured on, where the model writes that, which can take minutes."""
        signals = Signals(self.progress.step, self.course.total_steps, self.course.steps_per_epoch)
        if self.objective.writes and self.method.needs(self.net.map, signals):
            with self._measured_rows():
                pass

    def _replan(self) -> None:
        self.feed.end_phase()
        self.progress.seconds += self.held.end().seconds
        self.plan = self._make_plan(self.progress.step)
        self.optimizer.regroup(self._apply_plan(), self.plan.learning_rate, self.plan.schedule)

    def _apply_plan(self) -> list[TrainedTensor]:
        tensors = choose_trained(self.plan, self.net)
        progress, step = self.progress, self.progress.step
        progress.planned_at = step
        known = set(progress.trained)
        added = {tensor.name: tensor.parameter for tensor in tensors if tensor.name not in known}
        progress.trained += added
        if self.feed.augmented is not None:
            self.feed.augmented.begins_to_train(added)
        if self.best is not None:  # the best weights so far are of a model in which these were still untouched
            self.best |= copies(added | self._statistics(added))
        count = count_trained(tensors, self.plan, self.net.map)
        progress.plans = [entry for entry in progress.plans if entry["step"] < step]
        progress.plans.append({"step": step, "trainable_parameters": count, **self.plan.as_dict()})
        self.gradients.flops = None
        phase, measuring = len(progress.plans) - 1, progress.measuring_flops
        self.observers.emit(Planned(step=step, trainable_parameters=count, phase=phase, measuring_flops=measuring))
        self._begin_phase(tensors)
        return tensors

    def _begin_phase(self, trained: list[TrainedTensor], resumed: bool = False) -> None:
        """Has the frozen part of the model read from the cache where that is worth it; a resumed run decides as it did
        at the beginning of the phase."""
        progress, course = self.progress, self.course
        self._check_disk()
        check_r_drop(self.objective, self.net.model, self.plan, (lambda message: None) if resumed else self._warn)
        begin, end = progress.planned_at, min(self.plan.until or course.total_steps, course.total_steps)
        reads = {
            "train": (course.epoch_of(end) - course.epoch_of(begin)) * course.rows_per_epoch / len(course.lengths),
            "validation": sum(course.validates(step) for step in range(begin + 1, end + 1)),
        }
        spent = self.feed.begin_phase([tensor.name for tensor in trained], self.plan, reads)
        if not self.objective.writes:  # what it learns from is not there yet, to prove anything by
            spent += self.held.begin(progress.trained, self.feed.inputs["train"], self.objective.outputs)
        progress.begin_phase(spent, resumed)

    def _check_disk(self) -> None:
        check_disk(self.checkpoints, self._trained(), self.config.keep_best, self.handed_over)

    # ---- one optimiser step

    def _step(self) -> None:
        start, progress = self.stack.clock(), self.progress
        rate = self.optimizer.set_rates(progress.step)
        sums = self.gradients.of_step(progress.step)
        loss = sums.mean_loss
        with memory_told(f"updating the weights at step {progress.step + 1}"):
            self.scaler.unscale_(self.optimizer.adamw)
            norm = self.optimizer.clip()
            if self._is_finite(loss, norm):
                self.optimizer.step(self.scaler)
                progress.loss_sum += loss
                progress.loss_steps += 1
            else:
                self._skip(loss, norm)
        self.scaler.update()
        self.optimizer.adamw.zero_grad(set_to_none=True)
        progress.step += 1
        progress.seconds += self.stack.clock() - start
        progress.count(sums)
        self.observers.emit(
            Step(
                step=progress.step,
                epoch=self.course.epoch_of(progress.step),
                loss=loss,
                learning_rate=rate,
                grad_norm=norm,
                tokens=sums.tokens,
                seconds=self.stack.clock() - start,
                forward_flops=sums.forward_flops,
                backward_flops=sums.backward_flops,
            )
        )
        if figures := sums.all_figures:
            add_step(progress.rounds, progress.step, self.course.epoch_of(progress.step), figures)
            self.observers.emit(Wrote(progress.step, figures, tuple(sums.samples)))
            if reason := self.objective.collapsed(figures):
                self._warn(stop_collapsed(reason, progress, keeps_best=self.best is not None))

    def _is_finite(self, loss: float, norm: float) -> bool:
        """Whether a step may be taken. In fp16 an infinite gradient is first the scaler's business: it skips the step
        and halves its scale of 65536; where that has come down to 1, the gradient itself is infinite."""
        skips = self.scaler.is_enabled() and self.scaler.get_scale() > 1
        return bool(np.isfinite(loss) and (np.isfinite(norm) or skips))

    def _skip(self, loss: float, norm: float) -> None:
        """Leaves out a step that is not finite, where the recipe allows it."""
        put_back(self.gradients.statistics)
        check_finite(self._trained(), self.progress.step)
        told = Culprits(self.gradients, self.train).told(self.progress, self.config.skip_non_finite, loss, norm)
        put_back(self.gradients.statistics)
        self.progress.skipped += 1
        self._warn(told, self.progress.step + 1)

    # ---- checkpoints

    def _save(self) -> None:
        self.observers.emit(Phase("saving", self.progress.step))
        progress = self.progress
        progress.elapsed = self.earlier_seconds + self.stack.clock() - self.begun
        progress.halvings, progress.pass_tokens = self.course.halvings, self.pass_size.most
        weights, moments = self._trained(), self.optimizer.state(named_tensors(self.net.model))
        check_finite(weights, progress.step)
        check_finite(moments, progress.step, "optimiser's moments")
        drawn, drawn_tensors = self.feed.augmented.state() if self.feed.augmented else ({}, {})
        path = save_checkpoint(
            self.checkpoints,
            progress.step,
            weights=weights,
            best=self.best,
            optimizer=moments,
            state={
                "progress": asdict(progress),
                "scaler": self.scaler.state_dict(),
                "warnings": self.observers.warnings,
                "drawn": drawn,
            },
            drawn=drawn_tensors,
            fingerprint=self.fingerprint,
        )
        self.saved_at = time.perf_counter()
        self.observers.emit(Saved(step=progress.step, path=str(path)))

    def _restore(self, state: Mapping[str, Any], tensors: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        if self.feed.augmented is not None:
            self.feed.augmented.begins_to_train(self._trained())
            self.feed.augmented.restore(state.get("drawn", {}), tensors.get("drawn", {}))
        self._set_weights(tensors["weights"])
        self.best = dict(tensors["best"]) if "best" in tensors else None
        self.plan = Plan.from_dict(self.progress.plans[-1])
        trained = choose_trained(self.plan, self.net)
        self._begin_phase(trained, resumed=True)
        self.optimizer = self._optimizer(trained)
        self.optimizer.load_state(tensors["optimizer"], named_tensors(self.net.model))
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        set_random_state(tensors["random"])
