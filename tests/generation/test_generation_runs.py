"""Whole runs of image generation: better than before, resumed bit for bit, handed over to diffusers, drawn with."""

from __future__ import annotations

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
from PIL import Image
from tiny_pipelines import SIDE, digits
from typer.testing import CliRunner

from tunewise.api import load
from tunewise.check import check
from tunewise.cli.main import app
from tunewise.cli.watching import Silent
from tunewise.commit import default_cache
from tunewise.comparison.compare import compare
from tunewise.engine.events import Observer
from tunewise.errors import CorruptError, DataError, Interrupted, MethodError, ModelError, RecipeError, TunewiseError
from tunewise.recipe import Recipe
from tunewise.report.drawn import drawn_lines
from tunewise.run import run
from tunewise.tracking.predictions import read_predictions
from tunewise.tracking.record import RunRecord
from tunewise.tracking.shown import DRAWN

LORA = {"lora": {"rank": 4, "learning_rate": 1e-2}}


@pytest.fixture(scope="module")
def trained(make_recipe, of_classes, tmp_path_factory) -> Callable[[str], tuple[Path, RunRecord]]:
    """`trained(name)`: the folder and record of a run, made once."""
    made: dict[str, tuple[Path, RunRecord]] = {}
    recipes = {
        "full": {"data": {"unconditional": True}},
        "lora": {"method": LORA, "model": of_classes},
    }

    def make(name: str) -> tuple[Path, RunRecord]:
        if name not in made:
            out = tmp_path_factory.mktemp("runs") / name
            made[name] = out, run(make_recipe(**recipes[name]), out, folder=out.parent)
        return made[name]

    return make


def weights(out: Path) -> str:
    return hashlib.sha256((out / "model" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()).hexdigest()


def errors(record: RunRecord) -> list[float]:
    return [entry["metric"] for entry in record.curve]


@pytest.mark.parametrize("name", ["full", "lora"])
def test_the_error_falls_and_is_told_with_its_interval(name, trained):
    out, record = trained(name)
    assert record.status == "finished"
    found = errors(record)
    assert found[-1] < found[0]
    assert name == "lora" or found[-1] < 0.97  # a network that says nothing has an error of 1
    score = record.scores["test"]["denoising_error"]
    assert score.low < score.value < score.high
    said = read_predictions(out, "test")
    assert said.scores.shape == (record.data.rows["test"], 2)
    assert said.scores[:, 0].mean() == pytest.approx(score.value)
    assert record.costs.forward_flops > 0 and record.costs.backward_flops > 0


def test_nothing_is_kept_of_a_frozen_part(make_recipe, tmp_path):
    method = {"blocks": {"blocks": "last", "count": 1}}
    record = run(make_recipe(method, data={"unconditional": True}), tmp_path / "out", folder=tmp_path)
    assert any("the timestep, which changes, enters every block" in note for note in record.notes)
    assert not [item for item in default_cache().entries() if item.about["kind"] in ("states", "vectors")]


class SignalAt(Observer):
    def on_step(self, event: Any) -> None:
        if event.step == 7:
            os.kill(os.getpid(), signal.SIGINT)


def test_stopped_and_resumed_is_uninterrupted(make_recipe, trained, tmp_path):
    whole, record = trained("full")
    assert record.curve[-1]["step"] > 8
    recipe = make_recipe("full", data={"unconditional": True})
    with pytest.raises(Interrupted):
        run(recipe, tmp_path / "out", folder=tmp_path, observers=[SignalAt()])
    again = run(recipe, tmp_path / "out", folder=tmp_path, resume=True)
    assert weights(tmp_path / "out") == weights(whole)
    assert errors(again) == errors(record)


def test_smaller_batches_of_a_step_train_the_same(make_recipe, trained, tmp_path):
    whole, _ = trained("full")
    train = {"batch_size": 4, "accumulate": 4}
    run(make_recipe("full", data={"unconditional": True}, train=train), tmp_path / "out", folder=tmp_path)
    mine, other = (load(folder)._net.model.state_dict() for folder in (tmp_path / "out", whole))
    assert all(torch.allclose(mine[name], other[name], atol=1e-4) for name in mine)


@pytest.mark.parametrize("name", ["DDIMPipeline", "DDPMPipeline"])
def test_the_folder_is_a_plain_pipeline_that_draws_the_same(name, trained):
    import diffusers

    out, _ = trained("full")
    pipeline = getattr(diffusers, name).from_pretrained(out / "model")
    pipeline.set_progress_bar_config(disable=True)
    assert not list((out / "model").rglob("*.bin"))
    steps = {"num_inference_steps": 5, "generator": torch.manual_seed(3), "output_type": "np"}
    if name == "DDPMPipeline":
        assert pipeline(**steps).images.shape == (1, SIDE, SIDE, 1)
        return
    images = pipeline(batch_size=2, **steps).images
    from tunewise.engine.drawing import Drawer

    noise = torch.randn((2, 1, SIDE, SIDE), generator=torch.manual_seed(3)).numpy()
    mine = Drawer(load(out)._net, steps=5).denoised(noise, None)
    assert np.allclose((mine / 2 + 0.5).clip(0, 1).transpose(0, 2, 3, 1), images, atol=1e-5)


def test_lora_is_merged_and_draws_of_a_class(trained):
    import diffusers

    out, record = trained("lora")
    assert record.handover.kind == "diffusers"
    assert record.costs.trainable_parameters < 0.1 * record.costs.total_parameters
    network = diffusers.UNet2DModel.from_pretrained(out / "model", subfolder="unet")
    net = load(out)._net
    read = torch.randn(2, 1, SIDE, SIDE), torch.tensor([3, 40]), torch.tensor([1, 2])
    with torch.no_grad():
        mine, theirs = net.model.eval()(*read), network.eval()(*read).sample
    assert torch.equal(mine, theirs)
    base = diffusers.UNet2DModel.from_pretrained(record.model.path, subfolder="unet")
    changed = {
        name
        for name, value in network.named_parameters()
        if not torch.equal(value, dict(base.named_parameters())[name])
    }
    assert changed and all(".attentions." in name and name.endswith("weight") for name in changed)


def test_images_follow_from_seed_number_and_class(trained):
    model = load(trained("lora")[0])
    two, four = model.sample(2, "3", steps=4), model.sample(4, "3", steps=4, batch_size=3)
    pixels = [np.asarray(image) for image in (*two, *four)]
    assert pixels[0].shape == (SIDE, SIDE)
    assert np.array_equal(pixels[0], pixels[2]) and not np.array_equal(pixels[2], pixels[3])
    assert not np.array_equal(pixels[0], np.asarray(model.sample(1, "4", steps=4)[0]))
    assert not np.array_equal(pixels[0], np.asarray(model.sample(1, "3", steps=4, seed=1)[0]))
    assert model.classes(12).tolist() == [*range(10), 0, 1]
    with pytest.raises(DataError, match="the model knows no class 'three'"):
        model.sample(1, "three")
    with pytest.raises(DataError, match="draws without classes"):
        load(trained("full")[0]).sample(1, "3")


def test_the_command_draws_files_a_grid_and_a_list(trained, tmp_path):
    out, _ = trained("lora")
    arguments = ["sample", str(out), "--number", "5", "--steps", "3", "--out", str(tmp_path / "drawn"), "--label", "8"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "drawn" / "images.jsonl").read_text().splitlines()]
    assert rows == [{"image": f"{place:04d}.png", "label": "8"} for place in range(5)]
    wanted = load(out).sample(5, "8", steps=3)
    for row, image in zip(rows, wanted, strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "drawn" / row["image"])), np.asarray(image))
    grid = Image.open(tmp_path / "drawn" / "grid.png")
    assert grid.size == (3 * 34 - 2, 2 * 34 - 2)  # 8 pixels four times as large, and 2 between
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1 and "is already there" in again.output
    for command in (["predict", str(out), "--data", str(tmp_path / "drawn"), "--out", str(tmp_path / "p.csv")],):
        told = CliRunner().invoke(app, command)
        assert told.exit_code == 2 and "draws images, and answers nothing" in told.output


