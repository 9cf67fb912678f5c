"""Recipes that cannot be read, or do not say what was meant."""

from __future__ import annotations

from typing import Any

from case import Arguments, Case, Desk, error, rows

from tunewise.recipe import Recipe, load_recipe

SOUND = """\
model: {model}
data:
  train: data.csv
  label: label
train:
  max_steps: 1
"""


def given(desk: Desk, *changes: tuple[str, str]) -> Arguments:
    """`tunewise train` with the sound recipe, with these changes, on sound rows."""
    desk.write("data.csv", rows())
    text = SOUND
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return desk.recipe(text.replace("{model}", str(desk.model)))


def changed(before: str, after: str) -> Any:
    return lambda desk: given(desk, (before, after))


def loaded(desk: Desk) -> Recipe:
    return load_recipe(desk.folder / "recipe.yaml")


def reads_1e_5(desk: Desk) -> None:
    assert loaded(desk).train.learning_rate == 1e-5


def reads_no_as_text(desk: Desk) -> None:
    assert loaded(desk).data.labels == ["no", "yes"]
    assert desk.data().schema.labels == ("no", "yes")


def alias_bomb(desk: Desk) -> Arguments:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    return desk.recipe("\n".join(lines))


CASES = (
    Case(
        "empty recipe",
        "no bytes",
        lambda desk: desk.recipe(""),
        error(
            "the recipe is empty",
            "{folder}/recipe.yaml",
            "give at least model, data.train and data.label; see docs/recipe.md",
        ),
    ),
    Case(
        "empty recipe",
        "only a comment",
        lambda desk: desk.recipe("# to be written\n"),
        error(
            "the recipe is empty",
            "{folder}/recipe.yaml",
            "give at least model, data.train and data.label; see docs/recipe.md",
        ),
    ),
    Case(
        "tab indent",
        "a key",
        changed("  train:", "\ttrain:"),
        error("the line is indented with a tab", "{folder}/recipe.yaml:3", "YAML indents with spaces: use two"),
    ),
    Case(
        "tab indent",
        "a second key",
        changed("  label:", "\tlabel:"),
        error("the line is indented with a tab", "{folder}/recipe.yaml:4", "YAML indents with spaces: use two"),
    ),
    Case(
        "duplicate key",
        "in a section",
        changed("  max_steps: 1", "  max_steps: 1\n  max_steps: 2"),
        error("the key `max_steps` is given twice, first in line 6", "{folder}/recipe.yaml:7", "keep one of the two"),
    ),
    Case(
        "duplicate key",
        "a whole section",
        changed("train:\n  max", "data: {}\ntrain:\n  max"),
        error("the key `data` is given twice, first in line 2", "{folder}/recipe.yaml:5", "keep one of the two"),
    ),
    Case(
        "unknown key",
        "a typo",
        changed("max_steps", "max_step"),
        error("{folder}/recipe.yaml:6: train.max_step: there is no such key", fix="did you mean `max_steps`?"),
    ),
    Case(
        "unknown key",
        "of another tool",
        changed("max_steps: 1", "lr: 1"),
        error("{folder}/recipe.yaml:6: train.lr: there is no such key", fix="did you mean `learning_rate`?"),
    ),
    Case(
        "unknown key",
        "in the wrong section",
        changed("max_steps: 1", "label_smoothing: 0.1"),
        error(
            "{folder}/recipe.yaml:6: train.label_smoothing: there is no such key",
            fix="it belongs to `objective`, as `objective.label_smoothing`",
        ),
    ),
    Case(
        "unknown key",
        "of a method",
        changed("train:\n", "methods: [{lora: {rnk: 8}}]\ntrain:\n"),
        error("{folder}/recipe.yaml:5: methods.0.lora.rnk: there is no such key", fix="did you mean `rank`?"),
    ),
    Case(
        "unknown key",
        "two at once",
        changed("max_steps: 1", "epoch: 1\n  lr: 1"),
        error(
            "{folder}/recipe.yaml has 2 problems:\n"
            "  {folder}/recipe.yaml:6: train.epoch: there is no such key; did you mean `epochs`?\n"
            "  {folder}/recipe.yaml:7: train.lr: there is no such key; did you mean `learning_rate`?"
        ),
    ),
    Case(
        "1e-5 read as a string",
        "without a point",
        changed("max_steps: 1", "max_steps: 1\n  learning_rate: 1e-5"),
        read_as="the number 0.00001, as YAML 1.2 has it",
        proof=reads_1e_5,
    ),
    Case(
        "1e-5 read as a string",
        "in quotes",
        changed("max_steps: 1", "max_steps: 1\n  learning_rate: '1e-5'"),
        read_as="the number 0.00001",
        proof=reads_1e_5,
    ),
    Case(
        "1e-5 read as a string",
        "no number at all",
        changed("max_steps: 1", "max_steps: 1\n  learning_rate: 1e-5x"),
        error(
            "{folder}/recipe.yaml:7: train.learning_rate: expected a number, above 0; came the text '1e-5x'",
            fix="correct the value, or leave the key out",
        ),
    ),
    Case(
        "no read as false",
        "a class called no",
        changed("label: label", "label: label\n  labels: [no, yes]"),
        read_as="the text `no`, as YAML 1.2 has it",
        proof=reads_no_as_text,
    ),
    Case(
        "no read as false",
        "a word where true or false is meant",
        changed("label: label", "label: label\n  header: nope"),
        error(
            "{folder}/recipe.yaml:5: data.header: expected true or false; came the text 'nope'",
            fix="correct the value, or leave the key out: the default is true",
        ),
    ),
    Case(
        "no read as false",
        "false as a class",
        changed("label: label", "label: label\n  labels: [false, true]"),
        error(
            "{folder}/recipe.yaml has 2 problems:\n"
            "  {folder}/recipe.yaml:5: data.labels.0: expected text; came false; put it in quotes to make it text\n"
            "  {folder}/recipe.yaml:5: data.labels.1: expected text; came true; put it in quotes to make it text"
        ),
    ),
    Case(
        "NaN or infinite learning rate",
        "NaN",
        changed("max_steps: 1", "learning_rate: .nan"),
        error(
            "{folder}/recipe.yaml:6: train.learning_rate: expected a number, above 0; came the number nan",
            fix="correct the value, or leave the key out",
        ),
    ),
    Case(
        "NaN or infinite learning rate",
        "infinite",
        changed("max_steps: 1", "learning_rate: .inf"),
        error(
            "{folder}/recipe.yaml:6: train.learning_rate: expected a number, above 0; came the number inf",
            fix="correct the value, or leave the key out",
        ),
    ),
    Case(
        "NaN or infinite learning rate",
        "so large that it is infinite",
        changed("max_steps: 1", "learning_rate: 1e999"),
        error(
            "{folder}/recipe.yaml:6: train.learning_rate: expected a number, above 0; came the number inf",
            fix="correct the value, or leave the key out",
        ),
    ),
    Case(
        "NaN or infinite learning rate",
        "of a method",
        changed("train:\n", "methods: [{lora: {learning_rate: .nan}}]\ntrain:\n"),
        error(
            "{folder}/recipe.yaml:5: methods.0.lora.learning_rate: expected a number, above 0; came the number nan",
            fix="correct the value, or leave the key out",
        ),
    ),
    Case(
        "negative batch size",
        "-1",
        changed("max_steps: 1", "batch_size: -1"),
        error(
            "{folder}/recipe.yaml:6: train.batch_size: expected a whole number, at least 1; came the number -1",
            fix="correct the value, or leave the key out: the default is 16",
        ),
    ),
    Case(
        "negative batch size",
        "0",
        changed("max_steps: 1", "batch_size: 0"),
        error(
            "{folder}/recipe.yaml:6: train.batch_size: expected a whole number, at least 1; came the number 0",
            fix="correct the value, or leave the key out: the default is 16",
        ),
    ),
    Case(
        "negative batch size",
        "a fraction",
        changed("max_steps: 1", "batch_size: 1.5"),
        error(
            "{folder}/recipe.yaml:6: train.batch_size: expected a whole number, at least 1; came the number 1.5",
            fix="correct the value, or leave the key out: the default is 16",
        ),
    ),
    Case(
        "negative batch size",
        "true",
        changed("max_steps: 1", "batch_size: true"),
        error(
            "{folder}/recipe.yaml:6: train.batch_size: expected a number; came true",
            fix="correct the value, or leave the key out: the default is 16",
        ),
    ),
    Case(
        "epochs and max_steps",
        "in the file",
        changed("max_steps: 1", "max_steps: 1\n  epochs: 2"),
        error("{folder}/recipe.yaml:5: train: give either epochs or max_steps, not both"),
    ),
    Case(
        "epochs and max_steps",
        "one by --set",
        lambda desk: [*given(desk), "--set", "train.epochs=2"],
        error("--set train.epochs=2: train: give either epochs or max_steps, not both"),
    ),
    Case(
        "alias bomb",
        "nine levels of nine",
        alias_bomb,
        error(
            "expected at most 100 uses of aliases (*) and 100,000 values; came more",
            "{folder}/recipe.yaml:1",
            "write the values out, once each",
        ),
    ),
    Case(
        "alias bomb",
        "an alias inside itself",
        lambda desk: desk.recipe("data: &a {train: *a}\n"),
        error("an alias (*) stands inside what it stands for", "{folder}/recipe.yaml:1", "write the values out"),
    ),
    Case(
        "recipe not UTF-8",
        "Latin-1",
        lambda desk: desk.recipe("model: m\ndata: {train: café.csv}\n".encode("latin-1")),
        error("expected text in UTF-8; came the byte 0xe9", "{folder}/recipe.yaml:2", "save the recipe as UTF-8"),
    ),
    Case(
        "recipe not UTF-8",
        "UTF-16",
        lambda desk: desk.recipe("model: m\n".encode("utf-16")),
        error("expected text in UTF-8; came the byte 0xff", "{folder}/recipe.yaml:1", "save the recipe as UTF-8"),
    ),
    Case(
        "recipe not UTF-8",
        "a picture",
        lambda desk: desk.recipe(b"\x89PNG\r\n\x1a\n\x00\x00"),
        error("expected text in UTF-8; came the byte 0x89", "{folder}/recipe.yaml:1", "save the recipe as UTF-8"),
    ),
    Case(
        "unset ${ENV}",
        "a path",
        changed("data.csv", "${TUNEWISE_UNSET}/data.csv"),
        error(
            "the environment variable TUNEWISE_UNSET is not set",
            "{folder}/recipe.yaml:3",
            "set it (export TUNEWISE_UNSET=...); for the text itself, write $${TUNEWISE_UNSET}",
        ),
    ),
    Case(
        "unset ${ENV}",
        "no name",
        changed("data.csv", "${my folder}/data.csv"),
        error(
            "`${my folder}` does not name an environment variable",
            "{folder}/recipe.yaml:3",
            "for the text itself, write $${my folder}",
        ),
    ),
)
