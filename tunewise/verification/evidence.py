"""What a finished run leaves, as sha256 by part: two runs that are the same have the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunewise.commit.folder import MANIFEST
from tunewise.commit.leftovers import is_leftover
from tunewise.tracking.jsonl_log import read_log
from tunewise.tracking.record import read_record
from tunewise.tracking.run_folder import LOG, MODEL, PREDICTIONS
from tunewise.tracking.shown import SHOWN
from tunewise.types import CARD
from tunewise.verification.moments import Read

COUNTS = ("trainable_parameters", "total_parameters")
RESULTS = ("status", "scores", "validation", "curve", "plans", "confusion", "notes", "warnings")


def evidence_of(run: Path) -> dict[str, str]:
    """sha256 of the model handed over, the predictions, the rows of the log and the record's results. Left out is what
    tells of seconds: `time` in the log, costs in the record and so in the model card."""
    record = read_record(run).as_dict()
    results = {f"record: {name}": record[name] for name in RESULTS}
    results |= {f"record: {name}": record["costs"][name] for name in COUNTS}
    rows = [{key: value for key, value in row.items() if key != "time"} for row in read_log(run / LOG)]
    return {
        **_files(run, MODEL, leave_out=(MANIFEST, CARD)),
        **_files(run, PREDICTIONS, leave_out=(MANIFEST,)),
        **{file.name: _digest(file.read(run)) for file in SHOWN},
        "log": _digest(rows),
        **{name: _digest(value) for name, value in results.items()},
    }


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The parts that are not the same in both."""
    return [name for name in dict.fromkeys((*one, *other)) if one.get(name) != other.get(name)]


def leftovers_in(run: Path) -> list[str]:
    """What killed processes left that is of no use."""
    return sorted(str(path.relative_to(run)) for path in run.rglob(".*") if is_leftover(path.name))


def rows_read_wrongly(reads: Mapping[int, Read]) -> list[str]:
    """Rows that an epoch saw twice (more often than balanced batches should) or, where it was completed, not at all;
    `reads` are by step, of the steps that count."""
    epochs: dict[int, list[int]] = {}
    for read in reads.values():
        epochs.setdefault(read.epoch, []).extend(read.rows)
    problems = [f"step {step} is missing" for step in range(max(reads, default=-1) + 1) if step not in reads]
    size, again = next(((read.of, read.again) for read in reads.values()), (0, 0))
    last = max(epochs, default=0)
    for epoch, rows in epochs.items():
        if (twice := len(rows) - len(set(rows)) - again) > 0:
            problems.append(f"epoch {epoch + 1}: {twice} rows were read twice")
        if epoch < last and (lost := size - len(set(rows))):
            problems.append(f"epoch {epoch + 1}: {lost} rows were not read")
    return problems


def _files(run: Path, folder: str, leave_out: tuple[str, ...]) -> dict[str, str]:
    found = sorted(path for path in (run / folder).rglob("*") if path.is_file() and path.name not in leave_out)
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