def test_a_run_goes_on_from_a_run_with_other_classes(make_recipe, trained, tmp_path):
    first, _ = trained("lora")
    data = {"train": str(digits(tmp_path / "few", range(8, 10), each=20))}
    record = run(make_recipe("head", first, data=data, train={"epochs": 1}), tmp_path / "out", folder=tmp_path)
    assert any("8 classes that no row has are left out: 0, 1" in note for note in record.notes)
    from safetensors.torch import load_file

    name = "class_embedding.weight"
    old, new = (
        load_file(out / "model" / "unet" / "diffusion_pytorch_model.safetensors") for out in (first, tmp_path / "out")
    )
    assert torch.equal(new[name], old[name][8:])  # `head` trains the last norm and convolution alone
    assert load(tmp_path / "out").labels == ("8", "9")


def test_a_folder_without_classes_flips_crops_and_weighs(make_recipe, tmp_path):
    folder = digits(tmp_path / "all", each=8, named=False)
    Image.new("RGB", (30, 20), "red").save(folder / "wide.png")
    recipe = make_recipe(
        data={"train": str(folder)},
        augment={"flip": 0.5},
        objective={"denoising": {"snr_gamma": 5.0}},
        train={"epochs": 1},
    )
    record = run(recipe, tmp_path / "out", folder=tmp_path)
    assert not record.data.schema["labels"]
    told = " ".join(record.warnings)
    assert "1 of" in told and "not of the form of 8x8 pixels" in told and "wide.png" in told
    assert "augmentation (flip 0.5)" in told


