"""Recipes: loading from files and mappings, and writing what loads back to the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunewise.errors import RecipeError
from tunewise.methods import DEFAULT, METHODS
from tunewise.recipe import MethodChoice, Recipe, load_recipe, recipe_from, write_recipe

SHORT = """\
model: sentence-transformers/all-MiniLM-L6-v2     # hub id or folder
data: {train: tickets.csv, text: message, label: intent}
methods: [features, head, full, lora]
train: {epochs: 3, batch_size: 16}
metric: f1_macro
seeds: 3
"""


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_loads_the_recipe_of_the_readme(written):
    recipe = load_recipe(written(SHORT))
    assert recipe.all_models == ["sentence-transformers/all-MiniLM-L6-v2"]
    assert (recipe.data.train, recipe.data.text, recipe.data.label) == ("tickets.csv", "message", "intent")
    assert [method.name for method in recipe.all_methods] == ["features", "head", "full", "lora"]
    assert (recipe.train.epochs, recipe.train.batch_size, recipe.metric) == (3, 16, "f1_macro")
    assert recipe.all_seeds == [0, 1, 2]


def test_a_mapping_gives_the_same_recipe_as_a_file(written):
    mapping = {
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "data": {"train": "tickets.csv", "text": "message", "label": "intent"},
        "methods": ["features", "head", "full", "lora"],
        "train": {"epochs": 3, "batch_size": 16},
        "metric": "f1_macro",
        "seeds": 3,
    }
    assert recipe_from(mapping) == load_recipe(written(SHORT))
    assert recipe_from(mapping).fingerprint == load_recipe(written(SHORT)).fingerprint


def test_methods_that_are_not_named(written):
    def names(text: str) -> list[str]:
        return [method.label for method in load_recipe(written(BASE + text)).all_methods]

    assert names("") == names("methods: []") == list(DEFAULT) and set(DEFAULT) <= set(METHODS)
    told = Recipe.model_fields["methods"].description.partition("Where left out: ")[2].rstrip(".")
    assert " ".join(told.replace(" and ", ", ").split()).split(", ") == list(DEFAULT)
    assert names("methods: all") == list(METHODS)
    assert names("methods: [head]") == names("method: head") == ["head"]
    for text, named in (("", False), ("methods: all", False), ("methods: [head]", True), ("method: head", True)):
        assert load_recipe(written(BASE + text)).names_methods == named
    written_again = load_recipe(written(write_recipe(load_recipe(written(BASE + "methods: all")))))
    assert written_again.methods == "all"


def test_overrides_take_the_place_of_the_file(written):
    overrides = ["train.epochs=5", "train.learning_rate=1e-5", "methods=[head, lora]", "methods.1.lora.rank=4"]
    recipe = load_recipe(written(SHORT), [*overrides, "data.delimiter=|"])
    assert (recipe.train.epochs, recipe.train.learning_rate, recipe.data.delimiter) == (5, 1e-5, "|")
    assert recipe.methods == [MethodChoice(name="head"), MethodChoice(name="lora", options={"rank": 4})]


def test_class_names_that_yaml_1_1_would_change_stay_text(written):
    recipe = load_recipe(
        written(
            "model: m\ndata: {train: a.csv, label: y, labels: [no, yes, NA, None], header: no}\n"
            "evaluate: {positive: yes, costs: {no: {yes: 1}, 1: {0: 5}}}\n"
        )
    )
    assert recipe.data.labels == ["no", "yes", "NA", "None"]
    assert recipe.data.header is False
    assert recipe.evaluate.positive == "yes"
    assert recipe.evaluate.costs == {"no": {"yes": 1.0}, "1": {"0": 5.0}}


BASE = "model: m\ndata: {train: a.csv, label: y}\n"
CASES = [
    ("methods: [lorra]", ":3: methods.0: there is no method 'lorra'", "did you mean 'lora'?"),
    ("methods:\n- lora: {rnk: 8}", ":4: methods.0.lora.rnk: there is no such key", "`rank`"),
    ("methods:\n- lora: 0", ":4: methods.0.lora: expected keys with values; came the number 0", None),
    ("method: {lora: {}, head: {}}", ":3: method: expected the name of a method, or one name with its options", None),
    ("methods: al", ":3: methods: expected a list", "did you mean all?"),
    ("method: 5", ":3: method: expected the name of a method, or one name with its options", None),
    ("train:\n  label_smoothing: 0.1", ":4: train.label_smoothing: there is no such key", "belongs to `objective`"),
    ("train:\n  lr: 0.1", ":4: train.lr: there is no such key", "`learning_rate`"),
    ("train: {batch_size: -1}", ":3: train.batch_size: expected a whole number, at least 1; came the number -1", None),
    ("train: {learning_rate: .nan}", ":3: train.learning_rate: expected a number, above 0; came the number nan", None),
    ("train:\n  epochs: 1\n  max_steps: 2", ":3: train: give either epochs or max_steps, not both", None),
    ("models: [a]", ": give either model (one) or models (a list)", None),
    ("seeds: []", ":3: seeds: at least one seed is needed", None),
    ("seeds: [1, 1]", ":3: seeds: each seed may stand in the list only once", None),
    ("label: x", ":3: label: there is no such key", "it belongs to `data`, as `data.label`"),
    (
        "train: {batch_size: 1.5}",
        ":3: train.batch_size: expected a whole number, at least 1; came the number 1.5",
        None,
    ),
]


@pytest.mark.parametrize(("text", "what", "fix"), CASES, ids=[each[1] for each in CASES])
def test_says_what_is_wrong_in_a_recipe(written, text, what, fix):
    path = written(BASE + text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert caught.value.what.startswith(f"{path}{what}")
    assert fix is None or fix in caught.value.fix


def test_a_wrong_override_is_named(written):
    with pytest.raises(RecipeError) as caught:
        load_recipe(written(SHORT), ["train.lr=1"])
    assert caught.value.what == "--set train.lr=1: train.lr: there is no such key"
    assert caught.value.fix == "did you mean `learning_rate`?"


def test_two_overrides_that_exclude_each_other_are_named(written):
    with pytest.raises(RecipeError, match=r"--set train\.max_steps=5: train: give either epochs or max_steps"):
        load_recipe(written(SHORT), ["train.max_steps=5"])


@pytest.mark.parametrize("given_", ["recipe.yaml", 5, None, ["a"]])
def test_something_else_than_a_mapping_is_refused(given_):
    with pytest.raises(RecipeError, match="recipe: expected a section of keys; came "):
        recipe_from(given_)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAME = TEXT.filter(bool) | st.sampled_from(
    [
        "no",
        "1e-5",
        "1",
        "~",
        "null",
        "true",
        "${HOME}",
        "$${HOME}",
        "- a",
        "a: b",
        "#",
        "|",
        " x ",
        "a\nb\n",
        "0x1",
        "=",
    ]
)
POSITIVE = st.floats(min_value=1e-12, max_value=1e12)
COUNT = st.integers(1, 10**9)
COLUMN = NAME | st.integers(0, 99) | st.lists(NAME | st.integers(0, 99), max_size=3)
DATA = st.fixed_dictionaries(
    {"train": NAME, "label": COLUMN},
    optional={
        "text": COLUMN,
        "test": NAME | st.dictionaries(NAME, NAME, max_size=3),
        "task": st.sampled_from(["classification", "multilabel", "regression"]),
        "labels": st.lists(NAME, max_size=4),
        "delimiter": st.sampled_from([",", ";", "|", "\t", "#", " "]),
        "quotes": st.booleans(),
        "header": st.booleans(),
        "limit": COUNT,
        "test_share": st.floats(0.01, 0.99),
    },
)
METHOD = st.sampled_from(sorted(METHODS)) | st.builds(
    lambda name, rate: {name: {"learning_rate": rate}}, st.sampled_from(sorted(set(METHODS) - {"features"})), POSITIVE
)
SECTIONS = {
    "method": METHOD,
    "methods": st.lists(METHOD, max_size=4),
    "objective": st.fixed_dictionaries(
        {}, optional={"class_weights": st.just("balanced") | st.dictionaries(NAME, POSITIVE, max_size=3)}
    ),
    "train": st.fixed_dictionaries(
        {},
        optional={
            "epochs": POSITIVE,
            "batch_size": COUNT,
            "learning_rate": POSITIVE,
            "schedule": st.sampled_from(["linear", "cosine", "constant"]),
            "keep_best": st.booleans(),
        },
    ),
    "evaluate": st.fixed_dictionaries(
        {},
        optional={
            "positive": NAME,
            "costs": st.dictionaries(NAME, st.dictionaries(NAME, st.floats(-5, 5), max_size=2), max_size=2),
            "functions": st.lists(NAME, max_size=2),
        },
    ),
    "metric": NAME,
    "seed": st.integers(0, 10**20),
    "seeds": COUNT | st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True),
}
ONE_MODEL = st.fixed_dictionaries({"model": NAME, "data": DATA}, optional=SECTIONS)
MANY_MODELS = st.fixed_dictionaries({"models": st.lists(NAME, min_size=1, max_size=3), "data": DATA}, optional=SECTIONS)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ONE_MODEL | MANY_MODELS)
def test_a_recipe_loads_back_from_what_is_written(written, mapping):
    recipe = recipe_from(mapping)
    loaded = load_recipe(written(write_recipe(recipe)))
    assert loaded == recipe
    assert loaded.fingerprint == recipe.fingerprint


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAME | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["lora", "name", "options", "data"]) | NAME, inner)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from([*Recipe.model_fields, "lr", "lora"])


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(KEYS, JUNK | st.dictionaries(st.sampled_from(["train", "label", "text", "lora", "costs"]), JUNK))
)
def test_any_mapping_gives_a_recipe_or_a_recipe_error(mapping):
    try:
        made = recipe_from(mapping)
    except RecipeError as error:
        made = error
    assert isinstance(made, Recipe) or made.what.startswith("recipe")


def test_writes_only_what_differs_from_the_defaults(written):
    text = write_recipe(load_recipe(written(SHORT)))
    assert text == (
        "model: sentence-transformers/all-MiniLM-L6-v2\n"
        "data:\n  train: tickets.csv\n  text: message\n  label: intent\n"
        "methods:\n- features\n- head\n- full\n- lora\n"
        "train:\n  epochs: 3.0\n"
        "metric: f1_macro\n"
    )


def test_reading_a_recipe_loads_no_framework():
    code = (
        "import sys, tunewise.recipe as recipe\n"
        "recipe.recipe_from({'model': 'm', 'data': {'train': 'a', 'label': 'y'}, 'methods': ['lora']})\n"
        "heavy = {'torch', 'transformers', 'peft', 'datasets', 'pandas', 'sklearn', 'matplotlib', 'plotly'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
