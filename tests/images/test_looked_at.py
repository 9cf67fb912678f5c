"""What models looked at, from training to the page: the patch that tells the class is where the map is largest."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import write_photos
from PIL import Image
from typer.testing import CliRunner

from tunewise.cli.main import app
from tunewise.commit import sealed, unsealed
from tunewise.engine.looked_at import LOOKED_AT as USUAL
from tunewise.engine.text_model import load
from tunewise.errors import CorruptError, RecipeError
from tunewise.recipe import recipe_from
from tunewise.report.html import render_html
from tunewise.run import run
from tunewise.tracking.predictions import read_predictions
from tunewise.tracking.shown import LOOKED_AT as FILE
from tunewise.tracking.verification import verify_run

SIDE, PATCH = 64, (8, 40)  # pixels of an image; where the patch of 16 x 16 begins: y, x
COLOURS = {"red": (255, 40, 40), "green": (40, 255, 40)}
TRAIN = {"epochs": 8, "batch_size": 8, "threads": 1, "precision": "fp32", "device": "cpu", "learning_rate": 3e-3}


def patched(seed: int, colour: tuple[int, int, int], name: str = "") -> bytes:
    values = np.random.default_rng(seed).integers(60, 120, (SIDE, SIDE, 3), dtype=np.uint8)
    values[PATCH[0] : PATCH[0] + 16, PATCH[1] : PATCH[1] + 16] = colour
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("patches") / "data"
    for split, count, first in (("train", 16, 0), ("val", 6, 100), ("test", 6, 200)):
        for place, (label, colour) in enumerate(COLOURS.items()):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                content = patched(first + number + 1000 * place, colour)
                (root / split / label / f"{number:02}.png").write_bytes(content)
    return root


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A small network for images of 64 pixels, without a processor of its own: images are read as they are."""
    from transformers import ResNetConfig, ResNetModel, ViTConfig, ViTModel

    def make(family: str) -> Path:
        torch.manual_seed(0)
        if family == "vit":
            model = ViTModel(
                ViTConfig(
                    hidden_size=32,
                    num_hidden_layers=2,
                    num_attention_heads=2,
                    intermediate_size=64,
                    image_size=SIDE,
                    patch_size=8,
                )
            )
        else:
            options = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}
            model = ResNetModel(ResNetConfig(**options, image_size=SIDE))
            with torch.no_grad():
                model.train()(pixel_values=torch.randn(16, 3, SIDE, SIDE))
        folder = tmp_path_factory.mktemp(family) / "model"
        model.save_pretrained(folder)
        size = {"height": SIDE, "width": SIDE}
        processor = {"image_processor_type": "ViTImageProcessor", "size": size, "do_resize": True}
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
        return folder

    made: dict[str, Path] = {}
    return lambda family: made.setdefault(family, None) or made.update({family: make(family)}) or made[family]


@pytest.fixture(scope="module")
def recipe(data, net):
    def make(family: str, method: Any = "full", **sections: Any) -> Any:
        whole = {
            "model": str(net(family)),
            "method": method,
            "data": {"train": f"{data}@train", "validation": f"{data}@val", "test": f"{data}@test"},
            "train": {**TRAIN, **sections.pop("train", {})},
            "evaluate": {"resamples": 100, **sections.pop("evaluate", {})},
        }
        return recipe_from({**whole, **sections})

    return make


@pytest.fixture(scope="module")
def looked(recipe, tmp_path_factory):
    made: dict[tuple[str, str], Path] = {}

    def make(family: str, method: str) -> Path:
        if (family, method) not in made:
            out = tmp_path_factory.mktemp(f"{family}-{method}") / "out"
            run(recipe(family, method), out, folder=out.parent)
            made[family, method] = out
        return made[family, method]

    return make


@pytest.mark.parametrize(
    ("family", "method", "how"),
    [("resnet", "full", "grad-cam"), ("resnet", "features", "grad-cam"), ("vit", "full", "occlusion")],
)
def test_the_map_is_largest_where_the_patch_is(looked, family, method, how):
    out = looked(family, method)
    found, said = FILE.read(out), read_predictions(out, "test")
    assert (said.decisions == said.targets).mean() >= 0.9
    assert (found["how"], found["test"], len(found["images"])) == (how, "test", USUAL)
    assert found["passes"] == (USUAL if how == "grad-cam" else USUAL * 50)
    for seen in found["images"]:
        place = int(np.flatnonzero(said.rows == seen["row"])[0])
        assert seen["output"] == said.decisions[place] and seen["truth"] == [int(said.targets[place])]
        assert abs(seen["probability"] - said.scores[place].max()) < 1e-6
        assert seen["right"] == (said.decisions[place] == said.targets[place])
        values = np.array(seen["map"])
        if seen["right"] and values.max() > 0:
            y, x = (np.array(np.unravel_index(values.argmax(), values.shape)) + 0.5) * SIDE / np.array(values.shape)
            cell = SIDE / len(values)
            assert PATCH[0] - cell <= y <= PATCH[0] + 16 + cell and PATCH[1] - cell <= x <= PATCH[1] + 16 + cell
    assert sum(np.array(seen["map"]).max() > 0 for seen in found["images"]) >= USUAL // 2


