"""The example of image generation: its files, its recipes by the command line, and that FID falls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.example_modules import modules_of

pytest.importorskip("diffusers")
EXAMPLE = Path(__file__).parent.parent / "examples" / "digits_generation"


@pytest.fixture(scope="module")
def example() -> Iterator[dict[str, ModuleType]]:
    """The modules of the example."""
    with modules_of(EXAMPLE, "digits", "make_pipeline") as modules:
        yield modules


@pytest.fixture(scope="module")
def work(example: dict[str, ModuleType], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the recipes call WORK, with images and model."""
    folder = tmp_path_factory.mktemp("drawn")
    example["digits"].write(folder)
    example["make_pipeline"].make(folder / "model")
    return folder


@pytest.fixture
def tunewise(work: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`tunewise(command, recipe, out)`, with keys of the recipe."""
    monkeypatch.setenv("WORK", str(work))

    def call(command: str, recipe: str, out: str, **options: Any) -> Path:
        from tunewise.cli.main import app

        keys = [part for name, value in options.items() for part in ("--set", f"{name.replace('__', '.')}={value}")]
        found = CliRunner().invoke(app, [command, str(EXAMPLE / f"{recipe}.yaml"), "--out", str(work / out), *keys])
        assert found.exit_code == 0, found.output
        return work / out

    return call


def test_parts_are_what_the_readme_says(work: Path) -> None:
    counts = {
        place: {folder.name: len(list(folder.glob("*.png"))) for folder in (work / place).iterdir()}
        for place in ("first/train", "last/train", "last/val")
    }
    assert counts == {
        "first/train": dict.fromkeys("01234567", 150),
        "last/train": dict.fromkeys("89", 95),
        "last/val": dict.fromkeys("89", 10),
    }
    files = [file.name for file in work.glob("*/*/*/*.png")]
    assert len(files) == len(set(files)) == 1797
    assert len(list((work / "last/test").glob("*/*.png"))) > 130, "FID-infinity needs twice its features and two more"


def test_two_more_digits_begin_with_the_first_eight(work: Path, tunewise: Callable[..., Path]) -> None:
    few = {"data__limit": 24, "train__max_steps": 2, "train__epochs": "null"}
    first = tunewise("train", "pretrained", "few", **few)
    tuned = tunewise("train", "compared", "tuned", **few, model=first, methods="[lora]", evaluate__drawing="null")
    record = json.loads((tuned / "record.json").read_text())
    assert record["status"] == "finished"
    assert any("embeddings of 2 of 2 classes are new: 8, 9" in note for note in record["notes"]), record["notes"]
    from diffusers import DDPMPipeline

    pipeline = DDPMPipeline.from_pretrained(tuned / "model")
    assert pipeline.unet.config.num_class_embeds == 2 and pipeline.unet.config.sample_size == 8


@pytest.mark.slow
def test_what_is_drawn_comes_nearer_to_the_images(tunewise: Callable[..., Path]) -> None:
    tunewise("train", "pretrained", "pretrained")
    content = json.loads((tunewise("compare", "compared", "compared") / "comparison.json").read_text())
    assert [run["status"] for run in content["runs"]] == ["finished", "finished"]
    for run in content["runs"]:
        for name in ("fid", "kid"):
            upper = run["drawn"]["difference"][name]["interval"][1]
            assert upper < 0, (run["method"], name, run["drawn"]["difference"])
