"""Options of a recipe that do not go together, or not with the task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tunewise.data.augment_settings import AugmentConfig
from tunewise.data.tags import is_plain
from tunewise.engine.settings import TrainConfig
from tunewise.errors import RecipeError
from tunewise.image_combinations import check_drawing, check_images, check_looked_at, check_only_images
from tunewise.language_combinations import check_language
from tunewise.models.locate import locate
from tunewise.objectives.settings import ObjectiveConfig
from tunewise.recipe import MethodChoice, Recipe
from tunewise.types import Schema


def check_combinations(
    recipe: Recipe, methods: Sequence[MethodChoice], schema: Schema, folder: Path, language: bool = False
) -> None:
    """Raises where an option would do nothing, or something else than it says.

    Args:
        folder: what relative paths start from.
        language: the model gives the next token.

    Raises:
        RecipeError: names the option, and what to do.
    """
    check_language(recipe, methods, schema, language)
    check_looked_at(recipe, schema)
    check_drawing(recipe, methods, schema)
    if schema.image:
        check_images(recipe)
    else:
        check_only_images(recipe)
    if recipe.objective.label_smoothing and schema.task not in ("classification", "token_classification"):
        raise RecipeError(
            f"label smoothing is for classification; the task is {schema.task}",
            where="objective.label_smoothing",
            fix="leave it out",
        )
    if recipe.objective.class_weights and schema.task == "regression":
        raise RecipeError(
            "class weights are for classes; the task is regression", where="objective.class_weights", fix="leave it out"
        )
    if recipe.train.cut != "head" and schema.task == "token_classification":
        raise RecipeError(
            f"entities are found from the beginning of a text on; train.cut is '{recipe.train.cut}'",
            where="train.cut",
            fix="leave it out",
        )
    _check_batch_norm(recipe.train, schema)
    _check_packing(recipe, schema.task)
    _check_balancing(recipe, schema.task)
    _check_augmentation(recipe.augment, recipe.objective, recipe.train, schema, folder)
    _check_shares(recipe, methods)


def _check_batch_norm(train: TrainConfig, schema: Schema) -> None:
    if train.batch_norm == "frozen":
        return
    if schema.text:
        raise RecipeError(
            "models for text have no batch norm", where="train.batch_norm: updated", fix="leave train.batch_norm out"
        )
    if train.gradient_checkpointing:
        raise RecipeError(
            "a block that is computed again would move the statistics of its batch norms twice",
            where="train.batch_norm: updated, train.gradient_checkpointing: true",
            fix="leave one of them out",
        )


def _check_packing(recipe: Recipe, task: str) -> None:
    if not recipe.train.packing:
        return
    what, fix = "", "leave it out"
    if task not in ("generation", "preference", "prompts"):
        what = f"packing is for texts to continue, pairs of answers, and prompts to be answered; the task is {task}"
    elif recipe.objective.ppo is not None and recipe.objective.ppo.samples == 1:
        what = "packing reads a prompt once for all its answers, and each has one answer only"
        fix = "leave it out, or set objective.ppo.samples higher"
    if what:
        raise RecipeError(what, where="train.packing", fix=fix)


def _check_balancing(recipe: Recipe, task: str) -> None:
    """One remedy for classes of unequal size at a time, where a second would do nothing or correct twice.

    Raises:
        RecipeError: names what to leave out.
    """
    weights = recipe.objective.class_weights
    if recipe.train.balanced_batches and task != "classification":
        raise RecipeError(
            f"balanced batches are for classification; the task is {task}",
            where="train.balanced_batches",
            fix="leave it out",
        )
    if recipe.train.balanced_batches and recipe.data.balance:
        raise RecipeError(
            "with data.balance every class has as many training rows already",
            where="train.balanced_batches",
            fix="leave out one of the two",
        )
    if recipe.train.balanced_batches and isinstance(weights, str):
        raise RecipeError(
            f"balanced batches with {weights} class weights correct twice: small classes would count most",
            where="objective.class_weights",
            fix="leave out one of the two, or give a number per class",
        )
    if recipe.data.balance and isinstance(weights, str):
        raise RecipeError(
            f"with data.balance every class has as many training rows, and {weights} class weights are all 1",
            where="objective.class_weights",
            fix="leave out one of the two, or give a number per class",
        )


def _check_shares(recipe: Recipe, methods: Sequence[MethodChoice]) -> None:
    if recipe.data.share is None and any(choice.options.get("embed_whole") for choice in methods):
        raise RecipeError(
            "embed_whole is for runs on a share of the training rows; without data.share all are embedded anyway",
            where="features.embed_whole",
            fix="leave it out, or give data.share",
        )


def _check_augmentation(
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
    if (augment.mixup or augment.cutmix) and objective.r_drop:
        raise RecipeError(
            f"{'mixup' if augment.mixup else 'cutmix'} trains on mixtures of two rows, R-Drop compares two passes of "
            "one",
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
