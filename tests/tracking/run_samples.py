"""A run and a comparison on disk, as they leave them, without training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tunewise.commit import Series, commit_folder, sealed, sealed_page, write_file
from tunewise.engine.events import Evaluated, Finished, Started, Step
from tunewise.recipe import recipe_from, write_recipe
from tunewise.tracking.jsonl_log import JsonlLog
from tunewise.tracking.predictions import write_predictions
from tunewise.tracking.record import HandedOver, RunRecord, write_record
from tunewise.tracking.run_folder import CHECKPOINTS, COMPARISON, LOG, MODEL, REPORT, RUNS, write_settings
from tunewise.types import CARD, Predictions, Status

RECIPE = recipe_from(
    {"model": "mini", "method": {"lora": {"rank": 2}}, "data": {"train": "a.csv", "label": "intent"}, "seeds": 1}
)
TUNED = {"device": "cpu", "precision": "fp32", "threads": 1}


def write_run(folder: Path, status: Status = "finished") -> Path:
    """All that a run leaves; one that has not finished has checkpoints in the place of a model."""
    write_settings(folder, write_recipe(RECIPE), TUNED)
    log = JsonlLog(folder / LOG)
    log.on_started(Started(4, "lora"))
    for step in range(1, 5):
        log.on_step(Step(step, step / 4, 0.7 / step, 1e-3, 1.5, 80, 0.25))
    log.on_evaluated(Evaluated(4, 1.0, "validation", 0.4, {"f1_macro": 0.75}))
    record = RunRecord(
        status=status, method="lora(rank=2)", seed=0, recipe=RECIPE.as_dict(), tuned={**TUNED, "recipe": "ab" * 32}
    )
    if status == "finished":
        values = np.linspace(0.0, 1.0, 40).reshape(20, 2)
        said = Predictions(values, np.zeros(20, np.int64), np.ones(20, np.int64), np.arange(20))
        write_predictions(folder, {"validation": said, "test": said})
        commit_folder(folder / MODEL, _write_model, {"kind": "peft"})
        record = RunRecord(**{**vars(record), "handover": HandedOver("peft", {"model": MODEL})})
        log.on_finished(Finished("finished", 4))
    else:
        series = Series(folder / CHECKPOINTS)
        for step in (2, 4):
            series.save(step, _write_model, {"kind": "checkpoint"})
    write_record(folder, record)
    return folder


def write_baseline(folder: Path) -> Path:
    """It trains nothing: record and predictions alone."""
    values = np.linspace(0.0, 1.0, 8).reshape(4, 2)
    write_predictions(folder, {"test": Predictions(values, np.zeros(4), np.ones(4), np.arange(4))})
    write_record(folder, RunRecord("finished", "majority", 0, RECIPE.as_dict(), tuned={"recipe": "ab" * 32}))
    return folder


def write_comparison(folder: Path) -> Path:
    """Of a run and a baseline, both finished."""
    write_settings(folder, write_recipe(RECIPE), {"models": {"mini": TUNED}})
    write_run(folder / RUNS / "lora-seed0")
    write_baseline(folder / RUNS / "majority")
    names = ("lora-seed0", "majority")
    runs = [{"name": name, "status": "finished", "folder": f"{RUNS}/{name}"} for name in names]
    runs.append({"name": "full", "status": "failed", "folder": f"{RUNS}/full-seed0"})
    write_file(folder / COMPARISON, sealed({"runs": runs}))
    write_file(folder / REPORT, sealed_page("<html>lora</html>"))
    return folder


def _write_model(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 4)
    (folder / "tunewise.json").write_text('{"format": 1}')
    (folder / CARD).write_text("# A model card\n")