@pytest.mark.parametrize(
    ("sections", "error", "said"),
    [
        ({"augment": {"colour": True}}, RecipeError, "augment.colour does not go with image generation"),
        ({"augment": {"cutmix": 1.0}}, RecipeError, "augment.cutmix does not go with image generation"),
        ({"objective": {"r_drop": 1.0}}, RecipeError, "r_drop is about what a model says of a class"),
        ({"objective": {"label_smoothing": 0.1}}, RecipeError, "label_smoothing is about"),
        ({"objective": "sft"}, RecipeError, "the objective 'sft' is for generation; the task is image_generation"),
        ({"train": {"gradient_checkpointing": True}}, RecipeError, "is for blocks of transformers"),
        ({"train": {"balanced_batches": True}}, RecipeError, "balanced batches are for classification"),
        ({"data": {"balance": "over"}}, DataError, "balance is for classification"),
        ({"data": {"unconditional": True, "label": "label"}}, DataError, "leaves them aside"),
        ({"data": {"task": "classification"}}, ModelError, "the model draws images"),
        ({"data": {"task": None, "unconditional": True}}, DataError, "data.unconditional is for image generation"),
        ({"method": "features"}, MethodError, "the method 'features' is for"),
        ({"method": "adapter"}, MethodError, "inserts what cannot be merged"),
        ({"method": {"full": {"head_rate": 2.0}}}, RecipeError, "the output layers are pretrained"),
        ({"metric": "accuracy"}, RecipeError, "the metric 'accuracy' is for"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_told_before_weights_load(sections, error, said, make_recipe, tmp_path):
    recipe: Recipe = make_recipe(**sections)
    with pytest.raises(error, match=said) as problem:
        check(recipe, tmp_path, recipe.all_methods)
    assert isinstance(problem.value, TunewiseError) and (problem.value.fix or "take" in str(problem.value))


@pytest.mark.slow
def test_figures_before_and_after_stand_in_record_page_and_terminal(make_recipe, images, tmp_path):
    """A comparison: the untuned model's figures are the same for all methods, by one classifier of the images."""
    recipe = make_recipe(
        methods=["full", LORA],
        seeds=1,
        method=None,
        data={"train": str(digits(tmp_path / "more", range(3), each=80)), "test_share": 0.45},
        evaluate={"drawing": {"images": 70, "steps": 3, "shown": 4}},
        train={"epochs": 1, "learning_rate": 4e-3},
    )
    done = compare(recipe, tmp_path / "out", folder=tmp_path, watcher=Silent(), side_by_side=1)
    content = done.content
    found = [run["drawn"] for run in content["runs"]]
    assert len(found) == 2 and found[0]["before"] == found[1]["before"]
    first = found[0]
    assert first["after"]["extractor"]["name"].startswith("features of a classifier trained on these images (3 classes")
    assert (first["after"]["real"], first["after"]["generated"]) == (content["data"]["rows"]["test"], 70)
    for name in ("fid", "kid"):
        before, after = (first[when]["figures"][name]["value"] for when in ("before", "after"))
        assert first["difference"][name]["value"] == pytest.approx(after - before)
        low, high = first["difference"][name]["interval"]
        assert low <= after - before <= high
    assert set(content["drawn"]) == {run["name"] for run in content["runs"]}
    page = (tmp_path / "out" / "report.html").read_text()
    section = page[page.index('id="drawn"') :]
    section = section[: section.index("</section>")]
    assert section.count("<img") == 3 and section.count(">untuned<") == 2 and "FID of infinitely many" in section
    assert any(line.startswith("FID: ") for line in drawn_lines(first))
    assert len(list((tmp_path / "out" / "runs").glob(".extractor-*"))) == 1


def test_without_classes_or_classifier_there_are_no_figures_and_it_is_said(make_recipe, tmp_path):
    drawing = {"images": 12, "steps": 2, "shown": 4}
    recipe = make_recipe("head", data={"unconditional": True}, evaluate={"drawing": drawing}, train={"epochs": 1})
    record = run(recipe, tmp_path / "out", folder=tmp_path)
    assert "none is named, and images without classes cannot train one" in record.drawn["why_not"]
    assert any("no FID, KID or Inception score" in warning for warning in record.warnings)
    assert DRAWN.read(tmp_path / "out")["before"].startswith("data:image/jpeg;base64,")
    drawn = json.loads((tmp_path / "out" / "drawn.json").read_text())
    (tmp_path / "out" / "drawn.json").write_text(json.dumps(drawn | {"after": "x"}))
    assert [type(problem) for problem in DRAWN.damages(tmp_path / "out")] == [CorruptError]
    with pytest.raises(RecipeError, match="more than the 100 timesteps"):
        run(make_recipe(evaluate={"drawing": {"steps": 500}}), tmp_path / "two", folder=tmp_path)


def test_a_classifier_draws_nothing(make_recipe, tiny_model, tmp_path):
    recipe = make_recipe(model=tiny_model("vit"))
    with pytest.raises(ModelError, match="the model is a 'vit', which draws no images"):
        check(recipe, tmp_path, recipe.all_methods)
