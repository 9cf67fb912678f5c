"""What a metric is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tunewise.evaluate.sample import Sample
from tunewise.types import Task

SOKOLOVA = "Sokolova & Lapalme (2009), A systematic analysis of performance measures for classification tasks"


@dataclass(frozen=True)
class Metric:
    """A metric.

    `words` explains it in one line; `reads` says whether it depends on the decisions, only on the scores (then no
    threshold can be chosen by it), or on texts that the model wrote; `binary` that it needs exactly two classes;
    `neutral` that neither more nor less is better in itself, so that tables mark no best; `compute` gives its (R,)
    values; `best` and `worst` are the values that none can pass, where there are such.
    """

    name: str
    tasks: tuple[Task, ...]
    greater_is_better: bool
    words: str
    source: str
    compute: Callable[[Sample], np.ndarray]
    reads: Literal["decisions", "scores", "texts"] = "decisions"
    binary: bool = False
    neutral: bool = False
    best: float | None = None
    worst: float | None = None
