"""Which runs make a curve: methods on shares of the training rows, and the recipe's own methods on all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from tunewise.check import Checked, Found
from tunewise.comparison.compare import list_entries
from tunewise.comparison.entry import Entry
from tunewise.data.prepare import Gathered, bundle
from tunewise.methods import find_method
from tunewise.recipe import MethodChoice, Recipe


@dataclass(frozen=True)
class CurvePlan:
    """What runs: `drawing` are the methods that draw a curve; `shares` of the training rows, the last being all, with
    the rows of each."""

    recipe: Recipe
    checked: Checked
    gathered: Gathered
    drawing: Sequence[MethodChoice]
    shares: Mapping[float, int]
    out: Path
    _found: dict[tuple[float, int], Found] = field(default_factory=dict)

    @cached_property
    def entries(self) -> list[Entry]:
        """Seed by seed, so that an early stop leaves whole rounds: shares, then the recipe's methods on all rows."""
        (model,) = self.recipe.all_models
        entries = []
        for seed in self.recipe.all_seeds:
            own = [entry for entry in self.own if entry.seed == seed]
            for place, choice in enumerate(self.drawing):
                repeated = sum(other.name == choice.name for other in self.drawing) > 1
                stem = choice.name + (f"-{place}" if repeated else "")
                for share in self.shares:
                    if share == 1 and choice.label in {entry.method for entry in own}:
                        continue
                    entries.append(
                        Entry(
                            name=self.name_of(choice, share),
                            method=choice.label,
                            model=model,
                            seed=seed,
                            kind="method",
                            folder=self.out / "runs" / f"{stem}-share{share:g}-seed{seed}",
                            choice=choice,
                            share=share if share < 1 else None,
                        )
                    )
            entries += own
        return entries

    @cached_property
    def own(self) -> list[Entry]:
        """The runs of the methods that the recipe names, as a comparison has them."""
        if not (self.recipe.methods or self.recipe.method):
            return []
        entries = list_entries(self.recipe, self.checked, self.out)
        return [entry for entry in entries if entry.kind != "baseline"]

    @staticmethod
    def name_of(choice: MethodChoice, share: float) -> str:
        """What the runs of a method on a share are called; on all rows they bear the name of the method."""
        return choice.label if share == 1 else f"{choice.label} on {share:.3g} of the rows"

    def recipe_of(self, choice: MethodChoice, entry: Entry) -> Recipe:
        """The recipe of a run; of the frozen encoder's vectors, all shares read those of one pass over all rows."""
        recipe = self.recipe
        if entry.share is not None:
            data = recipe.data.model_copy(update={"share": entry.share, "share_seed": entry.seed})
            recipe = recipe.model_copy(update={"data": data})
            if "embed_whole" in find_method(choice.name).Config.model_fields:
                choice = MethodChoice(name=choice.name, options={**choice.options, "embed_whole": True})
        return recipe.for_run(entry.model, choice, entry.seed)

    def found_of(self, entry: Entry) -> Found:
        """What a run reads. What was looked for in the data was looked for in all of it."""
        if entry.share is None:
            return self.checked.found
        key = entry.share, entry.seed
        if key not in self._found:
            recipe = self.recipe_of(entry.choice, entry)
            self._found[key] = replace(self.checked.found, data=bundle(recipe.data, self.gathered))
        return self._found[key]
