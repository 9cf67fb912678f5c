"""The types that pass between rooms. Frozen, printable, free of heavy imports."""

from __future__ import annotations

from tunewise.types.data import (
    CUT,
    IMAGE_GENERATION,
    LABEL_TASKS,
    LANGUAGE_TASKS,
    NO_WORD,
    ROW_NUMBERS,
    DataBundle,
    DataStep,
    Form,
    Kept,
    Predictions,
    Schema,
    Split,
    Task,
)
from tunewise.types.model_map import Block, Chain, ModelMap, TensorInfo, TensorKind
from tunewise.types.plan import Mask, ModuleInsert, Need, PeftInsert, Plan, Rule, Schedule, Signals, Solver, TensorFlops
from tunewise.types.results import CARD, Costs, Handover, Score, Status

__all__ = [
    "CARD",
    "CUT",
    "IMAGE_GENERATION",
    "LABEL_TASKS",
    "LANGUAGE_TASKS",
    "NO_WORD",
    "ROW_NUMBERS",
    "Block",
    "Chain",
    "Costs",
    "DataBundle",
    "DataStep",
    "Form",
    "Handover",
    "Kept",
    "Mask",
    "ModelMap",
    "ModuleInsert",
    "Need",
    "PeftInsert",
    "Plan",
    "Predictions",
    "Rule",
    "Schedule",
    "Schema",
    "Score",
    "Signals",
    "Solver",
    "Split",
    "Status",
    "Task",
    "TensorFlops",
    "TensorInfo",
    "TensorKind",
]
