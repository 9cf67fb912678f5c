"""What is minimised, one file per task."""

from __future__ import annotations

from tunewise.objectives.base import Loss, Objective
from tunewise.objectives.classification import Classification
from tunewise.objectives.multilabel import Multilabel
from tunewise.objectives.regression import Regression
from tunewise.objectives.settings import ObjectiveConfig
from tunewise.objectives.token_classification import TokenClassification
from tunewise.types import DataBundle

OBJECTIVES: dict[str, type[Objective]] = {
    "classification": Classification,
    "multilabel": Multilabel,
    "regression": Regression,
    "token_classification": TokenClassification,
}


def make_objective(config: ObjectiveConfig, data: DataBundle) -> Objective:
    return OBJECTIVES[data.schema.task](config, data)


__all__ = ["OBJECTIVES", "Loss", "Objective", "make_objective"]
