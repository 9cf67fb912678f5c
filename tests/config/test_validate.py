"""Validation: one error with every problem, each at its line, in plain English."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError, field_validator, model_validator

from tunewise.config.base import Config
from tunewise.config.problems import InvalidOptions
from tunewise.config.validate import validate
from tunewise.config.yaml_file import read_yaml
from tunewise.errors import MethodError, RecipeError


class Inner(Config):
    rank: int = Field(default=1, ge=1)
    """How many."""


class Choice(Config):
    """A thing with its options. More."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) == 1 and "name" not in value:
            ((name, options),) = value.items()
            return {"name": name, "options": options}
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _checked(self) -> Choice:
        try:
            Inner.model_validate(self.options)
        except ValidationError as error:
            raise InvalidOptions(Inner, error) from error
        return self


class Section(Config):
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the rows. And more."""

    learning_rate: float = Field(default=0.1, gt=0, le=1)

    schedule: Literal["linear", "cosine"] = "linear"

    flag: bool = True

    names: list[str] = Field(default_factory=list)

    column: str | int | list[str | int] | None = None

    mark: str | None = Field(default=None, min_length=1, max_length=1)

    weights: Literal["balanced"] | dict[str, float] | None = None


class Other(Config):
    smoothing: float = 0.0

    @field_validator("smoothing")
    @classmethod
    def _not_seven(cls, value: float) -> float:
        if value == 7:
            raise ValueError(MethodError("seven is taken", fix="take eight"))
        if value == 6:
            raise ValueError("six is not allowed")
        return value


class Whole(Config):
    model: str
    """Which model. It may be long."""

    train: Section = Section()

    other: Other = Other()

    things: list[Choice] = Field(default_factory=list)

    seeds: int | list[int] = 3


def problems(tmp_path, text: str) -> RecipeError:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    located = read_yaml(path)
    with pytest.raises(RecipeError) as caught:
        validate(Whole, located.data, located, "r.yaml")
    return caught.value


CASES = [
    ("train: {}", "", "model: expected text; it is not there", "Which model"),
    ("model: 5", ":1", "model: expected text; came the number 5", "quotes"),
    ("model: true", ":1", "model: expected text; came true", "quotes"),
    ("model:", ":1", "model: expected text; came nothing", "remove the key"),
    ("model: [a]", ":1", "model: expected text; came a list of 1", "correct the value"),
    ("model: m\ntrain: [1]", ":2", "train: expected a section of keys; came a list of 1", "correct the value"),
    ("model: m\ntrain:", ":2", "train: expected a section of keys; came nothing", "remove the key"),
    (
        "model: m\ntrain:\n  epochs: 0",
        ":3",
        "train.epochs: expected a number, above 0; came the number 0",
        "or leave the key out",
    ),
    (
        "model: m\ntrain:\n  epochs: .nan",
        ":3",
        "train.epochs: expected a number, above 0; came the number nan",
        "correct the value",
    ),
    (
        "model: m\ntrain:\n  epochs: .inf",
        ":3",
        "train.epochs: expected a number, above 0; came the number inf",
        "correct the value",
    ),
    (
        "model: m\ntrain: {epochs: x}",
        ":2",
        "train.epochs: expected a number, above 0; came the text 'x'",
        "correct the value",
    ),
    ("model: m\ntrain: {epochs: true}", ":2", "train.epochs: expected a number; came true", "correct the value"),
    (
        "model: m\ntrain: {learning_rate: 2}",
        ":2",
        "train.learning_rate: expected a number, above 0, at most 1; came the number 2",
        "correct the value, or leave the key out: the default is 0.1",
    ),
    (
        "model: m\ntrain: {schedule: cosin}",
        ":2",
        "train.schedule: expected one of linear, cosine; came the text 'cosin'",
        "did you mean cosine?",
    ),
    (
        "model: m\ntrain: {flag: maybe}",
        ":2",
        "train.flag: expected true or false; came the text 'maybe'",
        "correct the value",
    ),
    ("model: m\ntrain: {names: a}", ":2", "train.names: expected a list (each item text); came the text 'a'", "[a]"),
    ("model: m\ntrain:\n  names:\n  - a\n  - 2", ":5", "train.names.1: expected text; came the number 2", "quotes"),
    (
        "model: m\ntrain: {column: {a: 1, b: 2, c: 3, d: 4}}",
        ":2",
        "train.column: expected text or a whole number or a list (each item text or a whole number); "
        "came a section with the keys a, b, c, ...",
        "correct the value",
    ),
    (
        "model: m\ntrain:\n  column:\n  - a\n  - 1.5",
        ":5",
        "train.column.1: expected text or a whole number; came the number 1.5",
        "quotes",
    ),
    (
        "model: m\ntrain: {mark: ab}",
        ":2",
        "train.mark: expected text, of length 1 at least, of length 1 at most; came the text 'ab'",
        "correct the value",
    ),
    (
        "model: m\ntrain: {weights: balancd}",
        ":2",
        "train.weights: expected balanced or keys (each with a number); came the text 'balancd'",
        "did you mean balanced?",
    ),
    (
        "model: m\ntrain:\n  weights:\n    no: x",
        ":4",
        "train.weights.no: expected a number; came the text 'x'",
        "correct the value",
    ),
    ("model: m\nseeds: [1, x]", ":2", "seeds.1: expected a whole number; came the text 'x'", "correct the value"),
    ("model: m\nother: {smoothing: 6}", ":2", "other.smoothing: six is not allowed", "correct the value"),
    ("model: m\nother: {smoothing: 7}", ":2", "other.smoothing: seven is taken", "take eight"),
    ("model: m\ntrain:\n  lr: 1", ":3", "train.lr: there is no such key", "did you mean `learning_rate`?"),
    ("model: m\ntrain:\n  epochz: 1", ":3", "train.epochz: there is no such key", "did you mean `epochs`?"),
    ("model: m\ntrain:\n  smoothing: 1", ":3", "train.smoothing: there is no such key", "it belongs to `other`"),
    ("model: m\ntrain:\n  seeds: 1", ":3", "train.seeds: there is no such key", "`seeds` belongs at the top"),
    ("model: m\nlr: 1", ":2", "lr: there is no such key", "it belongs to `train`, as `train.learning_rate`"),
    ("model: m\nLearning-Rate: 1", ":2", "Learning-Rate: there is no such key", "`train.learning_rate`"),
    ("model: m\nsmothing: 1", ":2", "smothing: there is no such key", "did you mean `other.smoothing`?"),
    ("model: m\nother:\n  zzz: 1", ":3", "other.zzz: there is no such key", "the keys here are smoothing"),
    (
        "model: m\nthings:\n- a\n- lora:\n    rank: 0",
        ":5",
        "things.1.lora.rank: expected a whole number, at least 1; came the number 0",
        "correct the value",
    ),
    ("model: m\nthings:\n- lora:\n    rnk: 0", ":4", "things.0.lora.rnk: there is no such key", "did you mean `rank`?"),
    (
        "model: m\nthings:\n- name: lora\n  options:\n    r: 0",
        ":5",
        "things.0.options.r: there is no such key",
        "did you mean `rank`?",
    ),
    (
        "model: m\nthings:\n- lora:\n    epochs: 0",
        ":4",
        "things.0.lora.epochs: there is no such key",
        "it belongs to `train`, as `train.epochs`",
    ),
    (
        "model: m\nthings:\n- lora: 5",
        ":3",
        "things.0.lora: expected keys with values; came the number 5",
        "correct the value",
    ),
    (
        "model: m\nthings: lora",
        ":2",
        "things: expected a list (each item a thing with its options); came the text 'lora'",
        "[lora]",
    ),
]


@pytest.mark.parametrize(("text", "line", "what", "hint"), CASES, ids=[each[2] for each in CASES])
def test_one_problem_is_named_with_its_line(tmp_path, text, line, what, hint):
    error = problems(tmp_path, text)
    place = f"{tmp_path / 'r.yaml'}{line}"
    assert error.what == f"{place}: {what}"
    assert hint in error.fix


def test_all_problems_are_listed_in_the_order_of_the_file(tmp_path):
    error = problems(tmp_path, "train:\n  lr: 1\n  epochs: -1\nmodel: 3\nthings:\n- lora: {rank: 0, r: 1}\n")
    file = tmp_path / "r.yaml"
    assert error.what.splitlines() == [
        "r.yaml has 5 problems:",
        f"  {file}:2: train.lr: there is no such key; did you mean `learning_rate`?",
        f"  {file}:3: train.epochs: expected a number, above 0; came the number -1; correct the value, or leave "
        "the key out",
        f"  {file}:4: model: expected text; came the number 3; put it in quotes to make it text",
        f"  {file}:6: things.0.lora.rank: expected a whole number, at least 1; came the number 0; "
        "correct the value, or leave the key out: the default is 1",
        f"  {file}:6: things.0.lora.r: there is no such key; did you mean `rank`?",
    ]


def test_speaks_no_pydantic(tmp_path):
    for text, *_ in CASES:
        said = str(problems(tmp_path, text)).replace(str(tmp_path), "").lower()
        assert not [word for word in ("pydantic", "http", "validation", "input should", "type=") if word in said]


def test_a_mapping_without_a_file_is_named_by_its_source():
    with pytest.raises(RecipeError, match=r"^my recipe: train\.lr: there is no such key"):
        validate(Whole, {"model": "m", "train": {"lr": 1}}, source="my recipe")


def test_a_key_that_is_no_text():
    with pytest.raises(RecipeError, match=r"train\.weights\.1: expected text as a key; came the number 1"):
        validate(Whole, {"model": "m", "train": {"weights": {1: 2.0}}})
    with pytest.raises(RecipeError, match="1: there is no such key"):
        validate(Whole, {"model": "m", 1: 2})


def test_long_text_is_shortened():
    with pytest.raises(RecipeError) as caught:
        validate(Whole, {"model": "m", "train": {"epochs": "x" * 500}})
    assert "x" * 57 + "...'" in caught.value.what
    assert len(caught.value.what) < 200


def test_gives_the_config_where_all_is_well(tmp_path):
    (tmp_path / "r.yaml").write_text("model: m\ntrain: {flag: no, epochs: 1e1}\nthings: [a, lora: {rank: 3}]\n")
    located = read_yaml(tmp_path / "r.yaml")
    made = validate(Whole, located.data, located, "r.yaml")
    assert made.train.flag is False
    assert made.train.epochs == 10
    assert made.things == [Choice(name="a"), Choice(name="lora", options={"rank": 3})]
