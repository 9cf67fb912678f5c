"""The soups of a comparison: which runs each is made of, refused early where the recipe leaves nothing to average.

A soup is made once its members have finished, of those that have; what has not is told. It is never recommended: greedy
chooses its members on validation, so that there it stands at least as high as the best of them by its making.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tunewise.check import Checked
from tunewise.comparison.entry import Entry
from tunewise.comparison.rates import has_rate
from tunewise.comparison.records import Records
from tunewise.errors import RecipeError
from tunewise.models.from_runs import handed_over, manifest_digest
from tunewise.recipe import MethodChoice, Recipe

KIND = "soup"


def check_soups(recipe: Recipe, checked: Checked) -> None:
    """Raises RecipeError where the soups that a recipe asks for cannot be made of its runs."""
    wanted = recipe.soups
    if not wanted.kinds:
        return
    if checked.data.schema.is_language:
        raise RecipeError(
            f"soups are of models that give labels or numbers; the task is {checked.data.schema.task}",
            where="soups",
            fix="leave it out",
        )
    fitting = [choice for choice in recipe.all_methods if _runs_somewhere(choice, recipe, checked) and averages(choice)]
    what, fix = "", ""
    if len(fitting) < (2 if wanted.of == "methods" else 1):
        told = ", ".join(choice.label for choice in fitting) or "none"
        what = f"too few methods of the recipe hand over a whole model that began from the pretrained one ({told})"
        fix = "name more, such as full, last_k, attention, feed_forward, norms or bitfit"
    elif wanted.of == "seeds" and len(recipe.all_seeds) < 2:
        what, fix = "a soup of seeds needs two seeds or more", "set seeds higher"
    elif wanted.of == "seeds" and recipe.train.head_seed is None:
        what = "each seed draws another output layer, and layers that began apart have no useful mean"
        fix = "give train.head_seed, such as 0: it decides the first values of the output layer for all seeds"
    elif wanted.of == "rates" and len(recipe.rate_grid) < 2:
        what, fix = "a soup of rates needs two rates or more", "give rate_grid, such as [0.3, 1, 3]"
    if what:
        raise RecipeError(what, where=f"soups: of {wanted.of}", fix=fix)


def averages(choice: MethodChoice) -> bool:
    """Whether what a method hands over can be a member: a whole model that went on from the pretrained one."""
    method = choice.build()
    return method.descends and not method.control and (method.handover == "transformers" or method.merged)


def _runs_somewhere(choice: MethodChoice, recipe: Recipe, checked: Checked) -> bool:
    return any(checked.runs(choice.label, model) for model in recipe.all_models)


def list_soups(recipe: Recipe, entries: Sequence[Entry], trials: Sequence[Entry], out: Path) -> list[Entry]:
    """An entry for every soup, with the runs that it is to be made of.

    Args:
        entries: all runs of methods, with the rates that were chosen.
        trials: the runs with which rates were tried.
    """
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in trials if recipe.soups.of == "rates" else entries:
        if entry.choice is None or not averages(entry.choice) or (recipe.soups.of == "rates" and not has_rate(entry)):
            continue
        groups.setdefault(_group(recipe, entry), []).append(entry)
    groups = {key: members for key, members in groups.items() if len(members) > 1}
    return [_soup(kind, recipe, members, out) for members in groups.values() for kind in recipe.soups.kinds]


def _group(recipe: Recipe, entry: Entry) -> tuple[str, ...]:
    """What the members of a soup have in common."""
    common = (entry.model, str(entry.fold))
    return (*common, str(entry.seed)) if recipe.soups.of == "methods" else (*common, entry.name)


def _soup(kind: str, recipe: Recipe, members: Sequence[Entry], out: Path) -> Entry:
    first = members[0]
    label = f"soup({kind})" if recipe.soups.of == "methods" else f"soup({kind}) of {first.method}"
    several = len(recipe.all_models) > 1
    parts = [KIND, kind]
    if recipe.soups.of != "methods":
        parts.append(_place_of(first, recipe))
    parts += [f"model{recipe.all_models.index(first.model)}"] if several else []
    parts += [] if first.fold is None else [f"fold{first.fold}"]
    return Entry(
        name=f"{label} @ {Path(first.model).name}" if several else label,
        method=label,
        model=first.model,
        seed=first.seed,
        kind=KIND,
        folder=out / "runs" / "-".join([*parts, f"seed{first.seed}"]),
        choice=first.choice,
        fold=first.fold,
        members=tuple(member.folder for member in members),
        soup=kind,
    )


def _place_of(entry: Entry, recipe: Recipe) -> str:
    """A method's name, with its number where the recipe names it more than once."""
    names = [choice.name for choice in recipe.all_methods]
    number = next((at for at, choice in enumerate(recipe.all_methods) if choice.label == entry.method), 0)
    return entry.choice.name + (f"-{number}" if names.count(entry.choice.name) > 1 else "")


def ready(soups: Sequence[Entry], records: Records) -> list[Entry]:
    """The soups that can be made now, each with the members that have finished and a warning of those that have not."""
    found = []
    for entry in soups:
        done = tuple(folder for folder in entry.members if records.finished(folder))
        lost = [folder.name for folder in entry.members if folder not in done]
        if len(done) > 1:
            told = (f"without {', '.join(lost)}, which did not finish",) if lost else ()
            found.append(replace(entry, members=done, warnings=told))
    return found


def is_made(entry: Entry, records: Records) -> bool:
    """Whether the soup that is there was made of the members as they are now."""
    record = records.finished(entry.folder)
    if record is None:
        return False
    made_of = [member["model"] for member in record.soup.get("members", [])]
    return made_of == [manifest_digest(handed_over(folder) or folder) for folder in entry.members]
