"""The look at a file, and the recipe that is drafted from it."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from tunewise.config.yaml_file import read_yaml
from tunewise.data.draft import draft_recipe, scalar
from tunewise.data.inspect import describe_file
from tunewise.data.prepare import prepare
from tunewise.errors import DataError, RecipeError
from tunewise.recipe import Recipe

PROSE = ["where is my parcel now", "thank you so very much", "that is not what I asked for", "it broke at once"]


def rows(count: int) -> list[tuple[str, str]]:
    return [(f"{PROSE[n % 4]} {n}", ("yes", "no")[n % 2]) for n in range(count)]


def loaded(text: str) -> Recipe:
    return Recipe.model_validate(yaml.safe_load(text))


def test_the_example_is_drafted_and_every_option_explained():
    text = draft_recipe("example:customer-messages", "some/model")
    recipe = loaded(text)
    assert (recipe.model, recipe.data.text, recipe.data.label) == ("some/model", "text", "intent")
    assert "# Column with the label or the number to predict." in text
    assert "'urgency', 'region'" in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_all_other_options_follow_commented_out_with_their_defaults():
    text = draft_recipe("example:customer-messages", "m", Recipe)
    bare = draft_recipe("example:customer-messages", "m")
    assert text.startswith(bare)
    rest = text.removeprefix(bare).split("defaults.", 1)[1]
    assert all(line.startswith("#") for line in rest.splitlines() if line)
    uncommented = "\n".join(line.removeprefix("# ") for line in rest.splitlines())
    assert set(yaml.safe_load(uncommented)) == set(Recipe.model_fields) - {"model", "models", "data", "method"}
    assert loaded(bare + uncommented) == loaded(bare)
    assert "Rows per forward pass" in rest


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.csv", "message;kind\n{rows}", {"delimiter": ";", "text": "message", "label": "kind"}),
        ("a.tsv", "message\tkind\n{rows}", {"text": "message", "label": "kind"}),
        ("rows", "message\tkind\n{rows}", {"format": "tsv", "text": "message", "label": "kind"}),
        ("a.txt", "{rows}", {"format": "csv", "header": False, "text": 0, "label": 1}),
    ],
)
def test_what_a_file_needs_to_be_read_is_found(tmp_path, name, data, expected):
    mark = {"a.csv": ";", "a.tsv": "\t", "rows": "\t", "a.txt": ","}[name]
    body = "".join(f"{text} and some more words{mark}{label}\n" for text, label in rows(30))
    (tmp_path / name).write_text(data.format(rows=body))
    drafted = yaml.safe_load(draft_recipe(name, "m", folder=tmp_path))["data"]
    assert drafted == {"train": name, **expected}
    assert len(prepare(loaded(draft_recipe(name, "m", folder=tmp_path)).data, tmp_path).splits["train"]) > 10


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_the_encoding_is_found(tmp_path, encoding):
    body = "text,label\n" + "".join(f"café {text},{label}\n" for text, label in rows(2000))
    (tmp_path / "a.csv").write_bytes(body.encode(encoding))
    described = describe_file("a.csv", tmp_path)
    assert described.options == ({} if encoding == "utf-8-sig" else {"encoding": encoding})
    assert described.columns[0].examples[0].startswith("café where")


def test_pairs_by_name_and_by_likeness(tmp_path):
    lines = [
        json.dumps({"id": n, "premise": f"{a} {n}", "hypothesis": f"{b} {n}", "gold": "xy"[n % 2]})
        for n, (a, b) in enumerate([(PROSE[0], PROSE[1])] * 30)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    described = describe_file("a.jsonl", tmp_path)
    assert (described.text, described.label) == (("premise", "hypothesis"), "gold")
    assert [column.kind for column in described.columns] == ["numbering", "text", "text", "names"]
    (tmp_path / "b.tsv").write_text("".join(f"{n}\t{PROSE[0]} {n}\t{PROSE[1]} {n}\t{n / 4}\n" for n in range(30)))
    drafted = yaml.safe_load(draft_recipe("b.tsv", "m", folder=tmp_path))["data"]
    assert drafted == {"train": "b.tsv", "header": False, "text": [1, 2], "label": 3}


def test_a_file_without_text_or_label(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,a\n2,b\n3,a\n")
    with pytest.raises(DataError, match="no column looks like text; the columns are 'x', 'y'"):
        draft_recipe("a.csv", "m", folder=tmp_path)
    (tmp_path / "a.csv").write_text("message\n" + "".join(f"{text}\n" for text, _ in rows(30)))
    with pytest.raises(DataError, match="no column looks like a label"):
        draft_recipe("a.csv", "m", folder=tmp_path)
    with pytest.raises(DataError, match=r"no file 'b\.csv'"):
        draft_recipe("b.csv", "m", folder=tmp_path)
    with pytest.raises(DataError, match="not a path"):
        draft_recipe("b" * 5000, "m", folder=tmp_path)


@pytest.mark.parametrize(
    "name",
    ["no", "1e-5", "0o7", "null", "a: b", "# x", "ünï 😀", "a\nb", "'", '"', "\u2028", "", " a ", "-", "${A}", "[x]"],
)
def test_any_name_comes_back_from_both_yaml_rules(tmp_path, name):
    text = f"x: {scalar([name])}\n"
    assert yaml.safe_load(text) == {"x": [name.replace("${", "$${")]}
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    assert read_yaml(tmp_path / "r.yaml").data == {"x": [name]}


def test_odd_column_names_make_a_valid_recipe(tmp_path):
    text, label = "no: #\u2028", "1e3\n- x"
    lines = [json.dumps({text: row, label: kind, "a\x1bb": kind}) for row, kind in rows(30)]
    (tmp_path / "odd #.jsonl").write_text("\n".join(lines))
    recipe = loaded(draft_recipe("odd #.jsonl", "m", folder=tmp_path))
    assert (recipe.data.train, recipe.data.text) == ("odd #.jsonl", text)
    assert recipe.data.label in (label, "a\x1bb")


def picture(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), colour).save(path)
    return path


def test_a_folder_of_images_with_its_splits(tmp_path):
    for split, count in (("train", 12), ("val", 1)):
        for kind in ("red", "blue"):
            for number in range(count):
                picture(tmp_path / "photos" / split / kind / f"{number}.png", (number, 40, 200))
    text = draft_recipe("photos", "m", folder=tmp_path)
    drafted = loaded(text).data
    assert (drafted.train, drafted.validation, drafted.test) == ("photos@train", "photos@val", None)
    assert "24 images of 2 classes: blue (12), red (12)." in text
    assert len(prepare(drafted, tmp_path).splits["validation"]) == 2


def test_images_without_classes_are_to_be_drawn(tmp_path):
    for number in range(30):
        picture(tmp_path / "photos" / f"{number}.png", (number, 40, 200))
    drafted = loaded(draft_recipe("photos", "m", folder=tmp_path)).data
    assert (drafted.train, drafted.task) == ("photos", "image_generation")
    assert prepare(drafted, tmp_path).schema.task == "image_generation"


@pytest.mark.parametrize("kind", ["paths", "bytes"])
def test_a_table_of_images(tmp_path, kind):
    files = [picture(tmp_path / f"{number}.png", (number, 40, 200)) for number in range(30)]
    cells = [file.name if kind == "paths" else file.read_bytes() for file in files]
    pq.write_table(pa.table({"n": range(30), "file": cells, "colour": ["a", "b"] * 15}), tmp_path / "t.parquet")
    drafted = yaml.safe_load(draft_recipe("t.parquet", "m", folder=tmp_path))["data"]
    assert drafted == {"train": "t.parquet", "image": "file", "label": "colour"}
    made = prepare(loaded(draft_recipe("t.parquet", "m", folder=tmp_path)).data, tmp_path)
    assert made.schema.labels == ("a", "b")


def test_a_table_of_texts_that_names_images_too_is_one_of_texts(tmp_path):
    lines = [json.dumps({"message": text, "shot": f"{n}.png", "ok": kind}) for n, (text, kind) in enumerate(rows(30))]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    drafted = yaml.safe_load(draft_recipe("a.jsonl", None, folder=tmp_path, usual="usual"))
    assert drafted["model"] == "usual" and drafted["data"] == {"train": "a.jsonl", "text": "message", "label": "ok"}


def test_where_no_model_is_named_the_usual_one_is_for_texts_with_labels_alone(tmp_path):
    assert "model: usual" in draft_recipe("example:customer-messages", None, usual="usual")
    picture(tmp_path / "photos" / "a" / "1.png", (1, 2, 3))
    with pytest.raises(RecipeError, match="no model is named for these rows: images"):
        draft_recipe("photos", None, folder=tmp_path, usual="usual")
    (tmp_path / "a.jsonl").write_text('{"prompt": "Who is it?", "completion": "It is me."}\n' * 3)
    with pytest.raises(RecipeError, match="no model is named for these rows: prompts"):
        draft_recipe("a.jsonl", None, folder=tmp_path, usual="usual")
