"""Cheap methods on growing shares of the training rows, and the recipe's own methods on all of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunewise.check import Found, check, find
from tunewise.commit import lock, sealed, sealed_page, write_file
from tunewise.commit.room import check_writable
from tunewise.comparison.compare import GO_ON, Watcher, Work, claim
from tunewise.comparison.curve_plan import CurvePlan
from tunewise.comparison.curve_results import build_curve
from tunewise.comparison.entry import Entry
from tunewise.comparison.kept import verify_kept
from tunewise.data.prepare import Gathered, bundle, gather
from tunewise.data.share import least_rows, rows_of_share
from tunewise.engine.stop import Stop
from tunewise.errors import MethodError, RecipeError, TunewiseWarning
from tunewise.methods import find_method
from tunewise.recipe import MethodChoice, Recipe
from tunewise.report.curve_page import render_curve
from tunewise.tracking.run_folder import CURVE, CURVE_PAGE

SHARES = tuple(number / 10 for number in range(1, 11))
CHEAP = ("features", "head")
"""What draws the curve where no method is asked for: the first that suits the data."""


@dataclass
class Curve:
    """Where the results are, and what they are: `content` is that of curve.json."""

    out: Path
    content: dict[str, Any]

    @property
    def report(self) -> Path:
        return self.out / CURVE_PAGE


def curve(
    recipe: Recipe,
    out: Path,
    *,
    folder: Path,
    watcher: Watcher,
    shares: Sequence[float] = SHARES,
    methods: Sequence[str] = (),
    allow_code: bool = False,
    side_by_side: int | None = None,
) -> Curve:
    """Trains on shares of the training rows, and writes curve.json and curve.html. Each seed draws rows of its own; the
    rows of a share are among those of every larger one, and validation and test rows stay the same.

    What has finished is kept, as `compare` does it; in the folder of a comparison of the same recipe, its runs on all
    rows count too.

    Args:
        shares: of the training rows; all of them are always added. Those with fewer rows than classes are left out,
            with a warning.
        methods: what draws a curve; where left out, `features`, or `head` where that does not suit the data.

    Raises:
        Interrupted: the user stopped it; what is finished is kept, and reported.
        TunewiseError: the recipe, the shares, the data or a model is wrong; nothing has run.
    """
    recipe = recipe.anchored(folder)
    shares = _sound(shares)
    _check_recipe(recipe)
    check_writable(out)
    gathered = gather(recipe.data, folder)
    found = find(recipe, folder, gathered)
    own = recipe.all_methods if recipe.methods or recipe.method else []
    checked = check(recipe, folder, own, allow_code, found)
    drawing = _drawing(recipe, methods, folder, allow_code, found)
    plan = CurvePlan(recipe, checked, gathered, drawing, _large_enough(shares, recipe, gathered), out)
    with lock(out), Stop(fix=GO_ON) as stop:
        claim(recipe, out)
        verify_kept(out / "runs", stop.check)
        whole = recipe.model_copy(update={"method": None, "methods": _each_once(own, drawing)})
        work_on = _ShareWork(whole, checked, out, folder, allow_code, watcher, stop, side_by_side, plan=plan)
        work_on.announce(plan.entries)
        work_on.carry_out(plan.entries)
        content = build_curve(plan, work_on.records)
        write_curve(out, content)
        work_on.check_finished(content)
    return Curve(out, content)


def write_curve(out: Path, content: dict[str, Any]) -> None:
    """Writes curve.json, then the page that is made of it."""
    write_file(out / CURVE, sealed(content))
    write_file(out / CURVE_PAGE, sealed_page(render_curve(content)))


@dataclass
class _ShareWork(Work):
    """Runs on shares of the rows."""

    plan: CurvePlan = field(kw_only=True)

    def recipe_of(self, model: str, choice: MethodChoice, entry: Entry) -> Recipe:
        return self.plan.recipe_of(choice, entry)

    def found_of(self, entry: Entry) -> Found:
        return self.plan.found_of(entry)


def _sound(shares: Sequence[float]) -> list[float]:
    """The shares in order, with the whole."""
    wrong = [share for share in shares if not 0 < share <= 1]
    if wrong or len(set(shares)) < len(shares):
        raise RecipeError(
            f"{wrong[0]:g} is no share of the rows" if wrong else "a share stands there twice",
            where="--shares",
            fix="give numbers above 0, at most 1, each once, such as 0.1,0.2,0.5",
        )
    return sorted({*shares, 1.0})


def _check_recipe(recipe: Recipe) -> None:
    """Refuses what a curve has no use for."""
    if len(recipe.all_models) > 1:
        raise RecipeError(
            f"a curve is of one model; the recipe names {len(recipe.all_models)}",
            where="models",
            fix="name one: --set models=[] --set model=NAME",
        )
    if recipe.data.share is not None:
        raise RecipeError("a curve draws the shares itself", where="data.share", fix="leave it out")
    if recipe.data.folds is not None or recipe.data.fold is not None:
        raise RecipeError(
            "a curve is drawn on one test set, which every share is scored on",
            where="data.folds",
            fix="leave it out (--set data.folds=null)",
        )
    if recipe.rate_grid:
        raise RecipeError(
            "a curve is drawn with each method's own learning rate",
            where="rate_grid",
            fix="leave it out (--set rate_grid=[]), or give methods the rate_scale that `tunewise compare` found",
        )


def _drawing(recipe: Recipe, names: Sequence[str], folder: Path, allow_code: bool, found: Found) -> list[MethodChoice]:
    """The methods that draw a curve: one that the recipe names keeps its options."""
    if len(set(names)) < len(names):
        raise RecipeError("a method stands there twice", where="--method", fix="name each once")
    for name in names:
        find_method(name)
    wanted = [[_choice(recipe, name)] for name in names] or [[_choice(recipe, name) for name in CHEAP]]
    return [_first_that_suits(recipe, candidates, folder, allow_code, found) for candidates in wanted]


def _choice(recipe: Recipe, name: str) -> MethodChoice:
    listed = recipe.all_methods if recipe.names_methods else []
    return next((choice for choice in listed if choice.name == name), MethodChoice(name=name))


def _first_that_suits(
    recipe: Recipe, candidates: Sequence[MethodChoice], folder: Path, allow_code: bool, found: Found
) -> MethodChoice:
    for choice in candidates:
        single = recipe.model_copy(update={"method": choice, "methods": []})
        try:
            check(single, folder, [choice], allow_code, found)
        except MethodError:
            if choice is candidates[-1]:
                raise
        else:
            break
    return choice


def _large_enough(shares: Sequence[float], recipe: Recipe, gathered: Gathered) -> dict[float, int]:
    """The training rows of each share that has one for each class and more than the share before; others are told."""
    whole = bundle(recipe.data.model_copy(update={"share": 1.0}), gathered)
    least = least_rows(gathered.parts["train"], whole.schema.task)
    kept: dict[float, int] = {}
    for share in shares:
        rows = rows_of_share(len(whole.drawn_from), share)
        if rows < least:
            each = "for each class" if least > 1 else "at all"
            _warn(f"left out: {share:g} of the training rows is {rows:,}, too few for one {each} ({least})")
        elif rows in kept.values():
            _warn(f"left out: {share:g} of the training rows is {rows:,}, as a smaller share is")
        else:
            kept[share] = rows
    return kept


def _warn(what: str) -> None:
    warnings.warn(TunewiseWarning(what), stacklevel=3)


def _each_once(*choices: Sequence[MethodChoice]) -> list[MethodChoice]:
    return list({choice.label: choice for some in choices for choice in some}.values())
