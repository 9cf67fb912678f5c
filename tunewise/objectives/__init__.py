"""What is minimised, one file per task; for language models one per objective."""

from __future__ import annotations

from tunewise.errors import RecipeError
from tunewise.objectives.base import Loss, Objective
from tunewise.objectives.classification import Classification
from tunewise.objectives.denoising import Denoising
from tunewise.objectives.dpo import DirectPreference
from tunewise.objectives.grpo import Grpo
from tunewise.objectives.kto import KahnemanTversky
from tunewise.objectives.multilabel import Multilabel
from tunewise.objectives.ppo import Ppo
from tunewise.objectives.regression import Regression
from tunewise.objectives.reward import RewardModel
from tunewise.objectives.rloo import Rloo
from tunewise.objectives.settings import LANGUAGE_OBJECTIVES, ObjectiveConfig
from tunewise.objectives.sft import SupervisedFineTuning
from tunewise.objectives.token_classification import TokenClassification
from tunewise.types import DataBundle, Schema

OBJECTIVES: dict[str, type[Objective]] = {
    "classification": Classification,
    "multilabel": Multilabel,
    "regression": Regression,
    "token_classification": TokenClassification,
    "sft": SupervisedFineTuning,
    "dpo": DirectPreference,
    "reward": RewardModel,
    "kto": KahnemanTversky,
    "grpo": Grpo,
    "rloo": Rloo,
    "ppo": Ppo,
    "denoising": Denoising,
}
"""By task, those of language models and of models that draw images by their own names."""


def objective_name(config: ObjectiveConfig, schema: Schema) -> str:
    """Which objective a recipe has for a task: the one that it names, or the usual one.

    Raises:
        RecipeError: the one that it names is for other rows.
    """
    fitting = [name for name, tasks in LANGUAGE_OBJECTIVES.items() if schema.task in tasks]
    if not config.named:
        return fitting[0] if fitting else schema.task
    (name,) = config.named
    if name not in fitting:
        raise RecipeError(
            f"the objective '{name}' is for {' and '.join(LANGUAGE_OBJECTIVES[name])}; the task is {schema.task}",
            where=f"objective.{name}",
            fix=_fix(name, fitting),
        )
    return name


_NEEDS = {
    "sft": "texts, prompts with answers, or conversations",
    "dpo": "a prompt with a chosen and a rejected answer (columns prompt, chosen, rejected)",
    "reward": "a prompt with a chosen and a rejected answer (columns prompt, chosen, rejected)",
    "denoising": "images, with data.task: image_generation",
    "kto": "a prompt with an answer that is good or bad (columns prompt, completion, label)",
}


def _fix(name: str, fitting: list[str]) -> str:
    other = f"take {' or '.join(fitting)}" if fitting else "leave it out"
    return f"{other}, or give rows of {_NEEDS[name]}" if name in _NEEDS else other


def make_objective(config: ObjectiveConfig, data: DataBundle) -> Objective:
    return OBJECTIVES[objective_name(config, data.schema)](config, data)


__all__ = ["OBJECTIVES", "Loss", "Objective", "make_objective", "objective_name"]
