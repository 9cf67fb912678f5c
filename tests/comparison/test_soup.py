"""Soups of runs: what they give, what they take, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tunewise.comparison.soup import make_soup
from tunewise.engine.text_model import load
from tunewise.errors import CorruptError, ModelError, RecipeError, StoreError
from tunewise.recipe import recipe_from
from tunewise.run import run
from tunewise.tracking.predictions import read_predictions
from tunewise.tracking.record import read_record, write_record
from tunewise.tracking.verification import verify_run

TRAIN = {"max_steps": 6, "batch_size": 8, "threads": 1, "precision": "fp32", "device": "cpu", "learning_rate": 3e-3}
Trained = Callable[..., Path]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, toy_data: Any) -> Path:
    """Rows that can be learned, as JSONL, a file for each split."""
    folder, data = tmp_path_factory.mktemp("rows"), toy_data("classification")
    for name, split in data.splits.items():
        lines = [
            {"message": text, "label": data.schema.labels[target]}
            for (text,), target in zip(split.texts, split.targets, strict=True)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(rows: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """`trained(method, seed=0, **sections)`: the folder of a run, made once."""
    made: dict[str, Path] = {}

    def make(method: Any = "full", seed: int = 0, **sections: Any) -> Path:
        key = json.dumps([method, seed, sections], sort_keys=True)
        if key not in made:
            data = {name: str(rows / f"{name}.jsonl") for name in ("train", "validation", "test")}
            whole = {
                "model": str(tiny_bert),
                "method": method,
                "seed": seed,
                "evaluate": {"resamples": 100, **sections.pop("evaluate", {})},
                "train": {**TRAIN, **sections.pop("train", {})},
                "data": {**data, "text": "message", "label": "label", **sections.pop("data", {})},
            }
            out = tmp_path_factory.mktemp("runs") / "out"
            run(recipe_from({**whole, **sections}), out, folder=rows)
            made[key] = out
        return made[key]

    return make


@pytest.fixture(scope="module")
def three(trained: Trained) -> list[Path]:
    """Three partial runs of one seed."""
    return [trained(method) for method in ("full", "attention", {"last_k": {"k": 1}})]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


@pytest.mark.parametrize("kind", ["uniform", "greedy"])
def test_soup_of_identical_members_is_the_member(kind: str, three: list[Path], tmp_path: Path) -> None:
    copies = [shutil.copytree(three[0], tmp_path / name) for name in "abc"]
    record = make_soup(copies, tmp_path / "soup", kind)
    assert [member["taken"] for member in record.soup["members"]] == [True] * 3
    member, made = weights(three[0]), weights(tmp_path / "soup")
    assert made.keys() == member.keys() and all(torch.equal(made[name], member[name]) for name in member)
    told, alone = record.as_dict(), read_record(three[0]).as_dict()
    assert told["scores"] == alone["scores"] and told["validation"] == alone["validation"]
    for split in ("validation", "test"):
        ours, theirs = (read_predictions(folder, split) for folder in (tmp_path / "soup", three[0]))
        assert np.array_equal(ours.scores, theirs.scores) and np.array_equal(ours.decisions, theirs.decisions)


def test_uniform_is_the_mean_and_loads_as_any_model(three: list[Path], tmp_path: Path, rows: Path) -> None:
    record = make_soup(three, tmp_path / "soup", "uniform")
    made, stored = weights(tmp_path / "soup"), [weights(folder) for folder in three]
    assert any(not torch.equal(stored[0][name], stored[1][name]) for name in made)
    for name, value in made.items():
        exact = np.mean([each[name].numpy().astype(np.float64) for each in stored], axis=0).astype(np.float32)
        assert np.array_equal(value.numpy(), exact), name
    place = tmp_path / "soup" / "model"
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(place), AutoTokenizer.from_pretrained(place)
    texts = [json.loads(line)["message"] for line in (rows / "test.jsonl").read_text().splitlines()]
    with torch.no_grad():
        theirs = torch.softmax(model(**tokenizer(texts, padding=True, return_tensors="pt")).logits, -1).numpy()
    said = read_predictions(tmp_path / "soup", "test")
    np.testing.assert_allclose(said.scores, theirs, atol=1e-5)
    np.testing.assert_allclose(load(tmp_path / "soup").scores(texts), theirs, atol=1e-5)
    assert record.scores["test"]["accuracy"].value == np.mean(theirs.argmax(1) == said.targets)
    verified = verify_run(tmp_path / "soup")
    assert verified.ok and verified.status == "finished", verified
    card = (place / "README.md").read_text()
    assert "mean of those of 3 of 3 runs" in card and "attention (seed 0)" in card and "one run made" not in card


def test_costs_are_those_of_all_members(three: list[Path], tmp_path: Path) -> None:
    record, members = make_soup(three, tmp_path / "soup", "greedy"), [read_record(folder).costs for folder in three]
    own, costs = record.marginal, record.costs
    for name in ("train_seconds", "total_seconds", "forward_flops", "backward_flops"):
        assert getattr(costs, name) == pytest.approx(sum(getattr(each, name) for each in [own, *members]))
    assert own.backward_flops == 0 < costs.backward_flops and 0 < own.train_seconds < own.total_seconds
    assert costs.trainable_parameters == max(each.trainable_parameters for each in members)
    assert costs.saved_bytes == own.saved_bytes > 0


@pytest.mark.parametrize("metric", ["log_loss", "accuracy"])
def test_greedy_does_what_brute_force_does(metric: str, three: list[Path], tmp_path: Path) -> None:
    """Every trial is made again as a uniform soup, and the rule is applied to their metrics."""
    record = make_soup(three, tmp_path / "greedy", "greedy", metric=metric)
    sign = 1 if metric == "accuracy" else -1
    alone = [read_record(folder).validation[metric].value for folder in three]
    taken: list[int] = []
    for number in sorted(range(3), key=lambda number: -sign * alone[number]):
        if not taken:
            taken, best = [number], sign * alone[number]
            continue
        trial = sorted([*taken, number])
        out = tmp_path / "-".join(map(str, trial))
        value = sign * make_soup([three[each] for each in trial], out, "uniform").validation[metric].value
        assert record.soup["members"][number]["tried"] == pytest.approx(sign * value, rel=1e-12)
        if value >= best:
            taken, best = trial, value
    assert [member["taken"] for member in record.soup["members"]] == [number in taken for number in range(3)]
    assert sign * record.validation[metric].value == best >= max(sign * value for value in alone)


def test_the_order_of_members_changes_nothing_but_ties(three: list[Path], tmp_path: Path) -> None:
    first = make_soup(three, tmp_path / "first", "greedy", metric="log_loss")
    second = make_soup(three[::-1], tmp_path / "second", "greedy", metric="log_loss")
    taken = [{one["id"] for one in record.soup["members"] if one["taken"]} for record in (first, second)]
    assert taken[0] == taken[1]
    ours, theirs = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert all(torch.allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-9) for name in ours)
    again = make_soup(three, tmp_path / "again", "greedy", metric="log_loss")
    assert again.as_dict()["scores"] == first.as_dict()["scores"]
    assert all(torch.equal(value, ours[name]) for name, value in weights(tmp_path / "again").items())


def test_of_equals_the_first_named_comes_first(three: list[Path], tmp_path: Path) -> None:
    """Whatever its folder is called."""
    equals = [shutil.copytree(folder, tmp_path / name) for folder, name in zip(three[:2], "ab", strict=True)]
    for folder in equals:
        record = read_record(folder)
        level = replace(record.validation["accuracy"], value=0.5)
        write_record(folder, replace(record, validation={**record.validation, "accuracy": level}))
    for order in (equals, equals[::-1]):
        record = make_soup(order, tmp_path / f"soup-{order[0].name}", "greedy", metric="accuracy")
        assert record.soup["members"][0]["taken"]
        alone = read_predictions(order[0], "validation")
        assert record.soup["members"][0]["tried"] == np.mean(alone.decisions == alone.targets)


def test_again_is_left_and_another_is_refused(three: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "soup"
    first = make_soup(three, out, "uniform")
    when = (out / "record.json").stat().st_mtime_ns
    assert make_soup(three, out, "uniform").id == first.id and (out / "record.json").stat().st_mtime_ns == when
    with pytest.raises(RecipeError, match="another recipe"):
        make_soup(three[:2], out, "uniform")
    replaced = make_soup(three[:2], out, "uniform", replace_earlier=True)
    assert len(replaced.soup["members"]) == 2 and verify_run(out).ok


def test_runs_of_several_seeds_need_one_output_layer(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"classifier.* drawn by seed 0 .* by 1 here") as caught:
        make_soup([trained(), trained(seed=1)], tmp_path / "no", "uniform")
    assert "head_seed" in caught.value.fix and not (tmp_path / "no").exists()
    alike = [trained(seed=seed, train={"head_seed": 5}) for seed in (0, 1)]
    assert make_soup(alike, tmp_path / "alike", "uniform").status == "finished"
    base = trained("head")
    onward = [trained(seed=seed, model=str(base)) for seed in (0, 1)]
    assert make_soup(onward, tmp_path / "onward", "uniform").status == "finished"


def test_a_head_seed_draws_the_same_layer_for_every_seed(trained: Trained) -> None:
    """A rate of nearly nothing leaves what was drawn."""
    still = {"learning_rate": 1e-30, "weight_decay": 0.0}
    drawn = [
        weights(trained("head", seed=seed, train={**still, **given}))["classifier.weight"]
        for seed, given in ((0, {}), (1, {}), (0, {"head_seed": 1}), (3, {"head_seed": 1}))
    ]
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[1], drawn[2]) and torch.equal(drawn[1], drawn[3])


def test_what_has_no_sound_mean_is_refused(trained: Trained, rows: Path, tiny_model: Any, tmp_path: Path) -> None:
    full, attention = trained(), trained("attention")
    other_rows = rows / "fewer.jsonl"
    other_rows.write_text("".join((rows / "train.jsonl").read_text().splitlines(keepends=True)[:40]))
    flipped = rows / "flipped.jsonl"
    flipped.write_text((rows / "train.jsonl").read_text().replace('"label": "good"', '"label": "fine"'))
    unfinished = shutil.copytree(attention, tmp_path / "unfinished")
    write_record(unfinished, replace(read_record(unfinished), status="interrupted"))
    damaged = shutil.copytree(attention, tmp_path / "damaged")
    file = damaged / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    for other, kind, words in (
        (full, RecipeError, "named twice"),
        (trained("lora"), ModelError, "nothing to average"),
        (trained("scratch"), ModelError, "began from random weights"),
        (trained("head", model=str(tiny_model("bert", 3))), ModelError, "began from other models"),
        (trained("head", model=str(tiny_model("roberta"))), ModelError, "tokeniser|other models"),
        (trained("head", data={"train": str(other_rows)}), ModelError, "not the same rows"),
        (trained("head", train={"max_length": 8}), ModelError, "train.max_length"),
        (trained("head", train={"cut": "tail"}), ModelError, "train.cut"),
        (trained("head", data={"clean": {"normalise": True}}), ModelError, "rows|data.clean"),
        (unfinished, StoreError, "not finished"),
        (damaged, CorruptError, "model.safetensors"),
        (tmp_path / "nothing", StoreError, "no run"),
    ):
        with pytest.raises(kind, match=words) as caught:
            make_soup([full, other], tmp_path / "no", "uniform")
        assert caught.value.fix and not (tmp_path / "no").exists()
    with pytest.raises(RecipeError, match="two runs or more"):
        make_soup([full], tmp_path / "no", "uniform")
    with pytest.raises(RecipeError, match="no metric 'nonsense'"):
        make_soup([full, attention], tmp_path / "no", "greedy", metric="nonsense")


def test_other_weights_under_equal_headers_are_another_base(trained: Trained, tiny_bert: Path, tmp_path: Path) -> None:
    same = shutil.copytree(tiny_bert, tmp_path / "same")
    other = shutil.copytree(tiny_bert, tmp_path / "other")
    raw = bytearray((other / "model.safetensors").read_bytes())
    raw[-2] ^= 0x40
    (other / "model.safetensors").write_bytes(raw)
    assert make_soup([trained(), trained("head", model=str(same))], tmp_path / "soup", "uniform").status == "finished"
    with pytest.raises(ModelError, match="began from other models"):
        make_soup([trained(), trained("head", model=str(other))], tmp_path / "no", "uniform")


def test_merged_adapters_and_a_soup_are_members_too(trained: Trained, tmp_path: Path) -> None:
    merged = trained({"lora": {"rank": 2, "merge": True}})
    first = make_soup([trained(), merged], tmp_path / "first", "uniform")
    exact = [weights(folder)["classifier.weight"].double() for folder in (trained(), merged)]
    found = weights(tmp_path / "first")["classifier.weight"]
    assert torch.equal(found, (sum(exact) / 2).float())
    second = make_soup([tmp_path / "first", trained("attention")], tmp_path / "second", "uniform")
    assert second.costs.train_seconds > first.costs.train_seconds


def test_a_stage_goes_on_from_a_soup(three: list[Path], trained: Trained, tmp_path: Path) -> None:
    make_soup(three, tmp_path / "soup", "uniform")
    onward = trained("head", model=str(tmp_path / "soup"), train={"learning_rate": 1e-30, "weight_decay": 0.0})
    ours, theirs = weights(onward), weights(tmp_path / "soup")
    assert all(torch.allclose(ours[name], theirs[name]) for name in theirs)


def test_images(tiny_model: Any, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        for channel, name in enumerate(("red", "green")):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for number in range(count):
                values = generator.integers(0, 120, (18, 24, 3), dtype=np.uint8)
                values[..., channel] += 100
                Image.fromarray(values).save(tmp_path / "photos" / split / name / f"{number}.png")
    photos = tmp_path / "photos"
    for family, updated in (("vit", False), ("resnet", True)):
        runs = []
        for method in ("full", {"last_k": {"k": 1}}):
            batch_norm = {"batch_norm": "updated"} if updated else {}
            recipe = {
                "model": str(tiny_model(family)),
                "method": method,
                "data": {"train": f"{photos}@train", "validation": f"{photos}@val", "test": f"{photos}@test"},
                "train": {**TRAIN, "max_steps": 2, **batch_norm},
                "evaluate": {"resamples": 100},
            }
            runs.append(tmp_path / f"{family}-{updated}-{len(runs)}")
            run(recipe_from(recipe), runs[-1], folder=tmp_path)
        out = tmp_path / f"soup-{family}-{updated}"
        if updated:
            with pytest.raises(ModelError, match="other running statistics"):
                make_soup(runs, out, "uniform")
            assert not out.exists()
            continue
        record = make_soup(runs, out, "greedy")
        assert record.status == "finished" and verify_run(out).ok and (out / "looked_at.json").is_file()
        files = sorted((photos / "test").rglob("*.png"))
        said = read_predictions(out, "test")
        assert sorted(load(out).scores(files)[:, 0]) == pytest.approx(sorted(said.scores[:, 0]), abs=1e-5)
