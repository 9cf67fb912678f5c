"""Help text: made from the classes alone, every option in it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tunewise.config.base import Config
from tunewise.config.explain import FieldHelp, fields_of, render_reference
from tunewise.config.nearest_key import OTHER_NAMES
from tunewise.config.words import in_words
from tunewise.methods import METHODS
from tunewise.recipe import Recipe


class Part(Config):
    rate: float | None = Field(default=None, gt=0, lt=1)
    """How fast: `a|b`,
    on two lines."""

    kind: Literal["one", "two"] = "one"
    """Which."""

    any: dict[str, Any] = Field(default_factory=dict)


class Whole(Config):
    name: str
    """Its name."""

    part: Part = Part()

    on: bool = True

    deep: dict[str, list[int]] | None = None


FIELDS = [
    FieldHelp("name", "text", "required", "Its name."),
    FieldHelp("part.rate", "a number, above 0, below 1", "", "How fast: `a|b`, on two lines."),
    FieldHelp("part.kind", "one of one, two", "one", "Which."),
    FieldHelp("part.any", "keys with values", "", ""),
    FieldHelp("on", "true or false", "true", ""),
    FieldHelp("deep", "keys (each with a list (each item a whole number))", "", ""),
]


def test_lists_every_field_with_type_default_and_reason():
    assert fields_of(Whole) == FIELDS


def test_limits_of_items_are_told_with_their_type():
    assert in_words(list[Annotated[float, Field(gt=0)]]) == "a list (each item a number, above 0)"
    assert in_words(dict[str, Annotated[int, Field(ge=1)]]) == "keys (each with a whole number, at least 1)"


def test_renders_a_table_per_section():
    assert render_reference(Whole).splitlines() == [
        "| key | takes | default | |",
        "|---|---|---|---|",
        "| `name` | text | required | Its name. |",
        "| `on` | true or false | `true` |  |",
        "| `deep` | keys (each with a list (each item a whole number)) |  |  |",
        "",
        "## `part`",
        "",
        "| key | takes | default | |",
        "|---|---|---|---|",
        "| `part.rate` | a number, above 0, below 1 |  | How fast: `a\\|b`, on two lines. |",
        "| `part.kind` | one of one, two | `one` | Which. |",
        "| `part.any` | keys with values |  |  |",
    ]


def test_every_option_of_the_recipe_and_of_the_methods_is_explained():
    everything = fields_of(Recipe) + [each for method in METHODS.values() for each in fields_of(method.Config)]
    assert [each.path for each in everything if not each.explanation] == []


def test_the_names_of_other_tools_lead_to_options_that_exist():
    ours = {each.path.rpartition(".")[2] for each in fields_of(Recipe)} | set(Recipe.model_fields)
    ours |= {name for method in METHODS.values() for name in method.Config.model_fields}
    assert set(OTHER_NAMES.values()) <= ours
    assert not set(OTHER_NAMES) & ours
