"""The recipe: everything that decides a run. Composes the Config of each room; explains nothing itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from tunewise.audit.settings import CheckConfig
from tunewise.config.base import Config
from tunewise.config.override import override
from tunewise.config.problems import InvalidOptions
from tunewise.config.validate import validate
from tunewise.config.yaml_file import read_yaml
from tunewise.config.yaml_text import write_yaml
from tunewise.data.augment_settings import AugmentConfig
from tunewise.data.settings import DataConfig
from tunewise.engine.settings import TrainConfig
from tunewise.engine.soup_settings import SoupConfig
from tunewise.errors import RecipeError
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.methods import DEFAULT, METHODS, Method, find_method
from tunewise.models.from_runs import named_path, written_as
from tunewise.objectives.settings import ObjectiveConfig


class MethodChoice(Config):
    """A method with its options. Written as `lora`, or as `lora: {rank: 16}`."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and len(value) == 1 and "name" not in value:
            ((name, options),) = value.items()
            return {"name": name, "options": {} if options is None else options}
        if isinstance(value, MethodChoice) or (isinstance(value, dict) and value.keys() <= {"name", "options"}):
            return value
        raise ValueError("expected the name of a method, or one name with its options, as in `lora: {rank: 16}`")

    @model_validator(mode="after")
    def _known(self) -> MethodChoice:
        try:
            options = find_method(self.name).Config
        except RecipeError as error:
            raise ValueError(error) from error
        try:
            options.model_validate(self.options)
        except ValidationError as error:
            raise InvalidOptions(options, error) from error
        return self

    def build(self, learning_rate: float | None = None, default_scale: float = 1.0) -> Method:
        """The method; `learning_rate` is used where its own options give none. Where neither gives one, its default is
        multiplied by `default_scale`."""
        kind = find_method(self.name)
        options = dict(self.options)
        if "learning_rate" in kind.Config.model_fields:
            options.setdefault("learning_rate", learning_rate)
        method = kind(kind.Config.model_validate(options))
        method.default_scale = default_scale
        return method

    @property
    def label(self) -> str:
        """`lora`, or `lora(rank=16)`."""
        if not self.options:
            return self.name
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.options.items())})"

    def short_form(self) -> str | dict[str, Any]:
        return {self.name: self.options} if self.options else self.name


