"""The folder of a run: what it holds, and whether a run may start or go on in it.

recipe.yaml      what was asked for           log.jsonl      every event, one per line
tuned.json       what was fitted to the machine    tensorboard/   the same for TensorBoard
checkpoints/     to resume from               predictions/   on validation and test, Parquet
model/           the model handed over        record.json    the result
looked_at.json   of images, what the model looked at
drawn.json       of image generation, images drawn before and after training

A comparison's folder holds recipe.yaml, tuned.json, its runs in runs/, comparison.json, and report.html made of that;
that of a curve has curve.json and curve.html. One folder may hold both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunewise.commit import sealed, sweep, unsealed, write_file
from tunewise.commit.files import explained
from tunewise.commit.folder import remove
from tunewise.errors import RecipeError, StoreError
from tunewise.tracking.jsonl_log import end_log
from tunewise.tracking.record import RECORD, RunRecord, read_record

RECIPE = "recipe.yaml"
TUNED = "tuned.json"
CHECKPOINTS = "checkpoints"
EXTRACTOR = ".extractor"
"""Beside runs: how the folder of a classifier begins that judges what they draw."""
MODEL = "model"
LOG = "log.jsonl"
PREDICTIONS = "predictions"
RUNS = "runs"
COMPARISON = "comparison.json"
REPORT = "report.html"
CURVE = "curve.json"
CURVE_PAGE = "curve.html"


def earlier_record(folder: Path, fingerprint: str, resume: bool) -> RunRecord | None:
    """The record of the same run, begun before; None for a new run. Clears what a killed process left.

    Raises:
        StoreError: the folder holds something and `resume` is not asked for.
        RecipeError: the folder holds a run of another recipe.
    """
    sweep(folder)
    record = read_record(folder) if (folder / RECORD).is_file() else None
    if record is None:
        others = sorted(child.name for child in folder.iterdir() if not child.name.startswith("."))
        if others and not (resume and set(others) <= {RECIPE, TUNED}):
            raise StoreError(
                f"the folder is not empty ({', '.join(others[:3])}), and is not a run of tunewise",
                where=str(folder),
                fix="give another --out",
            )
        return None
    if not resume:
        raise StoreError(
            f"there is a run in this folder already ({record.status})",
            where=str(folder),
            fix="go on with it by --resume, or give another --out",
        )
    if record.tuned.get("recipe") != fingerprint:
        raise RecipeError(
            "the run in this folder was begun with another recipe, so it cannot be resumed with this one",
            where=str(folder / RECIPE),
            fix="give another --out, or the options of that recipe",
        )
    return record


def write_settings(folder: Path, recipe: str, tuned: dict[str, Any] | None) -> None:
    """Stores the recipe's text and what was tuned to the machine, where they are not there yet."""
    if not (folder / RECIPE).is_file():
        write_file(folder / RECIPE, recipe)
    if tuned is not None and not (folder / TUNED).is_file():
        write_file(folder / TUNED, sealed(tuned))


def stored_tuning(folder: Path) -> dict[str, Any] | None:
    """What was tuned to the machine when the run began: kept on resume, since other threads round otherwise."""
    path = folder / TUNED
    if not path.is_file():
        return None
    with explained("read", path):
        return unsealed(path.read_bytes(), path)


def complete(folder: Path) -> None:
    """Does for a finished run what it did not come to before it was killed."""
    drop_checkpoints(folder)
    end_log(folder / LOG)


def drop_checkpoints(folder: Path) -> None:
    """Deletes the checkpoints of a finished run: its model is what remains."""
    if (folder / CHECKPOINTS).is_dir():
        remove(folder / CHECKPOINTS)