def test_occlusion_of_a_run_is_that_of_the_model_handed_over(looked, data):
    """Patches are painted into the files, grey of 128; the model handed over is asked as `predict` asks it."""
    out = looked("vit", "full")
    model, seen = load(out), FILE.read(out)["images"][0]
    pixels = np.asarray(Image.open(data / "test" / seen["name"].split("@")[-1].removeprefix("test/")))
    whole = model.scores([Image.fromarray(pixels)])[0, seen["output"]]
    drops = np.zeros((8, 8)), np.zeros((8, 8))
    for y in range(7):
        for x in range(7):
            painted = pixels.copy()
            painted[8 * y : 8 * y + 16, 8 * x : 8 * x + 16] = 128
            drops[0][y : y + 2, x : x + 2] += whole - model.scores([Image.fromarray(painted)])[0, seen["output"]]
            drops[1][y : y + 2, x : x + 2] += 1
    assert np.abs(drops[0] / drops[1] - np.array(seen["map"])).max() < 2e-5


def test_the_same_run_looks_the_same_and_none_is_looked_at_where_none_is_wanted(recipe, looked, tmp_path):
    out = looked("resnet", "features")
    run(recipe("resnet", "features"), tmp_path / "again", folder=tmp_path)
    assert (tmp_path / "again" / FILE.name).read_bytes() == (out / FILE.name).read_bytes()
    off = run(recipe("resnet", "features", evaluate={"looked_at": 0}), tmp_path / "off", folder=tmp_path)
    assert off.status == "finished" and not (tmp_path / "off" / FILE.name).exists()
    run(recipe("resnet", "features", evaluate={"looked_at": 3}), tmp_path / "three", folder=tmp_path)
    assert len(FILE.read(tmp_path / "three")["images"]) == 3


def test_damage_is_told(looked, tmp_path):
    body = json.loads((looked("resnet", "features") / FILE.name).read_bytes())
    body["passes"] += 1
    (tmp_path / FILE.name).write_text(json.dumps(body))
    with pytest.raises(CorruptError, match=FILE.name.replace(".", r"\.")):
        FILE.read(tmp_path)
    out = looked("resnet", "features")
    assert not verify_run(out).damages
    whole = (out / FILE.name).read_bytes()
    (out / FILE.name).write_bytes(whole.replace(b'"passes": 6', b'"passes": 7'))
    assert [damage.file for damage in verify_run(out).damages] == [FILE.name]
    (out / FILE.name).write_bytes(whole)


def test_texts_have_nothing_to_look_at(recipe, tiny_model, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"word {n},{n % 2}\n" for n in range(40)))
    texts = {"model": str(tiny_model("bert")), "data": {"train": str(tmp_path / "a.csv"), "label": "label"}}
    with pytest.raises(RecipeError, match="classes and labels of images"):
        run(recipe_from({**texts, "evaluate": {"looked_at": 2}}), tmp_path / "out", folder=tmp_path)


@pytest.fixture(scope="module")
def compared(data, net, tmp_path_factory) -> Path:
    """A comparison of two methods, of which one hardly learns."""
    root = tmp_path_factory.mktemp("compared")
    whole = {
        "model": str(net("resnet")),
        "methods": ["features", {"head": {"learning_rate": 1e-7}}],
        "seeds": [0],
        "data": {"train": f"{data}@train", "validation": f"{data}@val", "test": f"{data}@test"},
        "train": {**TRAIN, "epochs": 1},
        "evaluate": {"resamples": 100},
    }
    (root / "recipe.yaml").write_text(json.dumps(whole))
    done = CliRunner().invoke(app, ["compare", str(root / "recipe.yaml"), "--out", str(root / "out")])
    assert done.exit_code == 0, done.output
    return root / "out"


def test_the_page_of_a_comparison_shows_images(compared):
    content = unsealed((compared / "comparison.json").read_bytes(), compared / "comparison.json")
    pictures = content["pictures"]
    assert [row["truth"] for row in pictures["samples"]] == ["green", "red"] * 6
    assert set(pictures["mistakes"]) == set(pictures["looked_at"]["methods"]) and len(pictures["mistakes"]) == 2
    for run_ in content["runs"]:
        told = pictures["mistakes"].get(run_["name"])
        if told:
            matrix = np.array(run_["confusion"]["test"])
            assert told["count"] == matrix.sum() - np.trace(matrix) and told["of"] == 12
            assert len(told["rows"]) == min(8, told["count"])
    assert sum(told["count"] for told in pictures["mistakes"].values())
    assert all(row["thumbnail"] in pictures["thumbnails"]["made"] for row in content["disagreements"])
    page = (compared / "report.html").read_text()
    images = re.findall(r'<img src="([^"]*)"', page)
    assert len(images) > 24 and all(re.fullmatch(r"data:image/(jpeg|png);base64,[\w+/=]+", uri) for uri in images)
    assert "Most certain mistakes" in page and "What they looked at" in page
    body = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert len(body) < 400_000


