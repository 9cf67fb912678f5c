"""The Python interface: `compare`, `curve`, `estimate`, `check_data`, `train`, `load`: as the commands do."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewise.check import check, only_choice
from tunewise.check import check_data as look_at
from tunewise.commit import lock
from tunewise.commit.lock import LOCK
from tunewise.commit.room import check_writable
from tunewise.errors import RecipeError
from tunewise.methods import find_method
from tunewise.recipe import MethodChoice, Recipe, load_recipe, recipe_from
from tunewise.tracking.data_lines import data_lines, finding_lines
from tunewise.tracking.progress import ProgressBar

if TYPE_CHECKING:
    from tunewise.audit.audit import Audit
    from tunewise.comparison.compare import Comparison
    from tunewise.comparison.curve import Curve
    from tunewise.engine.drawing_model import DrawingModel
    from tunewise.engine.language_model import LanguageModel
    from tunewise.engine.text_model import TextModel
    from tunewise.estimation.results import Estimate
    from tunewise.tracking.record import RunRecord

AnyRecipe = Recipe | Mapping[str, Any] | str | Path


def compare(
    recipe: AnyRecipe,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    jobs: int | None = None,
    allow_code: bool = False,
    quiet: bool = False,
) -> Comparison:
    """Compares the recipe's methods and leaves everything in `out`.

    Args:
        recipe: a path to a YAML file, or the same as a mapping (paths in it start from the current folder).
        overrides: `section.key=value`, in the place of what a recipe file says.
        jobs: how many runs at a time.
        allow_code: whether the recipe's own metric functions may run.
        quiet: show no progress.
    """
    from tunewise.cli.watching import Silent, make_watcher
    from tunewise.comparison.compare import compare as compare_runs

    loaded, folder = _loaded(recipe, overrides)
    watcher = Silent() if quiet else make_watcher()
    return compare_runs(loaded, Path(out), folder=folder, watcher=watcher, allow_code=allow_code, side_by_side=jobs)


def curve(
    recipe: AnyRecipe,
    out: str | Path,
    *,
    shares: Sequence[float] | None = None,
    methods: Sequence[str] = (),
    overrides: Sequence[str] = (),
    jobs: int | None = None,
    allow_code: bool = False,
    quiet: bool = False,
) -> Curve:
    """What more training rows would bring, against what the recipe's methods bring on those there are; leaves
    everything in `out`.

    Args:
        recipe: a path to a YAML file, or the same as a mapping (paths in it start from the current folder).
        shares: of the training rows; all of them are always added. Where left out: 0.1, 0.2, ... 1.
        methods: what draws a curve; where left out, `features`, or `head` where that does not suit the data.
        overrides: `section.key=value`, in the place of what a recipe file says.
        jobs: how many runs at a time.
        allow_code: whether the recipe's own metric functions may run.
        quiet: show no progress.
    """
    from tunewise.cli.watching import Silent, make_watcher
    from tunewise.comparison.curve import SHARES
    from tunewise.comparison.curve import curve as draw

    loaded, folder = _loaded(recipe, overrides)
    watcher = Silent() if quiet else make_watcher()
    return draw(
        loaded,
        Path(out),
        folder=folder,
        watcher=watcher,
        shares=SHARES if shares is None else shares,
        methods=methods,
        allow_code=allow_code,
        side_by_side=jobs,
    )


def estimate(
    recipe: AnyRecipe,
    out: str | Path = "runs",
    *,
    overrides: Sequence[str] = (),
    jobs: int | None = None,
    budget: float = 5.0,
    validate: bool = False,
    allow_code: bool = False,
    quiet: bool = False,
) -> Estimate:
    """What the recipe's methods will cost on this machine, from a few real steps of each. Leaves nothing behind.

    Args:
        recipe: a path to a YAML file, or the same as a mapping (paths in it start from the current folder).
        out: where the results would go: that disk must suffice.
        overrides: `section.key=value`, in the place of what a recipe file says.
        jobs: how many runs at a time.
        budget: seconds of training to carry out, for each method.
        validate: train with each method too, and keep what that cost beside the estimate.
        allow_code: whether the recipe's own metric functions may run.
        quiet: show no progress.
    """
    from tunewise.cli.estimating import Lines, Silent
    from tunewise.estimation.estimate import estimate as estimate_runs

    loaded, folder = _loaded(recipe, overrides)
    return estimate_runs(
        loaded,
        folder=folder,
        out=Path(out),
        watcher=Silent() if quiet else Lines(sys.stderr),
        allow_code=allow_code,
        side_by_side=jobs,
        budget=budget,
        validate=validate,
    )


def check_data(recipe: AnyRecipe, *, overrides: Sequence[str] = (), quiet: bool = False) -> Audit:
    """What is wrong with the recipe's data, as `tunewise check` looks for it: `findings` with all their rows,
    `overview`, and `blocked`, whether something was found that `check.block` names.

    Args:
        recipe: a path to a YAML file, or the same as a mapping (paths in it start from the current folder).
        overrides: `section.key=value`, in the place of what a recipe file says.
        quiet: show no progress.
    """
    from tunewise.cli.checking import Silent, make_progress

    loaded, folder = _loaded(recipe, overrides)
    with Silent() if quiet else make_progress(sys.stderr) as progress:
        return look_at(loaded, folder, progress.on_check)


def train(
    recipe: AnyRecipe,
    out: str | Path,
    *,
    method: str | Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    allow_code: bool = False,
    quiet: bool = False,
) -> RunRecord:
    """Trains one model with one method and leaves everything in `out`.

    Args:
        method: name, or {name: options}; where left out, the one that the recipe names.
        overrides: `section.key=value`, in the place of what a recipe file says.
        resume: go on with the run that `out` holds.
    """
    loaded, folder = _loaded(recipe, overrides)
    chosen = choose(loaded, method)
    return train_recipe(chosen, Path(out), folder=folder, resume=resume, allow_code=allow_code, quiet=quiet)


def choose(recipe: Recipe, method: str | Mapping[str, Any] | None = None, model: str | None = None) -> Recipe:
    """The recipe with one method and one model in the place of those it names; a method that it names keeps its
    options.

    Raises:
        RecipeError: there is no such method.
    """
    update: dict[str, Any] = {}
    if method is not None:
        if isinstance(method, str):
            find_method(method)
            listed = [choice for choice in recipe.all_methods if method in (choice.name, choice.label)]
            method = listed[0] if listed else method
        update |= {"methods": [], "method": MethodChoice.model_validate(method)}
    if model is not None:
        update |= {"models": [], "model": model}
    return recipe.model_copy(update=update)


def train_recipe(
    recipe: Recipe, out: Path, *, folder: Path, resume: bool = False, allow_code: bool = False, quiet: bool = False
) -> RunRecord:
    """Checks a recipe with one model and one method, then trains."""
    begun = time.perf_counter()
    single = only_choice(recipe).anchored(folder)
    check_writable(out)
    checked = check(single, folder, single.all_methods, allow_code)
    if not quiet:
        for line in [*data_lines(checked.data.steps), *finding_lines(checked.found.audit.findings)]:
            print(line, file=sys.stderr)
    if (out / LOCK).is_file():
        with lock(out):
            pass  # a folder that another process owns is told of before torch is imported
    from tunewise.run import run  # imports torch: only once everything else is right

    observers = () if quiet else (ProgressBar(checked.metric),)
    return run(
        single,
        out,
        folder=folder,
        observers=observers,
        resume=resume,
        allow_code=allow_code,
        checked=checked,
        seconds_before=time.perf_counter() - begun,
    )


def load(folder: str | Path, device: str = "cpu") -> TextModel | LanguageModel | DrawingModel:
    """Loads a trained model: `load("runs/one").predict(["..."])`; of a language model,
    `load("runs/one").generate(["..."])`; of one that draws images, `load("runs/one").sample(16)`."""
    from tunewise.engine.text_model import load as load_text_model

    return load_text_model(folder, device)


def _loaded(recipe: AnyRecipe, overrides: Sequence[str] = ()) -> tuple[Recipe, Path]:
    if not isinstance(recipe, (str, Path)):
        if overrides:
            raise RecipeError("overrides go with a recipe file", fix="change the mapping itself")
        return recipe if isinstance(recipe, Recipe) else recipe_from(recipe), Path.cwd()
    path = Path(recipe)
    return load_recipe(path, overrides), path.resolve().parent
