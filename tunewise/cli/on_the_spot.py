"""A comparison without a recipe file: of a folder of images, a model and methods named on the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunewise.config.override import override
from tunewise.config.validate import validate
from tunewise.config.yaml_file import Located
from tunewise.data.picture_folder import sources_in
from tunewise.data.source import holds_pictures
from tunewise.errors import RecipeError
from tunewise.recipe import Recipe, load_recipe


def recipe_of(
    path: Path,
    overrides: Sequence[str],
    model: str | None = None,
    methods: Sequence[str] = (),
    more: Sequence[str] = (),
) -> tuple[Recipe, Path]:
    """The recipe in a file, or one for a folder of images; and the folder that paths in it start from.

    Args:
        model, methods: in the place of those that the file names.
        more: methods that follow the first on the command line, which takes them for arguments.

    Raises:
        RecipeError: the file cannot be read, a key or value is wrong, or the folder holds no images.
    """
    if more and not methods:
        raise RecipeError(
            f"'{more[0]}' stands behind the recipe, and is no option",
            where="the command line",
            fix="write --methods before the names of methods",
        )
    methods = [*methods, *more]
    named: dict[str, Any] = {"methods": "all" if methods == ["all"] else methods} if methods else {}
    if not path.is_dir():
        given = [f"{key}={json.dumps(value)}" for key, value in named.items()]
        given += ["models=[]", f"model={json.dumps(model)}"] if model else []
        return load_recipe(path, [*given, *overrides]), path.resolve().parent
    if not holds_pictures(path):
        raise RecipeError(
            f"{path} is a folder without images",
            where=str(path),
            fix="name a recipe, or a folder with a folder of images for each class; `tunewise init DATA` writes a "
            "recipe for a file",
        )
    if model is None:
        raise RecipeError("no model is named", where="--model", fix="give --model FOLDER, or write a recipe")
    recipe = {"model": model, "data": sources_in(path, str(path.resolve())), **named}
    located = override(Located(recipe, "the command line"), overrides)
    return validate(Recipe, located.data, located, located.source), Path.cwd()


def out_of(path: Path, out: Path | None) -> Path:
    """The folder for the results: runs/NAME for a folder of images where none is named.

    Raises:
        RecipeError: a recipe needs one.
    """
    if out is None and not path.is_dir():
        raise RecipeError("no folder for the results is named", where="--out", fix="give --out runs/NAME")
    return out or Path("runs") / path.resolve().name
