"""Options of a recipe that do not go with images, or with nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from tunewise.data.augment_settings import PICTURES
from tunewise.errors import RecipeError
from tunewise.recipe import MethodChoice, Recipe
from tunewise.types import IMAGE_GENERATION, Schema

HEAD_RATES = ("head_rate", "probe_rate")
_TEXTS = "it is for texts; rows are images"


def check_images(recipe: Recipe) -> None:
    """Raises where an option is about texts, and would do nothing.

    Raises:
        RecipeError: names the option, and what to do.
    """
    train, augment, evaluate = recipe.train, recipe.augment, recipe.evaluate
    given = {
        "train.max_length": train.max_length is not None,
        "train.batch_tokens": train.batch_tokens is not None,
        "train.cut": train.cut != "head",
        "train.packing": train.packing,
        "augment.word_dropout": augment.word_dropout,
        "augment.word_swap": augment.word_swap,
        "augment.synonyms": augment.synonyms,
        "evaluate.stride": evaluate.stride is not None,
        "evaluate.forgetting": evaluate.forgetting is not None,
        "check.language": recipe.check.language is not None,
        "check.names": recipe.check.names is not None,
    }
    fixes = {"train.batch_tokens": "give train.batch_size: images all have one size"}
    for where, is_given in given.items():
        if is_given:
            raise RecipeError(
                f"{where} does not go with images: {_TEXTS}", where=where, fix=fixes.get(where, "leave it out")
            )


def check_drawing(recipe: Recipe, methods: Sequence[MethodChoice], schema: Schema) -> None:
    """Raises where images are to be drawn, and an option would do nothing, or have the model draw something else.

    Raises:
        RecipeError: names the option, and what to do.
    """
    if schema.task != IMAGE_GENERATION:
        if recipe.evaluate.changed("drawing"):
            raise RecipeError(
                f"evaluate.drawing is for models that draw images; the task is {schema.task}",
                where="evaluate.drawing",
                fix="leave it out",
            )
        return
    train, augment, evaluate = recipe.train, recipe.augment, recipe.evaluate
    changed = "the model would learn to draw what it makes of images"
    no_classes = "nothing is decided of an image that is drawn"
    given = {
        **{f"augment.{name}": (getattr(augment, name), changed) for name in ("crop", "colour", "rand_augment")},
        **{f"augment.{name}": (getattr(augment, name), "it mixes images") for name in ("mixup", "cutmix")},
        **{f"evaluate.{name}": (getattr(evaluate, name), no_classes) for name in ("threshold", "positive", "costs")},
        "train.gradient_checkpointing": (train.gradient_checkpointing, "it is for blocks of transformers"),
        "train.batch_norm": (train.batch_norm != "frozen", "these networks have no batch norm"),
    }
    for choice in methods:
        for name in choice.options.keys() & set(HEAD_RATES):
            given[f"{choice.name}.{name}"] = True, "the output layers are pretrained, and train at the rate of the rest"
    for where, (is_given, why) in given.items():
        if is_given:
            raise RecipeError(f"{where} does not go with image generation: {why}", where=where, fix="leave it out")


def check_only_images(recipe: Recipe) -> None:
    """Raises where rows are texts, and an option is about images.

    Raises:
        RecipeError: names the option, and what to do.
    """
    for name in (*PICTURES, "cutmix"):
        if getattr(recipe.augment, name):
            raise RecipeError(
                f"augment.{name} does not go with texts: it is for images",
                where=f"augment.{name}",
                fix="leave it out; word_dropout, word_swap and synonyms change texts",
            )


def check_looked_at(recipe: Recipe, schema: Schema) -> None:
    """Raises where a model is to show what it looked at, and no output of it is a class of images.

    Raises:
        RecipeError: names the option, and what to do.
    """
    if recipe.evaluate.looked_at and not (schema.image and schema.task in ("classification", "multilabel")):
        rows = "images" if schema.image else "texts"
        raise RecipeError(
            f"what a model looked at is shown of classes and labels of images; the task is {schema.task} of {rows}",
            where="evaluate.looked_at",
            fix="leave it out",
        )
