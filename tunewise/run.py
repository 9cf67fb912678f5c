"""The straight line: a recipe with one model, one method and one seed -> a record."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tunewise.check import Checked, check
from tunewise.commit import Series, lock
from tunewise.engine.device import Tuned, tune
from tunewise.engine.evaluation import Results, evaluate
from tunewise.engine.events import Finished, Observer, Observers, Warned
from tunewise.engine.handover import handover_kind, save_model
from tunewise.engine.stop import Stop
from tunewise.engine.train import Job, Trained, train
from tunewise.errors import DataError, Interrupted
from tunewise.models.load import load_net
from tunewise.recipe import Recipe, write_recipe
from tunewise.report.card import model_card
from tunewise.tracking.environment import environment
from tunewise.tracking.jsonl_log import JsonlLog
from tunewise.tracking.peak_memory import peak_memory_bytes
from tunewise.tracking.predictions import write_predictions
from tunewise.tracking.record import HandedOver, Problem, RunRecord, UsedData, UsedModel, write_record
from tunewise.tracking.run_folder import (
    CHECKPOINTS,
    MODEL,
    drop_checkpoints,
    earlier_record,
    stored_tuning,
    write_settings,
)
from tunewise.tracking.tensorboard import TensorBoard
from tunewise.types import Costs


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
    expected_data: str | None = None,
    seconds_before: float = 0.0,
    import_seconds: float = 0.0,
) -> RunRecord:
    """Trains one model with one method and leaves everything in `out`.

    Args:
        recipe: with one model and one method.
        out: the run's folder; must be new, or that of the same run where `resume` is set.
        folder: what relative paths in the recipe start from.
        checked: what `check` found for the anchored recipe, where that was done before.
        tuned: what a comparison has fitted to the machine for all its runs.
        expected_data: fingerprint that the data must still have.
        seconds_before: since the start of the process.
        import_seconds: what a comparison has spent on imports for this run, which then is not spent here.

    Raises:
        TunewiseError: the record says `failed` or `interrupted`; other runs are not touched.
    """
    begun = time.perf_counter() - seconds_before
    recipe = recipe.anchored(folder)
    checked = checked or check(recipe, folder, recipe.all_methods, allow_code)
    with lock(out), Stop() as stop:
        earlier = earlier_record(out, recipe.fingerprint, resume)
        if earlier and earlier.status == "finished":
            drop_checkpoints(out)  # where the run was killed just before it did so
            return earlier
        watchers = Observers([JsonlLog(out / "log.jsonl"), TensorBoard(out / "tensorboard"), *observers])
        tuned = _tuned(recipe, out, tuned)
        record = _begin(recipe, out, checked, tuned, earlier)
        try:
            if expected_data and checked.data.fingerprint != expected_data:
                raise DataError(
                    "the data is not what it was when the comparison began",
                    where=recipe.data.train,
                    fix="put the data back, or begin a new comparison",
                )
            clock = _Clock(begun, import_seconds)
            record = _carry_out(recipe, out, checked, tuned, record, watchers, stop, clock)
        except BaseException as problem:
            status = "interrupted" if isinstance(problem, (Interrupted, KeyboardInterrupt)) else "failed"
            failed = replace(record, status=status, error=Problem.of(problem), warnings=watchers.warnings)
            write_record(out, failed)
            watchers.emit(Finished(status))
            raise
        watchers.emit(Finished("finished"))
    return record


class _Clock:
    """Seconds since the process began; `alone` adds the imports that a comparison paid for all its runs."""

    def __init__(self, begun: float, import_seconds: float):
        self.begun, self.import_seconds = begun, import_seconds

    def here(self) -> float:
        return time.perf_counter() - self.begun

    def alone(self) -> float:
        return self.here() + self.import_seconds


def _tuned(recipe: Recipe, out: Path, tuned: Tuned | None) -> Tuned:
    stored = stored_tuning(out)
    if stored:
        tuned = Tuned(**stored)
    tuned = tuned or tune(recipe.train)
    write_settings(out, write_recipe(recipe), tuned.as_dict())
    return tuned


def _begin(recipe: Recipe, out: Path, checked: Checked, tuned: Tuned, earlier: RunRecord | None) -> RunRecord:
    data, located = checked.data, checked.models[recipe.model]
    record = RunRecord(
        status="running",
        method=recipe.method.label,
        seed=recipe.seed,
        recipe=recipe.as_dict(),
        model=UsedModel(located.name, str(located.path), located.fingerprint),
        data=UsedData(
            fingerprint=data.fingerprint,
            rows={name: len(split) for name, split in data.splits.items()},
            steps=[asdict(step) for step in data.steps],
            schema=asdict(data.schema),
        ),
        environment=environment(),
        tuned={**tuned.as_dict(), "recipe": recipe.fingerprint},
    )
    if earlier:
        record = replace(record, id=earlier.id, created=earlier.created)
    write_record(out, record)
    return record


def _carry_out(
    recipe: Recipe,
    out: Path,
    checked: Checked,
    tuned: Tuned,
    record: RunRecord,
    watchers: Observers,
    stop: Stop,
    clock: _Clock,
) -> RunRecord:
    tuned.apply()
    located, method = checked.models[recipe.model], recipe.method.build(recipe.train.learning_rate)
    net = load_net(
        located,
        checked.data.schema,
        seed=recipe.seed,
        dropout=recipe.train.dropout,
        max_length=recipe.train.max_length,
        attention=tuned.attention,
    )
    job = Job(
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
    )
    trained = train(net, method, job)
    for message in method_warnings(trained):
        watchers.emit(Warned(message))
    results = evaluate(trained, checked.data, checked.evaluator, stop.check, lambda said: watchers.emit(Warned(said)))
    write_predictions(out, results.predictions)
    return _hand_over(recipe, out, checked, tuned, record, watchers, trained, results, clock)


def method_warnings(trained: Trained) -> list[str]:
    """What the user should know of how a closed solver ended."""
    solved = trained.plans[0].get("solved")
    if not solved or not solved["at_edge"]:
        return []
    return [
        f"the best strength of {solved['classifier']}, {solved['strength']:g}, is at the edge of the grid that was "
        "tried; give `strength` to go further"
    ]


def _hand_over(
    recipe: Recipe,
    out: Path,
    checked: Checked,
    tuned: Tuned,
    record: RunRecord,
    watchers: Observers,
    trained: Trained,
    results: Results,
    clock: _Clock,
) -> RunRecord:
    method = recipe.method.build()
    kind = handover_kind(method.handover, getattr(method, "merged", False))
    costs = Costs(
        train_seconds=trained.seconds,
        total_seconds=0.0,
        peak_memory_bytes=0,
        forward_flops=trained.forward_flops,
        backward_flops=trained.backward_flops,
        trainable_parameters=trained.trainable_parameters,
        total_parameters=trained.total_parameters,
        saved_bytes=0,
        predict_ms_per_example=results.predict_ms_per_example,
    )

    def finished(saved_bytes: int) -> RunRecord:
        here = replace(
            costs,
            saved_bytes=saved_bytes,
            peak_memory_bytes=peak_memory_bytes(tuned.device),
            total_seconds=trained.earlier_seconds + clock.here(),
        )
        return replace(
            record,
            status="finished",
            plans=trained.plans,
            scores=results.scores,
            validation=results.validation,
            costs=replace(here, total_seconds=trained.earlier_seconds + clock.alone()),
            marginal=here,
            curve=trained.curve,
            confusion=results.confusion,
            handover=HandedOver(kind, {"model": MODEL, "predictions": "predictions"}),
            notes=list(trained.net.notes),
            warnings=watchers.warnings,
        )

    decision = {"threshold": results.threshold, "positive": recipe.evaluate.positive}
    saved_bytes = save_model(
        trained,
        kind,
        out / MODEL,
        checked.data.schema,
        decision,
        card=lambda size: model_card(finished(size).as_dict()),
    )
    record = finished(saved_bytes)
    write_record(out, record)
    drop_checkpoints(out)
    return record