class Recipe(Config):
    model: str | None = None
    """Pretrained model: a folder, or the id of a model on the hub."""

    models: list[str] = Field(default_factory=list)
    """Several pretrained models, to compare them too."""

    data: DataConfig

    check: CheckConfig = CheckConfig()

    method: MethodChoice | None = None
    """The method of `train`."""

    methods: list[MethodChoice] | Literal["all"] = Field(default_factory=list)
    """The methods of `compare`, each by name or with options; `all`: every method that works with the model and the
    task. Where left out: features, head, last_k, full, layerwise, gradual, lora, adapter and scratch."""

    objective: ObjectiveConfig = ObjectiveConfig()

    augment: AugmentConfig = AugmentConfig()

    train: TrainConfig = TrainConfig()

    evaluate: EvaluateConfig = EvaluateConfig()

    metric: str | None = None
    """What to choose by. Where left out: f1_macro for classes, r2 for numbers, entity_f1 for entities."""

    seed: int = Field(default=0, ge=0)
    """Decides the output layer's first values, order of rows and dropout."""

    seeds: int | list[int] = Field(default=3)
    """`compare` runs each method with so many seeds (or these): one seed cannot tell luck from merit."""

    rate_grid: list[Annotated[float, Field(gt=0)]] = Field(default_factory=list)
    """`compare` tries these factors on each method's learning rate with the first seed, and takes the best on
    validation for all seeds: [0.3, 1, 3] leaves no method looking poor for want of the right rate. Trials of one LoRA
    method train in one pass over the base where that is faster here, and other seeds tell what the method costs alone.
    Where left out: each method's own rate."""

    soups: SoupConfig = SoupConfig()

    @field_validator("rate_grid")
    @classmethod
    def _each_once(cls, value: list[float]) -> list[float]:
        if len(set(value)) < len(value):
            raise ValueError("each factor may stand in the list only once")
        return value

    @field_validator("seeds")
    @classmethod
    def _some_seeds(cls, value: int | list[int]) -> int | list[int]:
        if (isinstance(value, int) and value < 1) or value == []:
            raise ValueError("at least one seed is needed")
        if isinstance(value, list) and len(set(value)) < len(value):
            raise ValueError("each seed may stand in the list only once")
        return value

    @model_validator(mode="after")
    def _one_way_to_name_models(self) -> Recipe:
        if bool(self.model) == bool(self.models):
            raise ValueError("give either model (one) or models (a list)")
        return self

    @property
    def all_models(self) -> list[str]:
        return self.models or [self.model]

    @property
    def all_seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def all_methods(self) -> list[MethodChoice]:
        if self.names_methods:
            return self.methods or [self.method]
        return [MethodChoice(name=name) for name in (METHODS if self.methods == "all" else DEFAULT)]

    @property
    def names_methods(self) -> bool:
        """Whether it says itself which methods to run; else those that cannot are left out."""
        return self.methods != "all" and bool(self.methods or self.method)

    def for_run(self, model: str, method: MethodChoice, seed: int, fold: int | None = None) -> Recipe:
        """The recipe of one run: one model, one method, one seed, and where there are folds one of them."""
        fold = fold or self.data.fold or (1 if self.data.folds else None)
        return self.model_copy(
            update={
                "data": self.data.model_copy(update={"fold": fold}),
                "model": model,
                "models": [],
                "method": method,
                "methods": [],
                "seed": seed,
                "seeds": 1,
                "rate_grid": [],
                "soups": SoupConfig(),
            }
        )

    def as_stage(self, folder: Path) -> Recipe:
        """The same; where `model` is the run of a language model, with what `data.chat` and `data.between` leave open
        as that run had it: the model goes on from prompts that it knows."""
        ways = {written_as(named_path(name, folder)) for name in self.all_models}
        form, between = (ways.pop() if len(ways) == 1 else None) or (None, "")
        update: dict[str, Any] = {}
        if form == "chat" and self.data.chat is None:
            update["chat"] = True
        if form == "completion" and self.data.between is None:
            update["between"] = between
        return self.model_copy(update={"data": self.data.model_copy(update=update)}) if update else self

    def anchored(self, folder: Path) -> Recipe:
        """The same with absolute paths, so that it means the same from any folder. Names of the hub stay."""

        def anchor(name: str) -> str:
            path = folder / Path(name).expanduser()
            return str(path.resolve()) if path.exists() else name

        tests = self.data.test
        data = {
            "train": anchor(self.data.train),
            "validation": self.data.validation and anchor(self.data.validation),
            "test": _each(anchor, tests),
            "clean": self.data.clean.anchored(anchor),
            "image_folder": self.data.image_folder and anchor(self.data.image_folder),
        }
        update = {"data": self.data.model_copy(update=data), "models": [anchor(name) for name in self.models]}
        if self.objective.rewards:
            update["objective"] = self.objective.anchored(anchor)
        if self.augment.synonym_model:
            name = anchor(self.augment.synonym_model)
            update["augment"] = self.augment.model_copy(update={"synonym_model": name})
        if self.evaluate.forgetting:
            name = anchor(self.evaluate.forgetting)
            update["evaluate"] = self.evaluate.model_copy(update={"forgetting": name})
        if self.evaluate.drawing and self.evaluate.drawing.extractor:
            drawing = self.evaluate.drawing.model_copy(update={"extractor": anchor(self.evaluate.drawing.extractor)})
            update["evaluate"] = update.get("evaluate", self.evaluate).model_copy(update={"drawing": drawing})
        return self.model_copy(update={**update, "model": self.model and anchor(self.model)}).as_stage(folder)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, methods in short form, only what differs from the defaults; loads back to the same recipe."""
        plain = self.model_dump(mode="json", exclude_defaults=True)
        if self.method:
            plain["method"] = self.method.short_form()
        if self.methods and self.methods != "all":
            plain["methods"] = [method.short_form() for method in self.methods]
        return plain

    @property
    def fingerprint(self) -> str:
        """sha256 of every option, defaults included."""
        whole = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()


def _each(anchor: Callable[[str], str], tests: str | dict[str, str] | None) -> str | dict[str, str] | None:
    if isinstance(tests, dict):
        return {name: anchor(source) for name, source in tests.items()}
    return tests and anchor(tests)


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, each override (`train.epochs=5`) in the place of what the file says.

    Paths in it stay as they are written: they are relative to the recipe's folder.

    Raises:
        RecipeError: the file cannot be read, or a key or value in it is wrong.
    """
    located = override(read_yaml(path), overrides)
    return validate(Recipe, located.data, located, located.source)


def recipe_from(mapping: Mapping[str, Any]) -> Recipe:
    """The recipe in a mapping as a YAML file would hold it.

    Raises:
        RecipeError: a key or value is wrong.
    """
    return validate(Recipe, dict(mapping) if isinstance(mapping, Mapping) else mapping)


def write_recipe(recipe: Recipe) -> str:
    """YAML text that loads back to an equal recipe."""
    return write_yaml(recipe.as_dict())
