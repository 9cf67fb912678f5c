"""The example of images: its files, its recipes by the command line, and that pretraining pays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.example_modules import modules_of

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits"


@pytest.fixture(scope="module")
def example():
    """The modules of the example."""
    with modules_of(EXAMPLE, "digits", "make_vision_model") as modules:
        yield modules


@pytest.fixture(scope="module")
def work(example, tmp_path_factory) -> Path:
    """The folder that the recipes call WORK, with images and model."""
    folder = tmp_path_factory.mktemp("digits")
    example["digits"].write(folder)
    example["make_vision_model"].make(folder / "model")
    return folder


@pytest.fixture
def tunewise(work, monkeypatch):
    """`tunewise(command, recipe, out, ...)`, with keys of the recipe."""
    monkeypatch.setenv("WORK", str(work))

    def call(command: str, recipe: str, out: str, *more: str, **options: Any) -> Path:
        from tunewise.cli.main import app

        keys = [part for name, value in options.items() for part in ("--set", f"{name.replace('__', '.')}={value}")]
        arguments = [command, str(EXAMPLE / f"{recipe}.yaml"), "--out", str(work / out), *keys, *more]
        found = CliRunner().invoke(app, arguments)
        assert found.exit_code == 0, found.output
        return work / out

    return call


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*.png")}


def test_parts_are_what_the_readme_says(work):
    from sklearn.datasets import load_digits

    data, parts = load_digits(), {}
    for place in ("first/train", "first/val", "first/test", "all/train", "all/val", "all/test"):
        parts[place] = files_of(work / place)
    sizes = {place: len(files) for place, files in parts.items()}
    assert sizes == {
        "first/train": 800, "first/val": 160, "first/test": 403, "all/train": 100, "all/val": 200, "all/test": 497
    }  # fmt: skip
    assert {name.partition("/")[0] for name in parts["first/train"]} == set("01234567")
    assert {name.partition("/")[0] for name in parts["all/train"]} == set("0123456789")
    apart = [set(parts[place].values()) for place in ("first/train", "all/train", "all/val", "all/test")]
    assert len(set.union(*apart)) == sum(map(len, apart)) == 800 + 100 + 200 + 497
    assert parts["first/val"].items() <= parts["all/val"].items()
    assert parts["first/test"].items() <= parts["all/test"].items()
    name, _ = next(iter(parts["all/test"].items()))
    number, digit = int(Path(name).stem), int(Path(name).parent.name)
    assert data.target[number] == digit
    values = np.asarray(Image.open(work / "all/test" / name), dtype=np.float64)
    assert np.abs(values - data.images[number] * 255 / 16).max() <= 0.5


def test_files_are_the_same_each_time(example, work, tmp_path):
    example["digits"].write(tmp_path)
    assert files_of(tmp_path) == files_of(work)


def test_the_comparison_begins_with_what_pretraining_handed_over(work, tunewise):
    few = {"data__limit": 40, "train__max_steps": 2, "train__epochs": "null", "evaluate__resamples": 100}
    out = tunewise("train", "pretrained", "few", **few)
    begun = (out / "record.json").read_bytes()
    assert tunewise("train", "pretrained", "few", "--resume", **few) and (out / "record.json").read_bytes() == begun
    tuned = tunewise("train", "compared", "tuned", **few, model=out, methods="[last_k]")
    record = json.loads((tuned / "record.json").read_text())
    assert record["status"] == "finished"
    config = json.loads((tuned / "model" / "config.json").read_text())
    assert sorted(config["label2id"]) == [str(digit) for digit in range(10)]
    assert sorted(json.loads((out / "model" / "config.json").read_text())["label2id"]) == list("01234567")
    from safetensors.numpy import load_file

    before, after = (load_file(folder / "model" / "model.safetensors") for folder in (out, tuned))
    first = "vit.embeddings.patch_embeddings.projection.weight"
    np.testing.assert_array_equal(before[first], after[first])
    assert before["classifier.weight"].shape[0] == 8 and after["classifier.weight"].shape[0] == 10


@pytest.mark.slow
def test_pretraining_pays(work, tunewise):
    record = json.loads((tunewise("train", "pretrained", "pretrained") / "record.json").read_text())
    assert record["scores"]["test"]["accuracy"]["value"] > 0.85
    content = json.loads((tunewise("compare", "compared", "compared") / "comparison.json").read_text())
    assert all(run["status"] == "finished" for run in content["runs"]) and (work / "compared/report.html").is_file()
    found: dict[str, list[float]] = {}
    for run in content["runs"]:
        found.setdefault(run["method"].partition("(")[0], []).append(run["scores"]["test"]["accuracy"]["value"])
    means = {name: np.mean(values) for name, values in found.items()}
    tuned = set(means) - {"scratch", "majority"}
    assert len(tuned) == 6 and min(means[name] for name in tuned) > means["scratch"] + 0.2, means
