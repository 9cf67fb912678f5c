"""Everything that can be wrong with a recipe, found before weights load and before anything heavy is imported."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from tunewise.data.prepare import prepare
from tunewise.errors import MethodError, RecipeError
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.metrics import default_metric
from tunewise.models.locate import LocatedModel, locate
from tunewise.objectives import Objective, make_objective
from tunewise.recipe import MethodChoice, Recipe
from tunewise.types import DataBundle


@dataclass(frozen=True)
class Checked:
    """What a recipe names, found and sound. `metric` is what to choose by."""

    data: DataBundle
    models: dict[str, LocatedModel]
    evaluator: Evaluator
    objective: Objective
    metric: str


def check(recipe: Recipe, folder: Path, methods: list[MethodChoice], allow_code: bool = False) -> Checked:
    """Reads the data, finds the models, and checks methods and metric against them.

    Args:
        folder: what relative paths start from: the recipe's folder.

    Raises:
        RecipeError, DataError, ModelError, MethodError: with what, where and what to do.
    """
    models = {name: locate(name, folder) for name in recipe.all_models}
    data = prepare(recipe.data, folder)
    evaluator = Evaluator(data.schema, recipe.evaluate, folder, allow_code)
    metric = recipe.metric or default_metric(data.schema.task)
    evaluator.check_metric(metric)
    for choice in methods:
        _check_method(choice, data)
    if recipe.objective.label_smoothing and data.schema.task != "classification":
        raise RecipeError(
            f"label smoothing is for classification; the task is {data.schema.task}",
            where="objective.label_smoothing",
            fix="leave it out",
        )
    if recipe.objective.class_weights and data.schema.task == "regression":
        raise RecipeError(
            "class weights are for classes; the task is regression", where="objective.class_weights", fix="leave it out"
        )
    return Checked(data, models, evaluator, make_objective(recipe.objective, data), metric)


def _check_method(choice: MethodChoice, data: DataBundle) -> None:
    method = choice.build()
    if data.schema.task not in method.tasks:
        raise MethodError(
            f"the method '{method.name}' is for {' and '.join(method.tasks)}; the task is {data.schema.task}",
            fix="take another method: `tunewise methods` lists them",
        )
    for package in method.packages:
        if importlib.util.find_spec(package) is None:
            raise MethodError(
                f"the method '{method.name}' needs the package {package}, which is not installed",
                fix=f"pip install {package}",
            )


def only_choice(recipe: Recipe) -> Recipe:
    """The recipe of a single run, where it names one model and one method.

    Raises:
        RecipeError: it names several.
    """
    for what, names in (("model", recipe.all_models), ("method", [choice.label for choice in recipe.all_methods])):
        if len(names) != 1:
            raise RecipeError(
                f"train takes one {what}; the recipe names {len(names)}: {', '.join(names)}",
                where=f"{what}s",
                fix=f"choose one by --{what}, or run `tunewise compare`",
            )
    return recipe.for_run(recipe.all_models[0], recipe.all_methods[0], recipe.seed)
