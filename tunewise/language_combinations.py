"""Options of a recipe that do not go with language tasks, whose rows have no labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tunewise.errors import RecipeError
from tunewise.recipe import MethodChoice, Recipe
from tunewise.types import Schema

_NO_CLASSES = "rows of this task have no classes"
_HEAD_RATES = ("head_rate", "probe_rate")


def check_language(recipe: Recipe, methods: Sequence[MethodChoice], schema: Schema, language: bool) -> None:
    """Raises where an option is about labels, or about texts that are read only to give them.

    Args:
        language: the model gives the next token (a reward model does not).

    Raises:
        RecipeError: names the option, and what to do.
    """
    if recipe.evaluate.stride is not None and schema.task != "generation":
        raise RecipeError(
            f"windows of test rows are for texts to learn from; the task is {schema.task}",
            where="evaluate.stride",
            fix="leave it out",
        )
    if not schema.is_language:
        return
    for where, given, why, fix in _given(recipe):
        if given:
            raise RecipeError(f"{where} does not go with the task {schema.task}: {why}", where=where, fix=fix)
    for choice in methods if language else ():
        for name in choice.options.keys() & set(_HEAD_RATES):
            raise RecipeError(
                f"{name} is for output layers that begin with random values; a language model's is pretrained, and "
                "trains at the rate of the rest where it trains",
                where=f"{choice.name}.{name}",
                fix="leave it out",
            )


def _given(recipe: Recipe) -> Iterator[tuple[str, Any, str, str]]:
    """Option, what it has been set to (nothing where it has not), why it does not go, what to do."""
    objective, train, augment, data, evaluate = (
        recipe.objective,
        recipe.train,
        recipe.augment,
        recipe.data,
        recipe.evaluate,
    )
    leave_out = "leave it out"
    smoothing = "leave it out; dpo has a label_smoothing of its own: objective: {dpo: {label_smoothing: 0.1}}"
    yield "objective.label_smoothing", objective.label_smoothing, _NO_CLASSES, smoothing
    yield "objective.class_weights", objective.class_weights, _NO_CLASSES, leave_out
    yield "objective.focal_gamma", objective.focal_gamma, _NO_CLASSES, leave_out
    yield "objective.r_drop", objective.r_drop, "it compares what two passes say of a label", leave_out
    yield "train.balanced_batches", train.balanced_batches, _NO_CLASSES, leave_out
    yield (
        "train.cut",
        train.cut != "head",
        "a long prompt loses its beginning and a long answer its end, so that the two stay together",
        "leave it out, or set train.max_length higher",
    )
    for name in ("word_dropout", "word_swap", "synonyms", "mixup"):
        why = "it would change the text that is to be learnt" if name != "mixup" else "it mixes the labels of two rows"
        yield f"augment.{name}", getattr(augment, name), why, leave_out
    for name in ("balance", "per_class", "labels", "label_separator"):
        yield f"data.{name}", getattr(data, name), _NO_CLASSES, leave_out
    for name in ("threshold", "positive", "costs"):
        yield f"evaluate.{name}", getattr(evaluate, name), _NO_CLASSES, leave_out
