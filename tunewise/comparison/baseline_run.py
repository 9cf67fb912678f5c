"""A baseline as a run: its record and predictions beside those of the methods."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from tunewise.check import Checked
from tunewise.commit import lock
from tunewise.errors import TunewiseError
from tunewise.evaluate.baselines import run_baseline
from tunewise.evaluate.sample import confusion_by_split
from tunewise.recipe import Recipe
from tunewise.tracking.environment import environment
from tunewise.tracking.peak_memory import peak_memory_bytes
from tunewise.tracking.predictions import write_predictions
from tunewise.tracking.record import Problem, RunRecord, write_record
from tunewise.tracking.run_folder import earlier_record
from tunewise.tracking.run_record import used_data
from tunewise.types import Costs


def run_baseline_run(name: str, recipe: Recipe, out: Path, checked: Checked) -> RunRecord:
    """Fits a baseline and leaves record and predictions in `out`; a finished one is left as it is. Alone, it would pay
    for reading the data too."""
    start = time.perf_counter()
    data, evaluator = checked.data, checked.evaluator
    with lock(out):
        earlier = earlier_record(out, recipe.fingerprint, resume=True)
        if earlier and earlier.status == "finished":
            return earlier
        record = RunRecord(
            status="running",
            method=name,
            seed=recipe.seed,
            recipe=recipe.as_dict(),
            data=used_data(data, checked.found.audit.findings),
            environment=environment(),
            tuned={"recipe": recipe.fingerprint},
        )
        write_record(out, record)
        try:
            result = run_baseline(name, data, evaluator, checked.metric, recipe.seed)
            write_predictions(out, result.predictions)
            scores = {split: evaluator.score_with_intervals(said) for split, said in result.predictions.items()}
        except TunewiseError as problem:
            write_record(out, replace(record, status="failed", error=Problem.of(problem)))
            raise
        counts = {key: int(result.costs[key]) for key in ("trainable_parameters", "total_parameters")}
        costs = Costs(
            train_seconds=result.costs["train_seconds"],
            total_seconds=time.perf_counter() - start,
            peak_memory_bytes=peak_memory_bytes("cpu"),
            forward_flops=0.0,
            backward_flops=0.0,
            saved_bytes=0,
            predict_ms_per_example=result.costs["predict_ms_per_example"],
            **counts,
        )
        record = replace(
            record,
            status="finished",
            validation=scores.pop("validation"),
            scores=scores,
            costs=replace(costs, total_seconds=costs.total_seconds + checked.found.data_seconds),
            marginal=costs,
            confusion=confusion_by_split(result.predictions, data.schema.task),
            plans=[{"step": 0, **result.settings}],
        )
        write_record(out, record)
    return record
