"""Whole runs on images: trained, resumed, asked, handed over, compared."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import CLASSES, file_of, noise, write_photos
from PIL import Image
from typer.testing import CliRunner

from tunewise.cli.main import app
from tunewise.cli.on_the_spot import out_of, recipe_of
from tunewise.commit import default_cache
from tunewise.engine.events import Observer
from tunewise.engine.text_model import ImageModel, load
from tunewise.errors import DataError, Interrupted, MethodError, ModelError, RecipeError
from tunewise.recipe import recipe_from
from tunewise.run import run
from tunewise.tracking.predictions import read_predictions
from tunewise.tracking.record import RunRecord

TRAIN = {"epochs": 6, "batch_size": 8, "threads": 1, "precision": "fp32", "device": "cpu", "learning_rate": 2e-3}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return write_photos(tmp_path_factory.mktemp("images") / "photos")


@pytest.fixture(scope="module")
def recipe(photos, tiny_model) -> Callable[..., Any]:
    def make(method: Any = "head", family: str = "vit", **sections: Any) -> Any:
        whole = {
            "model": str(tiny_model(family)),
            "method": method,
            "data": {"train": f"{photos}@train", "validation": f"{photos}@val", "test": f"{photos}@test"},
            "train": {**TRAIN, **sections.pop("train", {})},
            "evaluate": {"resamples": 100},
        }
        return recipe_from({**whole, **sections})

    return make


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory) -> Callable[[str], tuple[Path, RunRecord]]:
    """`trained(method)`: the folder and record of a run, made once."""
    made: dict[str, tuple[Path, RunRecord]] = {}

    def make(method: str) -> tuple[Path, RunRecord]:
        if method not in made:
            out = tmp_path_factory.mktemp(method) / "out"
            chosen = {"head": {"learning_rate": 0.1}} if method == "head" else method
            made[method] = out, run(recipe(chosen), out, folder=out.parent)
        return made[method]

    return make


def images_of(photos: Path, split: str = "test") -> list[Path]:
    return sorted((photos / split).glob("*/*"))


@pytest.mark.parametrize("method", ["features", "head", "last_k", "full", "lora"])
def test_a_run_learns_and_its_model_says_the_same(trained, photos, method):
    out, record = trained(method)
    accuracy = record.scores["test"]["accuracy"].value
    assert record.status == "finished" and accuracy >= 0.75 > 1 / 3
    model, said = load(out), read_predictions(out, "test")
    assert isinstance(model, ImageModel) and model.labels == tuple(sorted(CLASSES))
    paths = images_of(photos)
    scores = model.scores(paths)
    assert np.abs(scores - said.scores).max() < 1e-6
    as_bytes = [path.read_bytes() for path in paths]
    as_images = [Image.open(path) for path in paths]
    for rows in (list(map(str, paths)), as_bytes, as_images):
        assert np.array_equal(model.scores(rows), scores)
    assert [row["label"] for row in model.predict(paths)] == [model.labels[index] for index in said.decisions]
    assert model.scores([]).shape == (0, 3)
    with pytest.raises(DataError, match="cannot be used"):
        model.predict([paths[0], out / "none.png"])
    with pytest.raises(DataError, match="a list of images"):
        model.predict(str(paths[0]))


def test_the_pipeline_of_transformers_says_the_same(trained, photos):
    from transformers import pipeline

    out, _ = trained("full")
    classifier, model = pipeline("image-classification", str(out / "model")), load(out)
    for path, row in zip(images_of(photos), model.scores(images_of(photos)), strict=True):
        said = {entry["label"]: entry["score"] for entry in classifier(str(path))}
        assert max(abs(said[label] - score) for label, score in zip(model.labels, row, strict=True)) < 1e-5
    assert "image-classification" in (out / "model" / "README.md").read_text()
    meta = json.loads((out / "model" / "tunewise.json").read_text())
    assert (meta["format"], meta["schema"]["image"], meta["schema"]["text"]) == (5, "image", [])


def test_features_are_what_the_output_layer_reads(trained, photos, tiny_model):
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel

    out, record = trained("features")
    base = AutoModel.from_pretrained(tiny_model("vit")).eval()

    def vectors(split: str) -> np.ndarray:
        resized = [Image.open(path).resize((16, 16), Image.Resampling.BILINEAR) for path in images_of(photos, split)]
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in resized])).permute(0, 3, 1, 2) / 127.5 - 1
        with torch.no_grad():
            hidden_BTD = base(pixel_values=pixels).last_hidden_state
        return torch.nn.functional.normalize(hidden_BTD[:, 0], dim=-1).numpy()

    strength = record.plans[0]["solved"]["strength"]
    names = [path.parent.name for path in images_of(photos, "train")]
    fitted = LogisticRegression(C=strength, max_iter=5000, tol=1e-8).fit(vectors("train"), names)
    assert np.abs(fitted.predict_proba(vectors("test")) - load(out).scores(images_of(photos))).max() < 1e-3


def weights(out: Path) -> str:
    (file,) = (out / "model").glob("*.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_cache_of_the_frozen_part_changes_no_bit(recipe, trained, tmp_path):
    out, _ = trained("last_k")
    kinds = [entry.about["kind"] for entry in default_cache().entries()]
    assert "prefix" in kinds and "pixels" in kinds
    run(recipe("last_k", train={"cache": False}), tmp_path / "plain", folder=tmp_path)
    assert weights(tmp_path / "plain") == weights(out)
    said, plain = (read_predictions(folder, "test").scores for folder in (out, tmp_path / "plain"))
    assert np.abs(said - plain).max() < 1e-6


class SignalAt(Observer):
    def on_step(self, event: Any) -> None:
        if event.step == 5:
            os.kill(os.getpid(), signal.SIGINT)


def test_stopped_and_resumed_is_uninterrupted(recipe, trained, tmp_path):
    whole, _ = trained("full")
    with pytest.raises(Interrupted):
        run(recipe("full"), tmp_path / "out", folder=tmp_path, observers=[SignalAt()])
    run(recipe("full"), tmp_path / "out", folder=tmp_path, resume=True)
    assert weights(tmp_path / "out") == weights(whole)


def test_commands_predict_evaluate_and_check(trained, photos, tmp_path):
    out, _ = trained("head")
    new = tmp_path / "new"
    new.mkdir()
    (new / "=a.png").write_bytes(file_of(noise(1, bright=0)))

    def said(*arguments: Any) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    said("predict", out, "--data", new, "--out", tmp_path / "p.csv")
    (row,) = csv.DictReader((tmp_path / "p.csv").open())
    assert row["image"] == "'=a.png" and row["prediction"] in CLASSES
    said("predict", out, "--data", f"{photos}@test", "--out", tmp_path / "q.csv")
    rows = list(csv.DictReader((tmp_path / "q.csv").open()))
    assert [row["image"] for row in rows] == [
        path.relative_to(photos / "test").as_posix() for path in images_of(photos)
    ]
    scores = read_predictions(out, "test").scores
    assert (
        np.abs(np.array([[float(row[f"p({name})"]) for name in sorted(CLASSES)] for row in rows]) - scores).max() < 1e-5
    )
    found = json.loads(said("evaluate", out, "--data", f"{photos}@test", "--json"))
    assert found["rows"] == 12
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(json.loads((out / "record.json").read_text())["recipe"]))
    audit = json.loads(said("check", recipe, "--json"))
    assert audit["overview"]["splits"][0]["width"]["median"] in range(24, 29) and audit["rendered"] == []
    assert set(audit["seconds"]) == {"duplicates", "conflicting_labels", "leakage", "imbalance"}
    assert audit["left_out"]["truncation"] == "is for texts"


@pytest.mark.parametrize(
    ("sections", "where"),
    [
        ({"train": {"max_length": 16}}, "train.max_length"),
        ({"train": {"cut": "tail"}}, "train.cut"),
        ({"train": {"packing": True}}, "train.packing"),
        ({"augment": {"word_dropout": 0.1}}, "augment.word_dropout"),
        ({"augment": {"synonyms": 0.1}}, "augment.synonyms"),
        ({"check": {"language": "en"}}, "check.language"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_of_texts_are_refused_before_weights(recipe, tmp_path, sections, where):
    with pytest.raises(RecipeError) as told:
        run(recipe(**sections), tmp_path / "out", folder=tmp_path)
    assert (told.value.where, told.value.fix) == (where, "leave it out")
    assert told.value.what == f"{where} does not go with images: it is for texts; rows are images"


def test_methods_and_models_for_texts_are_refused(recipe, tiny_model, tmp_path):
    with pytest.raises(MethodError, match="for texts; the data is images"):
        run(recipe("prompt_tuning"), tmp_path / "out", folder=tmp_path)
    with pytest.raises(MethodError, match="leave out pooling"):
        run(recipe({"features": {"pooling": "first"}}), tmp_path / "out2", folder=tmp_path)
    with pytest.raises(ModelError, match="image classifier"):
        run(recipe(family="bert"), tmp_path / "out3", folder=tmp_path)


def test_a_processor_of_another_size_than_the_model_is_told(recipe, tiny_model, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_model("vit"), tmp_path / "vit")
    options = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(options))
    with pytest.raises(ModelError, match="32x32") as told:
        run(recipe(model=str(folder)), tmp_path / "out", folder=tmp_path)
    assert "preprocessor_config.json" in told.value.where


def test_a_recipe_on_the_spot(photos, tmp_path):
    made, _ = recipe_of(photos, ["train.epochs=2"], "vit", ["features"], ["head", "full"])
    assert [choice.name for choice in made.methods] == ["features", "head", "full"] and made.train.epochs == 2
    assert (made.data.train, made.data.validation, made.data.test) == tuple(
        f"{photos}@{name}" for name in ("train", "val", "test")
    )
    assert out_of(photos, None) == Path("runs/photos")
    file = tmp_path / "recipe.yaml"
    file.write_text("models: [a, b]\ndata: {train: photos}\n")
    other, folder = recipe_of(file, [], "c", ["all"])
    assert (other.model, other.models, other.methods, folder) == ("c", [], "all", tmp_path)
    other, _ = recipe_of(file, [], "#1: c", ["head", "lora"])
    assert (other.model, [choice.name for choice in other.methods]) == ("#1: c", ["head", "lora"])
    for arguments, what in (
        ((photos, [], None, ["head"]), "no model"),
        ((tmp_path, [], "vit", ["head"]), "folder without images"),
        ((photos, [], "vit", [], ["head"]), "behind the recipe"),
    ):
        (tmp_path / "photos").mkdir(exist_ok=True)
        with pytest.raises(RecipeError, match=what):
            recipe_of(*arguments)
    with pytest.raises(RecipeError, match="no folder for the results"):
        out_of(file, None)


@pytest.mark.slow
def test_compare_on_the_spot(photos, tiny_model, tmp_path):
    options = [f"train.{name}={value}" for name, value in TRAIN.items()]
    arguments = [
        "compare",
        photos,
        "--model",
        tiny_model("vit"),
        "--methods",
        "features",
        "head",
        "last_k",
        "full",
        "lora",
    ]
    arguments += ["--out", tmp_path / "out", *(part for option in ["seeds=2", *options] for part in ("--set", option))]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert {run["method"] for run in content["runs"]} >= {"features", "head", "last_k", "full", "lora"}
    assert all(run["status"] == "finished" for run in content["runs"]) and len(content["runs"]) == 11
    assert all(row["text"].endswith(".png") for row in content["disagreements"])


TEST_DATA = os.environ.get("TUNEWISE_TEST_DATA")


@pytest.mark.slow
@pytest.mark.skipif(TEST_DATA is None, reason="TUNEWISE_TEST_DATA does not name a folder of data sets")
def test_features_of_a_pretrained_mobilenet_tell_ants_from_bees(recipe, tmp_path):
    model = Path(TEST_DATA) / "models" / "mobilenet_v2_1.0_224"
    data = Path(TEST_DATA) / "data" / "hymenoptera"
    if not (model.is_dir() and data.is_dir()):
        pytest.skip("hymenoptera or mobilenet_v2 is not there")
    splits = {"train": f"{data}@train", "test": f"{data}@val", "validation_share": 0.2}  # as docs/results.md has it
    sections = {"model": str(model), "data": splits}
    record = run(recipe("features", **sections), tmp_path / "out", folder=tmp_path)
    assert record.scores["test"]["accuracy"].value >= 0.95
