"""Proves that resuming is exact: each run once uninterrupted, once killed and resumed again and again, compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np

from tunewise.check import check
from tunewise.commit.files import discard, explained, make_folder
from tunewise.comparison.imports import all_packages
from tunewise.comparison.schedule import Pool
from tunewise.engine.stop import Stop
from tunewise.errors import StoreError
from tunewise.recipe import Recipe
from tunewise.verification.proving import Prover
from tunewise.verification.results import Proofs, Watcher

KILLS = 5


def verify_resume(
    recipe: Recipe,
    *,
    folder: Path,
    watcher: Watcher,
    out: Path | None = None,
    kills: int = KILLS,
    seed: int = 0,
    allow_code: bool = False,
) -> Proofs:
    """Trains with each method and model of the recipe, with its first seed: once uninterrupted, and once killed at
    `kills` moments and resumed after each.

    Args:
        folder: what relative paths in the recipe start from.
        out: where the runs go, an empty folder or none yet; beside the recipe where left out. It is removed at the end
            unless something differs.
        seed: decides the moments.

    Raises:
        Interrupted: the user stopped it; nothing is left.
        TunewiseError: the recipe, the data or a model is wrong, or an uninterrupted run failed.
    """
    recipe = recipe.anchored(folder)
    checked = check(recipe, folder, recipe.all_methods, allow_code)
    runs = [
        (model, choice)
        for model in recipe.all_models
        for choice in recipe.all_methods
        if checked.runs(choice.label, model)
    ]
    place = _empty(out or folder / f"verify-resume-{uuid4().hex[:8]}")
    try:
        with Stop(fix="run the same command again") as stop:
            pool, generator = Pool(all_packages(recipe, checked)), np.random.default_rng(seed)
            prover = Prover(recipe, checked, folder, place, allow_code, stop, watcher, generator, pool)
            watcher.on_plan([prover.name(model, choice) for model, choice in runs], kills)
            proofs = Proofs(tuple(prover.prove(model, choice, kills) for model, choice in runs))
    except BaseException:
        discard(place)
        raise
    if not proofs.equal:
        return replace(proofs, folder=place)
    discard(place)
    return proofs


def _empty(place: Path) -> Path:
    with explained("make", place):
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise StoreError(
                "the folder for the runs of a proof must be empty: it is removed at the end",
                where=str(place),
                fix="give another --out",
            )
        make_folder(place)
    return place
