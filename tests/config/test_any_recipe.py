"""Whatever stands in a recipe and behind --set: a recipe, or a RecipeError that says where."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunewise.config.yaml_file import parse_value
from tunewise.errors import RecipeError
from tunewise.recipe import Recipe, load_recipe

ANY = settings(max_examples=120, deadline=4000, suppress_health_check=[HealthCheck.function_scoped_fixture])
SOUND = "model: m\ndata:\n  train: a.csv\n  label: y\nmethods: [head, lora: {rank: 8}]\ntrain:\n  epochs: 1\n"
SCALARS = (
    "1",
    "-1",
    "1e-5",
    "1e999",
    ".nan",
    "no",
    "~",
    "''",
    "x",
    "[a, 1]",
    "{a: 1}",
    "[[",
    "*a",
    "&a b",
    "!!int x",
    "${X}",
)
KEYS = (
    "model",
    "models",
    "data",
    "train",
    "label",
    "labels",
    "method",
    "methods",
    "lora",
    "rank",
    "epochs",
    "max_steps",
)
KEYS += ("batch_size", "learning_rate", "seeds", "rate_grid", "costs", "positive", "test", "x.y", "", "0", "-1", "1")
LINES = st.tuples(
    st.sampled_from(["", "  ", "    ", "\t", "- ", "  - "]), st.sampled_from(KEYS), st.sampled_from(SCALARS)
).map(lambda parts: f"{parts[0]}{parts[1]}: {parts[2]}\n")
PATHS = st.lists(st.sampled_from(KEYS), min_size=1, max_size=4).map(".".join)
OVERRIDES = st.tuples(PATHS, st.sampled_from(SCALARS) | st.text(max_size=8)).map("=".join) | st.text(max_size=12)


def attempt(path: Path, overrides: list[str]) -> Recipe | RecipeError:
    try:
        return load_recipe(path, overrides)
    except RecipeError as error:
        assert error.what
        str(error).encode()
        return error


@ANY
@given(st.lists(LINES, max_size=8).map("".join) | st.binary(max_size=80), st.booleans())
def test_any_file(tmp_path: Path, content: str | bytes, behind: bool) -> None:
    content = content.encode() if isinstance(content, str) else content
    (tmp_path / "r.yaml").write_bytes(SOUND.encode() * behind + content)
    made = attempt(tmp_path / "r.yaml", [])
    assert isinstance(made, Recipe) or "r.yaml" in f"{made.what}{made.where}"


@ANY
@given(st.lists(OVERRIDES, min_size=1, max_size=3))
def test_any_override(tmp_path: Path, overrides: list[str]) -> None:
    (tmp_path / "r.yaml").write_text(SOUND)
    made = attempt(tmp_path / "r.yaml", overrides)
    assert isinstance(made, Recipe) or any(part in f"{made.what}{made.where}" for part in ("--set", "r.yaml"))


@ANY
@given(st.integers(1, len(SOUND)), st.binary(max_size=4))
def test_a_sound_recipe_cut_or_changed_anywhere(tmp_path: Path, place: int, put: bytes) -> None:
    (tmp_path / "r.yaml").write_bytes(SOUND.encode()[:place] + put)
    attempt(tmp_path / "r.yaml", [])
    (tmp_path / "r.yaml").write_bytes(SOUND.encode()[:place] + put + SOUND.encode()[place:])
    attempt(tmp_path / "r.yaml", [])


@ANY
@given(st.text(max_size=20) | st.binary(max_size=10).map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_any_value_on_the_command_line(text: str) -> None:
    """Bytes of a terminal that are not UTF-8 come as lone surrogates."""
    try:
        value = parse_value(text, "--set a")
    except RecipeError as error:
        assert error.where.startswith("--set a") and error.fix
    else:
        yaml.safe_dump(value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("model: " + "$" * 190_000 + "{x\n", "data: expected a section of keys"),
        ("".join(f"k{number}: 1\n" for number in range(17_000)), "has more than 200 problems, of which 20 are:"),
    ],
    ids=["a row of $", "unknown keys"],
)
def test_the_largest_nonsense_takes_seconds(tmp_path: Path, content: str, said: str) -> None:
    """They took 126 s and 17 s."""
    (tmp_path / "r.yaml").write_text(content)
    start = time.process_time()
    made = attempt(tmp_path / "r.yaml", [])
    assert said in made.what and len(made.what) < 10_000
    assert time.process_time() - start < 5
