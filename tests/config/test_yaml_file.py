"""Reading YAML: json and PyYAML's own parser as judges, and one exact error for each broken file."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunewise.config.yaml_file import MAX_BYTES, Located, parse_value, read_yaml
from tunewise.config.yaml_nodes import MAX_ALIASES, escape_variables
from tunewise.config.yaml_text import write_yaml
from tunewise.errors import RecipeError

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
MAPPINGS = st.dictionaries(ANY_TEXT, VALUES, min_size=1, max_size=5)
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def recipe(tmp_path: Path):
    def write(content: str | bytes) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def error_of(path: Path) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        read_yaml(path)
    return caught.value


def data_or_error(path: Path) -> Located | RecipeError:
    try:
        return read_yaml(path)
    except RecipeError as error:
        return error


@QUICK
@given(MAPPINGS)
def test_reads_json_as_json_does(recipe, value):
    text = json.dumps(value).replace("\x7f", "\\u007f").replace("$", "\\u0024")
    escaped = json.loads(text, object_hook=lambda found: {key: _escape(inner) for key, inner in found.items()})
    assert read_yaml(recipe(json.dumps(escaped).replace("\x7f", "\\u007f"))).data == value


def _escape(value):
    if isinstance(value, str):
        return escape_variables(value)
    return [_escape(each) for each in value] if isinstance(value, list) else value


@QUICK
@given(MAPPINGS)
def test_reads_back_what_it_writes(recipe, value):
    assert read_yaml(recipe(write_yaml(value))).data == value


@QUICK
@given(st.text(st.sampled_from("ab:-[]{}'\"\n\t #&*!|>%@`,?~$01.e\\"), max_size=60) | ANY_TEXT)
def test_any_text_gives_data_or_a_recipe_error(recipe, text):
    made = data_or_error(recipe(text))
    assert isinstance(made, Located) or ("recipe.yaml" in made.where and made.fix)


@QUICK
@given(st.binary(max_size=60))
def test_any_bytes_give_data_or_a_recipe_error(recipe, raw):
    made = data_or_error(recipe(raw))
    assert isinstance(made, Located) or ("recipe.yaml" in made.where and made.fix)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-5", 1e-5),
        ("2E+3", 2000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3),
        ("+7", 7),
        ("0x1f", 31),
        ("0o17", 15),
        ("010", 10),
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("OFF", "OFF"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("NA", "NA"),
        ("None", "None"),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        (".inf", float("inf")),
        ("-.inf", float("-inf")),
    ],
)
def test_scalars_follow_yaml_1_2(recipe, written, value):
    came = read_yaml(recipe(f"a: {written}\n")).data["a"]
    assert came == value
    assert type(came) is type(value)


def test_keys_are_the_text_as_written(recipe):
    assert read_yaml(recipe("no: 1\n1: 2\n01: 3\n1e5: 4\ntrue: 5\n")).data == {
        "no": 1,
        "1": 2,
        "01": 3,
        "1e5": 4,
        "true": 5,
    }


def test_knows_the_line_of_every_key(recipe):
    located = read_yaml(
        recipe("# a comment\nmodel: m\n\ndata:\n  train: a\n  text:\n  - b\n  - c\nmethods: [x,\n y]\n")
    )
    assert located.lines == {
        ("model",): 2,
        ("data",): 4,
        ("data", "train"): 5,
        ("data", "text"): 6,
        ("data", "text", 0): 7,
        ("data", "text", 1): 8,
        ("methods",): 9,
        ("methods", 0): 9,
        ("methods", 1): 10,
    }
    assert located.place(("data", "label")) == f"{located.source}:4"
    assert located.place(("seed",)) == located.source


def test_a_byte_order_mark_is_no_part_of_the_first_key(recipe):
    assert read_yaml(recipe(b"\xef\xbb\xbfmodel: m\n")).data == {"model": "m"}


def test_an_alias_repeats_what_it_names(recipe):
    assert read_yaml(recipe("a: &x [1, 2]\nb: *x\n")).data == {"a": [1, 2], "b": [1, 2]}


def test_variables_come_from_the_environment(recipe, monkeypatch):
    monkeypatch.setenv("TUNEWISE_TEST_FOLDER", "/data")
    data = read_yaml(recipe("a: ${TUNEWISE_TEST_FOLDER}/x-${TUNEWISE_TEST_FOLDER}\nb: $${HOME}\nc: $5 {x}\n")).data
    assert data == {"a": "/data/x-/data", "b": "${HOME}", "c": "$5 {x}"}


def test_a_value_from_the_environment_is_not_expanded_again(recipe, monkeypatch):
    monkeypatch.setenv("TUNEWISE_TEST_A", "${TUNEWISE_TEST_B}")
    assert read_yaml(recipe("a: ${TUNEWISE_TEST_A}\n")).data == {"a": "${TUNEWISE_TEST_B}"}


BROKEN = [
    ("", "the recipe is empty", None, "model, data.train and data.label"),
    ("# only a comment\n", "the recipe is empty", None, "model"),
    ("data:\n\ttrain: a\n", "indented with a tab", 2, "spaces"),
    ("a: 1\nb: 2\na: 3\n", "the key `a` is given twice, first in line 1", 3, "keep one"),
    ("t:\n  a: 1\n  a: 2\n", "the key `a` is given twice, first in line 2", 3, "keep one"),
    ("- a\n- b\n", "came a list", 1, "recipe file"),
    ("text,label\nhi,1\n", "came plain text", 1, "tunewise init"),
    ("a: 1\n---\nb: 2\n", "expected one document", 2, "---"),
    ("a: b: c\n", "`:` stands where no key can be", 1, "quotes"),
    ("a:\n  b: 1\n c: 2\n", "indented otherwise", 3, "same number of spaces"),
    ("a: 'x\n\n", "quote is opened and not closed", None, "close the quote"),
    ('a: "\\q"\n', "escape names no character", 1, "single quotes"),
    ('a: "\\UFFFFFFFF"\n', "escape names no character", None, "double quotes"),
    ("a: [1, 2\nb: 3\n", "bracket is not closed", 2, "close the bracket"),
    ("a: ]\n", "bracket is closed that was not opened", 1, "quotes"),
    ("k: -\n", "list item (-)", 1, "line of its own"),
    ("a: @x\n", "character that has a meaning", 1, "quotes"),
    ("a: *x\n", "alias (*) stands for nothing", 1, "quotes"),
    ("a: &x [*x]\n", "inside what it stands for", 1, "write the values out"),
    ("a: ${TUNEWISE_TEST_UNSET}\n", "variable TUNEWISE_TEST_UNSET is not set", 1, "$${TUNEWISE_TEST_UNSET}"),
    ("a: ${b-c}\n", "`${b-c}` does not name an environment variable", 1, "$${b-c}"),
    ("a: !!python/object/apply:os.system [x]\n", "tag !!python/object/apply:os.system has no meaning", 1, "remove"),
    ("a: !!int x\n", "`x` cannot be read", 1, "quotes"),
    ("a: !mine {b: 1}\n", "tag !mine has no meaning", 1, "remove"),
    ("? [a]\n: b\n", "expected text as a key", 1, "quotes"),
    ("b: 1\na: " + "9" * 5000 + "\n", "cannot be read", 2, "quotes"),
    ('a: "\\ud800"\n', "half a character", 1, "correct"),
    ("a: 1\nb: \x07\n", "control character U+0007", 2, "remove it"),
    ("a: " + "[" * 5000 + "\n", "nested too deeply", None, "flat"),
    ("a: " + "[" * 25 + "]" * 25 + "\n", "at most 20 levels", 1, "flat"),
    (b"a: 1\nb: caf\xe9\n", "expected text in UTF-8; came the byte 0xe9", 2, "UTF-8"),
    ("a: 1\n".encode("utf-16"), "expected text in UTF-8; came the byte 0xff", 1, "UTF-8"),
    (b"a: " + b"x" * MAX_BYTES, "at most 200,000 bytes", None, "data file"),
]


@pytest.mark.parametrize(("content", "what", "line", "fix"), BROKEN, ids=[each[1] for each in BROKEN])
def test_says_what_is_wrong_with_a_file(recipe, content, what, line, fix):
    path = recipe(content)
    error = error_of(path)
    assert what in error.what
    assert error.where.startswith(f"{path}:{line}" if line else str(path))
    assert fix in error.fix


def test_refuses_an_alias_bomb(recipe):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert f"at most {MAX_ALIASES} uses of aliases" in error_of(recipe("\n".join(lines))).what


def test_refuses_many_values_behind_few_aliases(recipe):
    path = recipe("a: &a [" + "1," * 2000 + "]\nb: [" + "*a," * 60 + "]\n")
    assert "100,000 values" in error_of(path).what


def test_refuses_aliases_that_nest_deeply(recipe):
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [[[*a{n - 1}]]]" for n in range(1, 90)]
    assert "at most 20 levels" in error_of(recipe("\n".join(lines))).what


def test_a_missing_file_is_named_with_the_nearest_there(recipe):
    path = recipe("a: 1\n")
    error = error_of(path.with_name("recpie.yaml"))
    assert error.what == "the recipe is not there"
    assert error.fix == f"did you mean {path}?"
    assert error_of(path.with_name("other.txt")).fix == "the folder holds recipe.yaml"
    assert "there is no folder" in error_of(path.parent / "none" / "recipe.yaml").fix


def test_a_folder_is_no_recipe(recipe):
    path = recipe("a: 1\n")
    error = error_of(path.parent)
    assert error.what == "expected a recipe file; came a folder"
    assert error.fix == f"name the file: {path}"


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "recipe.yaml")
    assert "device or pipe" in error_of(tmp_path / "recipe.yaml").what


def test_a_file_that_may_not_be_read(recipe, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    path = recipe("a: 1\n")
    monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be read: Permission denied" in error_of(path).what


@pytest.mark.parametrize("text", ["|", "#", ";", "*", "&", "%", "@x", "a: b", "hub:owner/name", "- x", "no", "?"])
def test_the_value_of_an_override_is_the_text_itself(text):
    assert parse_value(text, "--set a") == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        (" 1e-5 ", 1e-5),
        ("true", True),
        ("", None),
        ("null", None),
        ("[a, 1]", ["a", 1]),
        ("{a: {b: 2}}", {"a": {"b": 2}}),
        ("'5'", "5"),
    ],
)
def test_the_value_of_an_override_may_be_a_scalar_or_flow(text, value):
    assert parse_value(text, "--set a") == value
