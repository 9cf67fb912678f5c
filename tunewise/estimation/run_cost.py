"""Measures what a run would cost, in a process that does nothing else: a little of all that the run would do."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunewise.check import Checked, check
from tunewise.comparison import preload
from tunewise.engine.device import Tuned
from tunewise.engine.evaluation import evaluate
from tunewise.engine.events import Observers
from tunewise.engine.handover import handover_kind, save_model
from tunewise.engine.job import Job
from tunewise.engine.loop import Training
from tunewise.engine.stop import Stop
from tunewise.engine.train import Trained, train
from tunewise.engine.written import SAMPLES
from tunewise.estimation.answers import Parts, Question, RunCost
from tunewise.estimation.calibration import Calibration
from tunewise.estimation.embedding import embedded_rows, embedding_bytes, embedding_flops
from tunewise.estimation.reference import SomeUntrained
from tunewise.estimation.sample import some_of, times_larger
from tunewise.evaluate.baselines import run_baseline
from tunewise.evaluate.evaluator import Evaluator
from tunewise.methods import Method
from tunewise.models.from_runs import WHOLE
from tunewise.models.load import Net
from tunewise.recipe import Recipe, recipe_from
from tunewise.run import job_of, load
from tunewise.tracking.jsonl_log import JsonlLog
from tunewise.tracking.peak_memory import peak_memory_bytes
from tunewise.tracking.tensorboard import TensorBoard
from tunewise.types import DataBundle

ROWS_TO_EVALUATE = 256
ROWS_OF_A_BASELINE = 2000
TEXTS_TO_WRITE = 8
"""By a language model, of each test set: of a batch, so that a text takes about as long as among all."""
LARGEST_SAVED = 2**30
"""Bytes of a model that is saved to see how long that takes."""

Tell = Callable[[str], None]


def measure(question: Question, tell: Tell) -> RunCost:
    """Carries out a little of a run; `tell` is called with what comes next, in a few words.

    Raises:
        TunewiseError: what the run would meet.
        MemoryError, RuntimeError: it does not fit into memory.
    """
    import psutil

    begun, common, task = time.perf_counter(), psutil.Process().memory_info().rss, question.task
    recipe = recipe_from(task.recipe)
    methods = [] if task.baseline else recipe.all_methods
    checked = check(recipe, Path(task.folder), methods, task.allow_code, task.found)
    parts = {"data": task.found.seconds + time.perf_counter() - begun}
    parts["imports"] = sum(seconds for name, seconds in preload.SECONDS.items() if name in task.packages)
    device, more = "cpu", 0
    if task.baseline:
        cost = _baseline(task.baseline, recipe, checked, parts)
    else:
        work = _Work(question, recipe, checked, Tuned.from_dict(task.tuned), tell, parts)
        cost = work.carry_out()
        device, more = work.tuned.device, work.more_memory
    return replace(
        cost,
        peak_memory_bytes=peak_memory_bytes(device) + more,
        common_bytes=common if device == "cpu" else 0,
        calibration_seconds=time.perf_counter() - begun,
    )


def _baseline(name: str, recipe: Recipe, checked: Checked, parts: dict[str, float]) -> RunCost:
    """With fewer rows, from which all are extrapolated."""
    some = some_of(checked.data, dict.fromkeys(checked.data.splits, ROWS_OF_A_BASELINE))
    begun = time.perf_counter()
    result = run_baseline(name, some, checked.evaluator, checked.metric, recipe.seed)
    for said in result.predictions.values():
        checked.evaluator.score_with_intervals(said)
    seconds = (time.perf_counter() - begun) * times_larger(checked.data, some, *some.splits)
    return RunCost(Parts(**parts, train=seconds))


@dataclass
class _Work:
    """What the steps of a run share. `parts` are the seconds of its parts, as they become known; `more_memory` is what
    rows that were left out would take."""

    question: Question
    recipe: Recipe
    checked: Checked
    tuned: Tuned
    tell: Tell
    parts: dict[str, float]
    notes: list[str] = field(default_factory=list)
    more_memory: int = 0

    def __post_init__(self) -> None:
        self.scratch = Path(self.question.scratch)

    def carry_out(self) -> RunCost:
        self.tell("loading the model")
        begun, recipe = time.perf_counter(), self.recipe
        self.tuned.apply()
        method = recipe.method.build(recipe.train.learning_rate, self.checked.objective.rate_scale)
        net = load(recipe, self.checked, self.tuned)
        self.parts["load"] = time.perf_counter() - begun
        with self.tuned.keeping_memory():
            trained, data, cost = self._descend(net, method) if method.descends else self._solve(net, method)
        with self.tuned.keeping_memory():
            milliseconds = self._evaluate(trained, data)
        saved = self._save(trained, method)
        return RunCost(
            seconds=Parts(**self.parts),
            trainable_parameters=trained.trainable_parameters,
            total_parameters=trained.total_parameters,
            saved_bytes=saved,
            predict_ms_per_example=milliseconds,
            notes=tuple(self.notes),
            **cost,
        )

    def _descend(self, net: Net, method: Method) -> tuple[Trained, DataBundle, dict[str, Any]]:
        self.tell("training a few steps")
        made: list[Calibration] = []

        def loop(**fields: Any) -> Calibration:
            made.append(Calibration(**fields, budget=self.question.budget))
            return made[0]

        some, begun = self._some(), time.perf_counter()
        asked: list[SomeUntrained] = []
        trained = train(net, method, replace(self._job(some, loop), untrained=self._untrained(some, asked)))
        calibration = made.pop()  # the job, and with it this list, lives as long as the model
        told_before = sum(untrained.seconds for untrained in asked)
        asked.clear()
        larger = times_larger(self.checked.data, some, "validation")
        self.parts |= {
            "prepare": calibration.ready_at - begun - calibration.counted_at_start - told_before,
            "train": trained.seconds,
            "log": calibration.seconds_between_steps,
            "validate": calibration.validation_seconds * calibration.validations * larger,
        }
        self.more_memory = calibration.kept_bytes
        self.notes += calibration.notes
        if self.recipe.evaluate.forgetting is not None:
            self.notes.append("reading the text of evaluate.forgetting, before and after, is not timed")
        if self.checked.objective.answers == "images" and self.recipe.evaluate.drawing is not None:
            self.notes.append("drawing images before and after training (evaluate.drawing) is not timed")
        if borrowed := calibration.steps_of_borrowed_time:
            self.notes.append(f"the time of {borrowed:,} steps is told by phases before theirs: raise --budget")
        cost = {
            "steps": calibration.course.total_steps,
            "measured_steps": sum(phase.measured for phase in calibration.phases),
            "phases": len(calibration.phases),
            "forward_flops": trained.forward_flops,
            "backward_flops": trained.backward_flops,
            "checkpoint_bytes": calibration.checkpoint_bytes,
        }
        return trained, some, cost

    def _untrained(self, some: DataBundle, made: list[SomeUntrained]) -> Callable[..., SomeUntrained]:
        """What tells what the model says before it trains, of some rows; it is added to `made`."""
        whole = self.checked.data

        def untrained(*fields: Any) -> SomeUntrained:
            larger = {name: times_larger(whole, some, name) for name in some.splits}
            made.append(SomeUntrained(*fields, larger=larger))
            return made[0]

        return untrained

    def _solve(self, net: Net, method: Method) -> tuple[Trained, DataBundle, dict[str, Any]]:
        self.tell("embedding some rows")
        data, net = self.checked.data, net.to(self.tuned.apply())
        some = self._some(**embedded_rows(net, data, self.tuned.autocast, self.question.budget))
        begun = time.perf_counter()
        trained = train(net, method, self._job(some, Training))
        wall, larger = time.perf_counter() - begun, times_larger(data, some, "train", "validation")
        self.parts |= {"prepare": (wall - trained.seconds) * larger, "train": trained.seconds * larger}
        self.more_memory = embedding_bytes(trained.head, data) - embedding_bytes(trained.head, some)
        if larger > 1:
            self.notes.append(f"embedding and solver are told by one row in {larger:.1f}: raise --budget for more")
        texts = [data.splits[name].texts for name in ("train", "validation")]
        return trained, some, {"forward_flops": embedding_flops(net, texts)}

    def _some(self, **most: int) -> DataBundle:
        """The data with few rows to evaluate."""
        data = self.checked.data
        return some_of(data, dict.fromkeys((*data.tests, "validation"), ROWS_TO_EVALUATE) | most)

    def _job(self, data: DataBundle, loop: Callable[..., Training]) -> Job:
        watchers = Observers([JsonlLog(self.scratch / "log.jsonl"), TensorBoard(self.scratch / "tensorboard")])
        job = job_of(self.recipe, self.checked, self.tuned, watchers, self.scratch, Stop())
        return replace(job, data=data, loop=loop, synonym_rows=ROWS_TO_EVALUATE)

    def _evaluate(self, trained: Trained, data: DataBundle) -> float:
        """Milliseconds per row, in prediction."""
        self.tell("evaluating")
        begun = time.perf_counter()
        self.tuned.turn_to_prediction(trained.net.model)
        results = evaluate(trained, data, self._few_texts(), lambda: None)
        larger = times_larger(self.checked.data, data, "validation", *data.tests)
        sets = results.texts.get("sets", {}).values()
        took = time.perf_counter() - begun - sum(written["seconds"] for written in sets)
        self.parts["evaluate"] = took * larger + self._writing_seconds(sets)
        return results.predict_ms_per_example

    def _few_texts(self) -> Evaluator:
        """That of the recipe, with few texts to write."""
        evaluator = copy(self.checked.evaluator)
        if generation := evaluator.config.generation:
            few = generation.model_copy(update={"rows": min(generation.rows, TEXTS_TO_WRITE)})
            evaluator.config = evaluator.config.model_copy(update={"generation": few})
        return evaluator

    def _writing_seconds(self, sets: Collection[Mapping[str, Any]]) -> float:
        """Of all texts that the run writes: those of every test set, and samples before training."""
        if not sets:
            return 0.0
        each = sum(written["seconds"] for written in sets) / sum(written["rows"] for written in sets)
        most, tests = self.checked.evaluator.config.generation.rows, [*self.checked.data.tests.values()]
        rows = [min(most, len(split)) for split in tests]
        return each * (sum(rows) + min(SAMPLES, rows[0]))

    def _save(self, trained: Trained, method: Method) -> int:
        """Bytes of the model handed over."""
        kind = handover_kind(method.handover, method.merged, self.checked.objective.answers)
        parameters = trained.total_parameters if kind in WHOLE else trained.trainable_parameters
        if 4 * parameters > LARGEST_SAVED:
            self.notes.append("saving is not timed: the model is large")
            return 4 * parameters
        self.tell("saving")
        begun, schema = time.perf_counter(), self.checked.data.schema
        saved = save_model(
            trained,
            kind,
            self.scratch / "model",
            schema,
            {"threshold": None},
            card=lambda size: "",
            language=self.checked.objective.answers == "language",
        )
        self.parts["save"] = time.perf_counter() - begun
        return saved
