"""What the fork server of a comparison imports, so that no run has to: told without importing any of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tunewise.check import Checked
from tunewise.methods import find_method
from tunewise.models.located import LocatedModel
from tunewise.recipe import Recipe

CORE = (
    "torch",
    "transformers",
    "sklearn.linear_model",
    "pyarrow.parquet",
    "tensorboard.summary.writer.record_writer",
    "tunewise.run",
)


def packages_of(method: str, located: LocatedModel) -> tuple[str, ...]:
    """Modules that a run of this method with this model imports, in order."""
    return (*CORE, *find_method(method).packages, *model_code(located.family))


def all_packages(recipe: Recipe, checked: Checked) -> tuple[str, ...]:
    """Modules that any run of a comparison imports."""
    found = [
        packages_of(choice.name, located)
        for choice in recipe.all_methods
        for name, located in checked.models.items()
        if checked.runs(choice.label, name)
    ]
    return tuple(dict.fromkeys((*CORE, *(package for packages in found for package in packages))))


def model_code(family: str) -> tuple[str, ...]:
    """The modules of transformers with the code of a family, none where it is not found under the family's name. A run
    that had to import them itself took 1.5 s more: the package of a family alone imports nothing until it is asked."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        return ()
    models = Path(spec.submodule_search_locations[0]) / "models"
    files = sorted(models.glob(f"*/modeling_{family.replace('-', '_')}.py"))
    return tuple(f"transformers.models.{file.parent.name}.{file.stem}" for file in files)
