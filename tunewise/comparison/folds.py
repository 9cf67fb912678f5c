"""The data of a comparison by cross-validation: rows are read once, and each fold is cut from them."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np

from tunewise.check import Found, find, with_data
from tunewise.data.prepare import collect, cut
from tunewise.errors import RecipeError
from tunewise.recipe import Recipe
from tunewise.types import DataBundle


class Folds:
    """What the runs of each fold read; folds count from 1.

    Raises:
        DataError, ModelError: data or models cannot be used, or not with so many folds.
    """

    def __init__(self, recipe: Recipe, folder: Path):
        self.recipe, self.count = recipe, recipe.data.folds
        self._collected = collect(recipe.data, folder)
        self._found: dict[int, Found] = {}
        self._found[1] = find(self._of(1), folder, cut(self._of(1).data, self._collected))

    def found(self, fold: int) -> Found:
        """Data and models of the runs of a fold."""
        if fold not in self._found:
            single = self._of(fold)
            self._found[fold] = with_data(self._found[1], single, cut(single.data, self._collected))
        return self._found[fold]

    @cached_property
    def bundles(self) -> list[DataBundle]:
        """The data of every fold."""
        return [self.found(fold).data for fold in range(1, self.count + 1)]

    @property
    def main(self) -> str:
        """The name of the test set."""
        return next(iter(self.bundles[0].tests))

    @cached_property
    def fold_of_row(self) -> np.ndarray:
        """The fold that tests each row, int64 (n,), in the order of row numbers."""
        folds = np.repeat(np.arange(1, self.count + 1), [len(data.tests[self.main]) for data in self.bundles])
        return folds[self._order]

    @cached_property
    def texts(self) -> list[tuple[str, ...]]:
        """The texts of all rows, in the order of row numbers."""
        texts = [text for data in self.bundles for text in data.tests[self.main].texts]
        return [texts[place] for place in self._order.tolist()]

    @property
    def fingerprint(self) -> str:
        """sha256 over the fingerprints of all folds."""
        return hashlib.sha256("".join(data.fingerprint for data in self.bundles).encode()).hexdigest()

    def as_dict(self) -> dict[str, object]:
        """Plain data: how many folds, all rows that are tested, and the rows of each split of each fold."""
        sizes = [{name: len(split) for name, split in data.splits.items()} for data in self.bundles]
        return {"count": self.count, "rows": len(self.texts), "sizes": sizes}

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(np.concatenate([data.tests[self.main].rows for data in self.bundles]), kind="stable")

    def _of(self, fold: int) -> Recipe:
        return self.recipe.model_copy(update={"data": self.recipe.data.model_copy(update={"fold": fold})})


def read_folds(recipe: Recipe, folder: Path) -> Folds | None:
    """The folds that the recipe asks for, each of them cut: what is wrong with one is told before anything runs.

    Raises:
        RecipeError: it names one of them.
        DataError, ModelError
    """
    refuse_single_fold(recipe)
    if recipe.data.folds is None:
        return None
    folds = Folds(recipe, folder)
    _ = folds.bundles
    return folds


def refuse_single_fold(recipe: Recipe) -> None:
    """Raises where a recipe names one fold, as all of them run."""
    if recipe.data.fold is not None:
        raise RecipeError(
            "a comparison runs every fold; data.fold names one",
            where="data.fold",
            fix="leave it out, or run `tunewise train` for one fold",
        )
