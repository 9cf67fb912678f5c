"""What of `augment` and R-Drop does not go together, or not with the task: found before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path

from tunewise.data.augment_settings import AugmentConfig
from tunewise.data.tags import is_plain
from tunewise.engine.settings import TrainConfig
from tunewise.errors import RecipeError
from tunewise.models.locate import locate
from tunewise.objectives.settings import ObjectiveConfig
from tunewise.types import Schema


def check_augmentation(
    augment: AugmentConfig, objective: ObjectiveConfig, train: TrainConfig, schema: Schema, folder: Path
) -> None:
    """Looks for the model of synonyms too.

    Raises:
        RecipeError: names the option and what to do.
        ModelError: there is no model of that name.
    """
    entities = schema.task == "token_classification"
    if augment.mixup and entities:
        raise RecipeError(
            "mixup mixes whole rows, and the words of two rows do not stand side by side; the task is "
            "token_classification",
            where="augment.mixup",
            fix="leave it out; word_dropout, word_swap and synonyms go with entities",
        )
    if augment.mixup and objective.r_drop:
        raise RecipeError(
            "mixup trains on mixtures of two rows, R-Drop compares two passes of one",
            where="objective.r_drop",
            fix="leave out one of the two",
        )
    if augment.word_dropout and entities and is_plain(schema.labels):
        raise RecipeError(
            "the tags have no B- and I-: without the word between them, two entities would become one",
            where="augment.word_dropout",
            fix="leave it out, or tag the data as IOB2",
        )
    if objective.r_drop and schema.task == "regression":
        raise RecipeError(
            "R-Drop compares probabilities of classes; the task is regression",
            where="objective.r_drop",
            fix="leave it out",
        )
    if objective.r_drop and train.dropout == 0:
        raise RecipeError(
            "R-Drop compares two passes with different dropout; with train.dropout 0 both are the same",
            where="objective.r_drop",
            fix="leave out one of the two",
        )
    if augment.synonym_model:
        locate(augment.synonym_model, folder)


def not_for_solvers(augment: AugmentConfig, objective: ObjectiveConfig) -> list[str]:
    """What a closed solver does without: it reads each row once, and minimises a loss of its own."""
    given = [augment.told, "mixup" if augment.mixup else "", "R-Drop" if objective.r_drop else ""]
    return [f"augmentation ({what}) does not apply to a closed solver" for what in given if what]
