"""The straight line: a recipe with one model, one method and one seed -> a record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tunewise.check import OR_AN_ADAPTER, Checked, check
from tunewise.cleaning.texts import text_steps
from tunewise.commit import Series, lock
from tunewise.commit.room import check_room, check_writable
from tunewise.engine.determinism import kernels_told
from tunewise.engine.device import Tuned, tune_for
from tunewise.engine.drawn_figures import DrawnImages, drawn_images
from tunewise.engine.evaluation import Results, check_stride, evaluate
from tunewise.engine.events import Finished, Observer, Observers, Phase, Warned
from tunewise.engine.forgetting import Forgetting
from tunewise.engine.handover import handover_kind, save_model
from tunewise.engine.job import Job
from tunewise.engine.looked_at import look
from tunewise.engine.loop import Training
from tunewise.engine.rewards import rewards_of
from tunewise.engine.stack import ALONE, Alone
from tunewise.engine.stop import Stop
from tunewise.engine.train import Trained, train
from tunewise.engine.writing import settle_writing
from tunewise.engine.written import writer_of
from tunewise.errors import Interrupted, StoreError
from tunewise.methods import Method
from tunewise.models.load import Net, load_net
from tunewise.models.memory import memory_told
from tunewise.recipe import Recipe, write_recipe
from tunewise.report.card import model_card
from tunewise.tracking.jsonl_log import JsonlLog
from tunewise.tracking.peak_memory import peak_memory_bytes
from tunewise.tracking.predictions import write_predictions
from tunewise.tracking.record import Problem, RunRecord, write_record
from tunewise.tracking.run_folder import (
    CHECKPOINTS,
    EXTRACTOR,
    MODEL,
    complete,
    drop_checkpoints,
    earlier_record,
    stored_tuning,
    write_settings,
)
from tunewise.tracking.run_record import begin_record, finish_record
from tunewise.tracking.shown import DRAWN, LOOKED_AT
from tunewise.tracking.tensorboard import TensorBoard

if TYPE_CHECKING:
    import torch


def run(
    recipe: Recipe,
    out: Path,
    *,
    folder: Path,
    observers: Sequence[Observer] = (),
    resume: bool = False,
    allow_code: bool = False,
    checked: Checked | None = None,
    tuned: Tuned | None = None,
    seconds_before: float = 0.0,
    shared_seconds: float = 0.0,
    stop: Stop | None = None,
    loop: Callable[..., Training] = Training,
    stack: Alone = ALONE,
) -> RunRecord:
    """Trains one model with one method and leaves everything in `out`.

    Args:
        recipe: with one model and one method.
        out: the run's folder; must be new, or that of the same run where `resume` is set.
        folder: what relative paths in the recipe start from.
        checked: what `check` found for the anchored recipe, where that was done before.
        tuned: what a comparison has fitted to the machine for all its runs.
        seconds_before: since the start of the process.
        shared_seconds: what a comparison has spent on imports and data for this run, which then is not spent here.
        stop: asks the run to leave; where left out, Ctrl-C and SIGTERM do.
        loop, stack: see `Job`.

    Raises:
        TunewiseError: the record says `failed` or `interrupted`; other runs are not touched.
    """
    begun = stack.clock() - seconds_before
    recipe = recipe.anchored(folder)
    if checked is None:
        check_writable(out)
        checked = check(recipe, folder, recipe.all_methods, allow_code)
    with lock(out), stop or Stop() as stop:
        earlier = earlier_record(out, recipe.fingerprint, resume)
        if earlier and earlier.status == "finished":
            complete(out)  # where the run was killed at its very end
            return earlier
        needed = checked.handed_over_bytes(recipe.model, recipe.method)
        check_room(out, needed, "the model handed over", OR_AN_ADAPTER)
        watchers = Observers([JsonlLog(out / "log.jsonl"), TensorBoard(out / "tensorboard"), *observers])
        with stop.at_once():  # measuring the machine takes a while, once
            tuned = _tuned(recipe, out, checked, tuned)
        tuned.apply()
        found = checked.found.audit.findings
        record = begin_record(recipe, checked.data, checked.models[recipe.model], tuned.as_dict(), earlier, found)
        write_record(out, record)
        try:
            work = _Run(recipe, out, checked, tuned, watchers, stop, loop, stack, record, begun, shared_seconds)
            with stop.at_once():
                record = work.carry_out()
        except BaseException as problem:
            status = "interrupted" if isinstance(problem, (Interrupted, KeyboardInterrupt)) else "failed"
            failed = replace(record, status=status, error=Problem.of(problem), warnings=watchers.warnings)
            with suppress(StoreError):  # the disk may be what failed; then the record says `running`, and nobody is
                write_record(out, failed)
                watchers.emit(Finished(status))
            raise
        watchers.emit(Finished("finished"))
    return record


def _tuned(recipe: Recipe, out: Path, checked: Checked, tuned: Tuned | None) -> Tuned:
    if stored := stored_tuning(out):
        tuned = Tuned.from_dict(stored)
    if tuned is None:
        tuned = tune_for(recipe.train, checked.models[recipe.model], checked.data)
    write_settings(out, write_recipe(recipe), tuned.as_dict())
    return tuned


def load(recipe: Recipe, checked: Checked, tuned: Tuned) -> Net:
    """The model of a recipe, as its training begins with it."""
    language = checked.objective.answers == "language"
    net = load_net(
        checked.models[recipe.model],
        checked.data.schema,
        seed=recipe.seed if recipe.train.head_seed is None else recipe.train.head_seed,
        dropout=_dropout(recipe, checked),
        max_length=recipe.train.max_length,
        attention=tuned.attention,
        kept=recipe.train.kept,
        language=language,
    )
    tuned.lay_out(net)
    if language:
        net.notes += tuple(settle_writing(net))
    return net


def _dropout(recipe: Recipe, checked: Checked) -> float | None:
    return checked.objective.dropout if recipe.train.dropout is None else recipe.train.dropout


def job_of(recipe: Recipe, checked: Checked, tuned: Tuned, watchers: Observers, out: Path, stop: Stop) -> Job:
    """What the training of a recipe needs besides net and method; its checkpoints are in `out`."""
    return Job(
        objective=checked.objective,
        data=checked.data,
        evaluator=checked.evaluator,
        metric=checked.metric,
        config=recipe.train,
        tuned=tuned,
        seed=recipe.seed,
        observers=watchers,
        label=recipe.method.label,
        checkpoints=Series(out / CHECKPOINTS),
        stop=stop,
        fingerprint=recipe.fingerprint,
        handed_over=checked.handed_over_bytes(recipe.model, recipe.method),
        augment=recipe.augment,
        rewards=rewards_of(recipe.objective.rewards, checked.reward_functions, out),
    )


@dataclass
class _Run:
    """What the steps of a run share. `begun` is when its process began, on the clock of its stack."""

    recipe: Recipe
    out: Path
    checked: Checked
    tuned: Tuned
    watchers: Observers
    stop: Stop
    loop: Callable[..., Training]
    stack: Alone
    record: RunRecord
    begun: float
    shared_seconds: float

    def carry_out(self) -> RunRecord:
        """Load, train, evaluate, hand over."""
        device = self.tuned.apply()
        recipe, checked = self.recipe, self.checked
        self.watchers.emit(Phase("loading"))
        method = recipe.method.build(recipe.train.learning_rate, checked.objective.rate_scale)
        with memory_told("loading the model"):
            net = load(recipe, checked, self.tuned)
        job = job_of(recipe, checked, self.tuned, self.watchers, self.out, self.stop)
        check_stride(net, checked.evaluator)
        with memory_told("writing samples"):
            before = self._texts_before(net, job, device)
        forgetting = self._forgetting(net, job, device)
        drawing = self._drawing(net, job, device)
        with memory_told("training"), kernels_told(self._warn), self.tuned.keeping_memory():
            trained = train(net, method, replace(job, loop=self.loop, stack=self.stack))
        self.watchers.emit(Phase("evaluating"))
        for message in trained.warnings:
            self._warn(message)
        self.tuned.turn_to_prediction(trained.net.model)
        with memory_told("evaluating"), self.tuned.keeping_memory():
            results = evaluate(
                trained, checked.data, checked.evaluator, self.stop.check, self._warn, checked.metric, before
            )
            if forgetting is not None:
                results = replace(results, forgetting=forgetting.told(recipe.evaluate.confidence))
            if drawing is not None:
                told, shown = drawing.told(trained.net, self._warn)
                results = replace(results, drawn=told)
                DRAWN.write(self.out, shown)
            main = results.predictions[next(iter(checked.data.tests))]
            seen = look(trained, checked.data, main, recipe.evaluate, self.stop.check)
        self.watchers.emit(Phase("exporting"))
        write_predictions(self.out, results.predictions)
        LOOKED_AT.write(self.out, seen)
        with memory_told("handing over the model"):
            return self._hand_over(method, trained, results, device)

    def _texts_before(self, net: Net, job: Job, device: torch.device) -> tuple[str, ...]:
        """What a language model writes before it is trained, for the samples of the report."""
        checked, stop = self.checked, self.stop.check
        writer = writer_of(
            net.to(device), job.objective, checked.data, checked.evaluator, stop, job.pass_size, job.context
        )
        return () if writer is None else writer.samples(next(iter(checked.data.tests.values())))

    def _forgetting(self, net: Net, job: Job, device: torch.device) -> Forgetting | None:
        """What has measured the model on a text of another domain, where the recipe names one."""
        options, language = self.recipe.evaluate, job.objective.answers == "language"
        if options.forgetting is None:
            return None
        file = Path(options.forgetting)
        with memory_told("measuring what may be forgotten"):
            found = Forgetting(
                net.to(device), file, language, options.batch_size, self.stop.check, job.pass_size, job.context
            )
            found.before()
        return found

    def _drawing(self, net: Net, job: Job, device: torch.device) -> DrawnImages | None:
        """What draws before and after training, where the model draws images."""
        with memory_told("drawing images"):
            kept = self.out.parent / EXTRACTOR
            return drawn_images(net.to(device), job, self.recipe.evaluate, Path.cwd(), kept)

    def _hand_over(self, method: Method, trained: Trained, results: Results, device: torch.device) -> RunRecord:
        """Writes the model folder, then the record: whoever finds `finished` finds the model too."""
        kind = handover_kind(method.handover, method.merged, self.checked.objective.answers)

        def record(saved_bytes: int) -> RunRecord:
            seconds = trained.earlier_seconds + self.stack.clock() - self.begun
            peak = peak_memory_bytes(device.type)
            return finish_record(
                self.record,
                trained,
                results,
                kind,
                self.watchers.warnings,
                seconds=seconds,
                shared_seconds=self.shared_seconds,
                peak_memory=peak,
                saved_bytes=saved_bytes,
            )

        decision = {"threshold": results.threshold, "positive": self.recipe.evaluate.positive}
        saved_bytes = save_model(
            trained,
            kind,
            self.out / MODEL,
            self.checked.data.schema,
            decision,
            card=lambda size: model_card(record(size).as_dict()),
            clean=text_steps(self.recipe.data.clean),
            language=self.checked.objective.answers == "language",
        )
        finished = record(saved_bytes)
        with self.stop.deferred():
            write_record(self.out, finished)
            drop_checkpoints(self.out)
        return finished

    def _warn(self, message: str) -> None:
        self.watchers.emit(Warned(message))
