"""Several labels and numbers from tables of images: trained, asked, and handed over."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from image_files import CLASSES, file_of
from PIL import Image
from typer.testing import CliRunner

from tunewise.cli.main import app
from tunewise.engine.text_model import load
from tunewise.errors import DataError
from tunewise.recipe import recipe_from
from tunewise.run import run
from tunewise.tracking.predictions import read_predictions
from tunewise.tracking.record import RunRecord

ROWS = 60
EPOCHS = {"vit": 12, "mobilenet_v2": 1}  # the second only shows that the numbers are the same
TRAIN = {"batch_size": 8, "threads": 1, "precision": "fp32", "device": "cpu", "dropout": 0}
RATES = {"vit": 3e-3, "mobilenet_v2": 3e-4}  # at 3e-3 rounding changes what the second says by 1e-3


def picture(marks: Sequence[int], seed: int) -> Image.Image:
    """Dark noise, in which the channels that are marked are brighter."""
    values = np.random.default_rng(seed).integers(0, 90, (18, 20, 3), dtype=np.uint8)
    return Image.fromarray(values + np.array(marks, dtype=np.uint8) * 120)


def greyness(share: float, seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 40, (18, 20, 3))
    return Image.fromarray((values + 200 * share).astype(np.uint8))


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, Path]:
    """`labels`: CSV with paths and labels in a cell; `columns`: Parquet with bytes and a column for each label;
    `number`: JSONL with paths and how bright the image is, in percent."""
    folder, rng = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    (folder / "files").mkdir()
    marks = rng.integers(0, 2, (ROWS, 3))
    shares = rng.uniform(size=ROWS).round(3)
    labels, numbers, files = [["file", "shown"]], [], []
    for row, (mark, share) in enumerate(zip(marks, shares, strict=True)):
        files.append(file_of(picture(mark, row)))
        (folder / "files" / f"l{row}.png").write_bytes(files[-1])
        (folder / "files" / f"n{row}.png").write_bytes(file_of(greyness(share, row)))
        labels.append([f"files/l{row}.png", "|".join(np.array(CLASSES)[mark == 1])])
        numbers.append(json.dumps({"photo": f"files/n{row}.png", "bright": 100 * share}))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(labels)
    (folder / "numbers.jsonl").write_text("\n".join(numbers) + "\n")
    columns = {"picture": files, **{name: marks[:, place].tolist() for place, name in enumerate(CLASSES)}}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "columns.parquet")
    return {"labels": folder / "labels.csv", "columns": folder / "columns.parquet", "number": folder / "numbers.jsonl"}


@pytest.fixture(scope="module")
def trained(tables, tiny_model, tmp_path_factory) -> Callable[..., tuple[Path, RunRecord]]:
    """`trained(table, method, family)`: the folder and record of a run, made once."""
    data = {
        "labels": {"image": "file", "label": "shown", "label_separator": "|", "task": "multilabel"},
        "columns": {"label": list(CLASSES)},
        "number": {"image": "photo", "label": "bright", "task": "regression"},
    }
    made: dict[Any, tuple[Path, RunRecord]] = {}

    def make(table: str, method: str, family: str = "vit") -> tuple[Path, RunRecord]:
        if (table, method, family) not in made:
            out = tmp_path_factory.mktemp(f"{table}-{method}") / "out"
            recipe = {
                "model": str(tiny_model(family)),
                "method": {method: {"learning_rate": RATES[family]} if method == "full" else {}},
                "data": {"train": str(tables[table]), **data[table]},
                "train": {**TRAIN, "epochs": EPOCHS[family]},
                "evaluate": {"resamples": 100},
            }
            made[table, method, family] = out, run(recipe_from(recipe), out, folder=out.parent)
        return made[table, method, family]

    return make


def asked(table: str) -> list[Image.Image]:
    """Images that no run has seen."""
    if table == "number":
        return [greyness(share, 900) for share in (0.1, 0.5, 0.9)]
    return [picture(mark, 900) for mark in ((1, 0, 0), (0, 1, 1), (0, 0, 0), (1, 1, 1))]


@pytest.mark.parametrize("method", ["features", "full"])
def test_several_labels(trained, method):
    out, record = trained("labels", method)
    said = read_predictions(out, "test")
    assert said.scores.shape == (len(said.targets), 3) and record.scores["test"]["f1_micro"].value >= 0.85
    model = load(out)
    assert model.labels == tuple(sorted(CLASSES))
    rows = [set(row["labels"]) for row in model.predict(asked("labels"))]
    assert rows == [{"red"}, {"green", "blue"}, set(), set(CLASSES)]


def test_columns_of_0_and_1_and_bytes(trained):
    out, record = trained("columns", "features")
    assert record.scores["test"]["f1_micro"].value >= 0.85 and load(out).labels == CLASSES


@pytest.mark.parametrize("method", ["features", "full"])
def test_numbers(trained, method):
    out, record = trained("number", method)
    assert record.scores["test"]["spearman"].value >= 0.9 and record.scores["test"]["mae"].value < 12
    model = load(out)
    values = [row["value"] for row in model.predict(asked("number"))]
    assert np.allclose(values, (10, 50, 90), atol=20) and values == sorted(values)


@pytest.mark.parametrize("family", ["vit", "mobilenet_v2"])
@pytest.mark.parametrize("table", ["labels", "number"])
def test_transformers_says_the_same_of_the_folder(trained, table, family):
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    out, _ = trained(table, "full", family)
    processor = AutoImageProcessor.from_pretrained(out / "model")
    model = AutoModelForImageClassification.from_pretrained(out / "model").eval()
    with torch.no_grad():
        logits = model(**processor(asked(table), return_tensors="pt")).logits
    if table == "labels":
        assert model.config.problem_type == "multi_label_classification"
        assert [model.config.id2label[place] for place in range(3)] == sorted(CLASSES)
    else:
        assert model.config.problem_type == "regression"
    theirs = logits.sigmoid().numpy() if table == "labels" else logits[:, 0].numpy()
    assert np.abs(load(out).scores(asked(table)) - theirs).max() < (1e-5 if table == "labels" else 1e-3)


def test_the_pipeline_gives_the_probability_of_each_label(trained):
    from transformers import pipeline

    out, _ = trained("labels", "full")
    (image, *_), classifier = asked("labels"), pipeline("image-classification", str(out / "model"))
    said = {entry["label"]: entry["score"] for entry in classifier(image)}
    assert np.abs(load(out).scores([image])[0] - [said[label] for label in sorted(CLASSES)]).max() < 1e-5


@pytest.mark.parametrize("table", ["labels", "number"])
def test_predict_and_evaluate_of_a_table(trained, tables, tmp_path, table):
    out, _ = trained(table, "full")

    def said(*arguments: Any) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    said("predict", out, "--data", tables[table], "--out", tmp_path / "p.csv")
    rows, model = list(csv.DictReader((tmp_path / "p.csv").open())), load(out)
    files = [tables[table].parent / "files" / f"{table[0]}{row}.png" for row in range(ROWS)]
    scores = model.scores(files)
    if table == "labels":
        written = np.array([[float(row[f"p({name})"]) for name in model.labels] for row in rows])
    else:
        written = np.array([float(row["prediction"]) for row in rows])
    assert np.abs(written - scores).max() < (1e-4 if table == "labels" else 1e-2)
    found = json.loads(said("evaluate", out, "--data", tables[table], "--json"))
    assert found["rows"] == ROWS


def test_a_folder_of_classes_has_one_label_for_each_image(tables, tiny_model, tmp_path):
    (tmp_path / "photos" / "red").mkdir(parents=True)
    (tmp_path / "photos" / "red" / "a.png").write_bytes(file_of(picture((1, 0, 0), 1)))
    recipe = {"model": str(tiny_model("vit")), "data": {"train": str(tmp_path / "photos"), "task": "regression"}}
    with pytest.raises(DataError, match="red"):
        run(recipe_from({**recipe, "method": "head"}), tmp_path / "out", folder=tmp_path)