def test_images_that_are_gone_are_told(compared):
    content = unsealed((compared / "comparison.json").read_bytes(), compared / "comparison.json")
    thumbnails = content["pictures"]["thumbnails"]
    lost = next(iter(thumbnails["made"]))
    del thumbnails["made"][lost]
    thumbnails["gone"] = ["<b>gone</b>.png"]
    page = render_html(json.loads(sealed(content)))
    assert "1 images could not be read any more" in page and "&lt;b&gt;gone" in page and "no image" in page


def test_check_shows_images(tmp_path, tiny_model):
    photos = write_photos(tmp_path / "photos", train=6, held_out=3)
    first = photos / "train" / "red" / "00.png"
    (photos / "train" / "red" / "copy.png").write_bytes(first.read_bytes())
    Image.new("RGB", (120, 12)).save(photos / "train" / "blue" / "long.png")
    whole = {
        "model": str(tiny_model("vit")),
        "data": {"train": f"{photos}@train", "validation": f"{photos}@val", "test": f"{photos}@test"},
    }
    (tmp_path / "r.yaml").write_text(json.dumps(whole))
    done = CliRunner().invoke(app, ["check", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    assert "base64" not in done.stdout
    content = unsealed((tmp_path / "out" / "check.json").read_bytes(), tmp_path)
    groups = {group["name"]: group for group in content["pictures"]["classes"]}
    assert {name: group["rows"] for name, group in groups.items()} == {"blue": 7, "green": 6, "red": 7}
    odd = {group["name"]: [row["name"] for row in group["shown"]] for group in content["pictures"]["odd"]}
    assert [Path(name).name for name in odd["a side below 16 pixels"]] == ["long.png"]
    assert [Path(names[0]).name for name, names in odd.items() if name.startswith("5 times")] == ["long.png"]
    (place,) = [number for number, one in enumerate(content["findings"]) if one["kind"] == "duplicates"]
    assert len(content["pictures"]["findings"][place]) == len(content["findings"][place]["examples"]) == 1
    page = (tmp_path / "out" / "check.html").read_text()
    assert page.count('<img src="data:image/jpeg;base64,') == 4 * 3 + 2 + 1
    assert "long.png" in page and "token by token" not in page


def test_labels_and_numbers_are_shown_too(data, net, tmp_path):
    """Of labels maps and mistakes, of numbers the largest errors and no maps."""
    rows = sorted((data / "train").glob("*/*.png"))
    lines = ["file,kinds,number"]
    for place, file in enumerate(rows):
        kinds = "|".join(["any"] * (place % 2) + ([file.parent.name] if place % 3 else []))
        lines.append(f"{file.relative_to(data)},{kinds},{place / 7}")
    (data / "table.csv").write_text("\n".join(lines) + "\n")
    for task, label in (("multilabel", "kinds"), ("regression", "number")):
        columns = {"image": "file", "label": label, "label_separator": "|" if task == "multilabel" else None}
        whole = {
            "model": str(net("resnet")),
            "methods": ["features"],
            "seeds": [0],
            "data": {"train": str(data / "table.csv"), "task": task, **columns},
            "train": {**TRAIN, "epochs": 1},
            "evaluate": {"resamples": 100},
        }
        (tmp_path / f"{task}.yaml").write_text(json.dumps(whole))
        out = tmp_path / task
        done = CliRunner().invoke(app, ["compare", str(tmp_path / f"{task}.yaml"), "--out", str(out)])
        assert done.exit_code == 0, done.output
        pictures = unsealed((out / "comparison.json").read_bytes(), out)["pictures"]
        (told,) = pictures["mistakes"].values()
        page = (out / "report.html").read_text()
        if task == "regression":
            errors = [row["error"] for row in told["rows"]]
            assert errors == sorted(errors, reverse=True) and errors[0] > 0 and not pictures["looked_at"]
            assert "Largest errors" in page and "What they looked at" not in page
            assert not (next((out / "runs").glob("features*")) / FILE.name).exists()
        else:
            (seen,) = pictures["looked_at"]["methods"].values()
            assert seen["how"] == "grad-cam" and {row["output"] for row in seen["rows"]} <= {"any", "green", "red"}
            assert "Most certain mistakes" in page and "What they looked at" in page
