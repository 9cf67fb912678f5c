"""Everything that can be wrong with a recipe, found before weights load and before anything heavy is imported."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunewise.audit.audit import Audit, OnCheck, audit, before_training
from tunewise.combinations import check_combinations
from tunewise.data.prepare import Gathered, bundle, gather, prepare
from tunewise.data.source import may_hold_pictures
from tunewise.errors import MethodError, RecipeError
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.metrics import default_metric
from tunewise.evaluate.reward_functions import Judge, load_reward_function
from tunewise.methods import MethodConfig
from tunewise.methods.support import LANGUAGE, support_matrix
from tunewise.models.from_runs import handed_over, named_path, to_merge
from tunewise.models.language import check_gives_next_token
from tunewise.models.locate import locate
from tunewise.models.located import LocatedModel
from tunewise.models.pipeline_folder import check_draws, draws
from tunewise.objectives import Objective, make_objective
from tunewise.recipe import MethodChoice, Recipe
from tunewise.types import DataBundle

OR_AN_ADAPTER = "take a method that hands over an adapter, such as lora"


@dataclass(frozen=True)
class LeftOut:
    """A method that the recipe did not name itself, and why it does not run with a model."""

    method: str
    model: str
    reason: str


@dataclass(frozen=True)
class Found:
    """Data and models as they were read, what was found in the data, and how long that took: what the processes of a
    comparison are sent, so that they need not do it again."""

    data: DataBundle
    models: Mapping[str, LocatedModel]
    audit: Audit
    data_seconds: float = 0.0
    model_seconds: Mapping[str, float] = field(default_factory=dict)

    def only(self, model: str) -> Found:
        """What a run with this model needs."""
        return replace(self, models={model: self.models[model]}, model_seconds={model: self.model_seconds[model]})

    @property
    def seconds(self) -> float:
        return self.data_seconds + sum(self.model_seconds.values())


@dataclass(frozen=True)
class Checked:
    """What a recipe names, found and sound. `metric` is what to choose by; `reward_functions` are the user's, by
    their references."""

    found: Found
    evaluator: Evaluator
    objective: Objective
    metric: str
    reward_functions: Mapping[str, Judge] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()

    @property
    def data(self) -> DataBundle:
        return self.found.data

    @property
    def models(self) -> Mapping[str, LocatedModel]:
        return self.found.models

    def runs(self, method: str, model: str) -> bool:
        """Whether a method (by its label) runs with a model."""
        return not any((entry.method, entry.model) == (method, model) for entry in self.left_out)

    def handed_over_bytes(self, model: str, choice: MethodChoice) -> int:
        """What the model of a run will take where it is a whole one; 0 where only what trained is handed over."""
        method = choice.build()
        whole = method.handover == "transformers" or method.merged or self.objective.answers == "images"
        return self.models[model].weights_bytes if whole else 0


def check(
    recipe: Recipe, folder: Path, methods: list[MethodChoice], allow_code: bool = False, found: Found | None = None
) -> Checked:
    """Reads the data, finds the models, and checks methods and metric against them.

    A method that cannot work is an error where the recipe names its methods, and is left out where it does not.

    Args:
        folder: what relative paths start from: the recipe's folder.
        found: what was read for this recipe before.

    Raises:
        RecipeError, DataError, ModelError, MethodError: with what, where and what to do.
    """
    found = found or find(recipe, folder)
    data, models = found.data, found.models
    evaluator = Evaluator(data.schema, recipe.evaluate.writing(recipe.objective.max_new_tokens), folder, allow_code)
    metric = recipe.metric or default_metric(data.schema.task)
    evaluator.check_choice(metric)
    objective = make_objective(recipe.objective, data)
    language = objective.answers == "language"
    for located in models.values():
        if language:
            check_gives_next_token(located)
        check_draws(located, data.schema)
    left_out = []
    for choice in methods:
        for name, located in models.items():
            try:
                _check_method(choice, data, located, language)
            except MethodError as problem:
                if recipe.names_methods:
                    raise
                left_out.append(LeftOut(choice.label, name, problem.what))
    check_combinations(recipe, methods, data.schema, folder, language)
    rewards = _check_rewards(recipe, folder, allow_code)
    return Checked(found, evaluator, objective, metric, rewards, tuple(left_out))


def _check_rewards(recipe: Recipe, folder: Path, allow_code: bool) -> dict[str, Judge]:
    """The user's reward functions; that reward models are there.

    Raises:
        RecipeError, ModelError
    """
    functions = {}
    for source in recipe.objective.rewards:
        where = f"reward: {source.name}"
        if source.function is not None:
            functions[source.function] = load_reward_function(source.function, folder, allow_code, where)
            continue
        path = folder / Path(source.model).expanduser()
        if not path.exists() and "/" not in source.model:
            raise RecipeError(
                f"there is no reward model '{source.model}'",
                where=where,
                fix="name a run folder, a model folder, or a function as file.py:function",
            )
        if handed_over(path) is None:
            locate(source.model, folder)
    return functions


def find(recipe: Recipe, folder: Path, gathered: Gathered | None = None) -> Found:
    """Finds the models, reads the data, and looks at it briefly.

    Args:
        gathered: the data, where it was read before.

    Raises:
        DataError, ModelError
    """
    models, seconds, images = {}, {}, may_hold_pictures(recipe.data, folder)
    for name in recipe.all_models:
        start = time.perf_counter()
        models[name] = _located(name, folder, reads_text=not images)
        seconds[name] = time.perf_counter() - start
    start = time.perf_counter()
    gathered = gathered or gather(recipe.data, folder)
    if images and not gathered.schema.image:  # they might have been images, and are texts
        models = {name: _located(name, folder) for name in recipe.all_models}
    data, audited = _looked_at(recipe, gathered, models)
    return Found(data, models, audited, time.perf_counter() - start, seconds)


def with_data(found: Found, recipe: Recipe, gathered: Gathered) -> Found:
    """The same models with other data, looked at in the same way."""
    data, audited = _looked_at(recipe, gathered, found.models)
    return replace(found, data=data, audit=audited)


def _looked_at(recipe: Recipe, gathered: Gathered, models: Mapping[str, LocatedModel]) -> tuple[DataBundle, Audit]:
    """The data, and what was found in it briefly."""
    data = bundle(recipe.data, gathered)
    return data, before_training(data, models[recipe.all_models[0]], recipe.check, **_as_read(recipe))


def check_data(
    recipe: Recipe, folder: Path, on_check: OnCheck = lambda kind, share: None, data: DataBundle | None = None
) -> Audit:
    """Everything that the recipe does not leave out is looked for in its data, as its first model reads it.

    Args:
        data: what the recipe reads, where that was done before.

    Raises:
        DataError, ModelError: the data cannot be used at all, or there is no such model.
    """
    recipe = recipe.as_stage(folder)
    images = may_hold_pictures(recipe.data, folder)
    located = _located(recipe.all_models[0], folder, reads_text=not images)
    data = data or prepare(recipe.data, folder)
    if images and not data.schema.image:  # as in `find`
        located = _located(recipe.all_models[0], folder)
    return audit(data, located, recipe.check, on_check=on_check, whole=True, **_as_read(recipe))


def _located(name: str, folder: Path, reads_text: bool = True) -> LocatedModel:
    """The model of a recipe. An adapter of an earlier run is merged with its base first, once."""
    if place := to_merge(named_path(name, folder).resolve()):
        from tunewise.engine.merging import merge_model

        merge_model(place)
    return locate(name, folder, reads_text=reads_text)


def _as_read(recipe: Recipe) -> dict[str, Any]:
    return {
        "max_length": recipe.train.max_length,
        "kept": recipe.train.kept,
        "sensitive": tuple(recipe.data.sensitive),
    }


def _check_method(choice: MethodChoice, data: DataBundle, located: LocatedModel, language: bool) -> None:
    method = choice.build()
    if data.schema.task not in method.tasks:
        raise MethodError(
            f"the method '{method.name}' is for {' and '.join(method.tasks)}; the task is {data.schema.task}",
            fix="take another method: `tunewise methods` lists them",
        )
    if (reads := "text" if data.schema.text else "image") not in method.modalities:
        raise MethodError(
            f"the method '{method.name}' is for {' and '.join(method.modalities)}s; the data is {reads}s",
            instead=method.instead,
        )
    if draws(located.config) and not method.leaves_whole:
        raise MethodError(
            f"the method '{method.name}' inserts what cannot be merged, and the model handed over is a plain pipeline "
            "of diffusers",
            instead="lora" if method.packages else "last_k",
        )
    for package in method.packages:
        if importlib.util.find_spec(package) is None:
            raise MethodError(
                f"the method '{method.name}' needs the package {package}, which is not installed",
                fix=f"pip install {package}",
            )
    known = support_matrix().get(choice.name, located.family + (LANGUAGE if language else ""))
    # Other options may suit the model; of these its own plan says so, once the model is loaded.
    usual = choice.options.keys() <= MethodConfig.model_fields.keys()
    if usual and known is not None and known.status == "refused":
        raise MethodError(
            f"the method '{method.name}' does not work with a '{located.family}' model: {known.reason}",
            where=located.name,
            instead=known.instead,
        )


def only_choice(recipe: Recipe) -> Recipe:
    """The recipe of a single run, where it names one model and one method.

    Raises:
        RecipeError: it names several, or folds without saying which.
    """
    if recipe.data.folds is not None and recipe.data.fold is None:
        raise RecipeError(
            f"train makes one model; the recipe asks for {recipe.data.folds} folds",
            where="data.folds",
            fix="run `tunewise compare`, train without folds (--set data.folds=null), or name one (--set data.fold=1)",
        )
    for what, names in (("model", recipe.all_models), ("method", [choice.label for choice in recipe.all_methods])):
        if len(names) != 1:
            raise RecipeError(
                f"train takes one {what}; the recipe names {len(names)}: {', '.join(names)}",
                where=f"{what}s",
                fix=f"choose one by --{what}, or run `tunewise compare`",
            )
    return recipe.for_run(recipe.all_models[0], recipe.all_methods[0], recipe.seed)
