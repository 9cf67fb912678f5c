"""The cost columns of the tables: what each is called, how a cell is written, and which have anything to show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tunewise.report.entries import Entry
from tunewise.report.figures import NONE, count, flops, is_number, milliseconds, seconds, size


@dataclass(frozen=True)
class CostColumn:
    """A cost: its key, its heading, how it is written; `brief` is the heading in the terminal."""

    key: str
    heading: str
    brief: str
    meaning: str
    write: Callable[[float | None], str]

    def cell(self, entry: Entry) -> tuple[str, str]:
        """The figure, and a second line in small print (time in all, share of the parameters that train) or nothing."""
        value = entry.cost(self.key)
        if self.key == "train_seconds" and is_number(whole := entry.cost("total_seconds")):
            return self.write(value), f"{self.write(whole)} in all"
        total = entry.cost("total_parameters")
        if self.key == "trainable_parameters" and is_number(value) and is_number(total) and total > 0:
            return self.write(value), share(value / total)
        if not value and self.key in ("flops", "saved_bytes"):
            return NONE, ""
        return self.write(value), ""


def share(part: float) -> str:
    """ "100% of all", "1.3% of all", "<0.1% of all"."""
    if part < 0.001:
        return "<0.1% of all"
    return f"{part:.0%} of all" if part >= 0.0995 else f"{part:.1%} of all"


_COLUMNS = (
    CostColumn(
        "train_seconds", "Training", "train", "in optimiser steps; in all: from the start of the process", seconds
    ),
    CostColumn("peak_memory_bytes", "Peak memory", "memory", "of the process; on a GPU, of the device", size),
    CostColumn("trainable_parameters", "Trained parameters", "trained", "parameters that training changes", count),
    CostColumn("flops", "FLOPs", "FLOPs", "forward and backward of training, without evaluation", flops),
    CostColumn("saved_bytes", "Saved", "saved", "files of the model handed over", size),
    CostColumn("predict_ms_per_example", "Per example", "per row", "time of one prediction, in batches", milliseconds),
)


def cost_columns(entries: Sequence[Entry]) -> list[CostColumn]:
    """The columns in which at least one entry has a figure."""
    return [column for column in _COLUMNS if any(is_number(entry.cost(column.key)) for entry in entries)]
