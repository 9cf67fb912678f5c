"""`tunewise soup`, and soups in a comparison, end to end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tunewise.check import check
from tunewise.comparison.compare import list_entries
from tunewise.comparison.rates import list_trials
from tunewise.comparison.soups import averages, list_soups
from tunewise.recipe import MethodChoice, load_recipe

METHODS = ["features", "head", "full", {"last_k": {"k": 1}}]


def results(out: Path) -> dict:
    return json.loads((out / "comparison.json").read_text())


def test_soups_of_methods_stand_beside_them(recipe, tunewise, tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = recipe(methods=METHODS, seeds=1, soups=["uniform", "greedy"])
    result = tunewise("compare", path, "--out", out)
    assert result.exit_code == 0, result.output
    content = results(out)
    soups = [run for run in content["runs"] if run["kind"] == "soup"]
    assert [(run["name"], run["seed"], run["folder"]) for run in soups] == [
        (f"soup({kind})", seed, f"runs/soup-{kind}-seed{seed}") for seed in (0,) for kind in ("uniform", "greedy")
    ]
    runs = {(run["name"], run["seed"]): run for run in content["runs"]}
    for run in soups:
        assert run["status"] == "finished" and {"accuracy", "f1_macro"} <= run["scores"]["test"].keys()
        members = run["soup"]["members"]
        assert [member["method"] for member in members] == ["head", "full", "last_k(k=1)"]
        assert {member["seed"] for member in members} == {run["seed"]}
        alone = [runs[member["method"], run["seed"]] for member in members]
        assert [member["id"] for member in members] == [each["id"] for each in alone]
        sum_of_all = sum(each["costs"]["train_seconds"] for each in alone) + run["marginal"]["train_seconds"]
        assert run["costs"]["train_seconds"] == pytest.approx(sum_of_all)
        value, best = (
            run["validation"]["f1_macro"]["value"],
            max(each["validation"]["f1_macro"]["value"] for each in alone),
        )
        assert run["soup"]["kind"] == "uniform" or value >= best - 1e-12
    summary = {entry["name"]: entry for entry in content["summary"]}
    assert summary["soup(greedy)"]["finished"] == 1 and summary["soup(greedy)"]["low"] is not None
    found = content["recommendation"]
    assert found["kind"] != "soup"
    assert {"soup(uniform)", "soup(greedy)"} <= {pair["second"] for pair in content["pairs"]} | {found["method"]}
    page = (out / "report.html").read_text()
    assert '<section id="soups">' in page and "last_k(k=1), seed 0" in page
    assert "soup(greedy) is" in " ".join(result.stdout.split())
    verified = tunewise("runs", "verify", out)
    assert verified.exit_code == 0, verified.output
    _again_and_mended(out, path, tunewise)


def _again_and_mended(out: Path, path: Path, tunewise) -> None:
    """Nothing is made twice; what is lost is made again, from what is there."""
    times = {file: file.stat().st_mtime_ns for file in out.glob("runs/*/record.json")}
    assert tunewise("compare", path, "--out", out).exit_code == 0
    assert {file: file.stat().st_mtime_ns for file in out.glob("runs/*/record.json")} == times
    before = {run["folder"]: run["scores"] for run in results(out)["runs"]}
    shutil.rmtree(out / "runs" / "full-seed0")
    shutil.rmtree(out / "runs" / "soup-greedy-seed0")
    record = out / "runs" / "soup-uniform-seed0" / "record.json"
    assert tunewise("compare", path, "--out", out).exit_code == 0
    assert {run["folder"]: run["scores"] for run in results(out)["runs"]} == before
    assert (out / "runs" / "soup-greedy-seed0" / "model").is_dir()
    made_of = [member["model"] for member in json.loads(record.read_text())["soup"]["members"]]
    assert len(set(made_of)) == 3


@pytest.mark.slow
def test_soups_of_rates_and_of_seeds(recipe, tunewise, tmp_path: Path) -> None:
    train = {"max_steps": 3, "batch_size": 8, "threads": 1, "precision": "fp32", "head_seed": 0}
    path = recipe(methods=["full"], rate_grid=[1, 3], soups={"kinds": ["greedy"], "of": "rates"})
    assert tunewise("compare", path, "--out", tmp_path / "rates").exit_code == 0
    (soup,) = [run for run in results(tmp_path / "rates")["runs"] if run["kind"] == "soup"]
    assert soup["name"] == "soup(greedy) of full" and soup["folder"] == "runs/soup-greedy-full-seed0"
    assert [member["folder"] for member in soup["soup"]["members"]] == ["../full-rate1-seed0", "../full-rate3-seed0"]
    path = recipe(methods=["full", "head"], train=train, soups={"kinds": ["uniform"], "of": "seeds"})
    assert tunewise("compare", path, "--out", tmp_path / "seeds").exit_code == 0
    soups = {run["name"]: run for run in results(tmp_path / "seeds")["runs"] if run["kind"] == "soup"}
    assert set(soups) == {"soup(uniform) of full", "soup(uniform) of head"}
    assert [member["seed"] for member in soups["soup(uniform) of full"]["soup"]["members"]] == [0, 1]


@pytest.mark.slow
def test_each_fold_has_its_soup(recipe, tickets: Path, tunewise, tmp_path: Path) -> None:
    data = {"train": str(tickets), "text": "message", "label": "intent", "folds": 2}
    path = recipe(methods=["head", "full"], data=data, seeds=1, soups=["greedy"])
    result = tunewise("compare", path, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    soups = [run for run in results(tmp_path / "out")["runs"] if run["kind"] == "soup"]
    assert [(run["fold"], run["folder"]) for run in soups] == [
        (fold, f"runs/soup-greedy-fold{fold}-seed0") for fold in (1, 2)
    ]
    for run in soups:
        assert all(f"-fold{run['fold']}-" in member["folder"] for member in run["soup"]["members"])
    (summary,) = [entry for entry in results(tmp_path / "out")["summary"] if entry["kind"] == "soup"]
    assert len(summary["seeds"]) == 1 and summary["mean"] is not None


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"methods": ["head", "features", "scratch"], "soups": ["greedy"]}, "too few methods"),
        ({"methods": ["head", "full"], "soups": {"kinds": ["greedy"], "of": "seeds"}}, "train.head_seed"),
        ({"methods": ["head"], "seeds": 1, "soups": {"kinds": ["greedy"], "of": "seeds"}}, "two seeds or more"),
        ({"methods": ["head", "full"], "soups": {"kinds": ["greedy"], "of": "rates"}}, "rate_grid"),
        ({"soups": ["tomato"]}, "soups"),
        ({"soups": ["greedy", "greedy"]}, "only once"),
        ({"soups": {"of": "seeds"}}, "needs `kinds`"),
    ],
)
def test_soups_of_nothing_are_refused_before_anything_runs(sections, words, recipe, tunewise, tmp_path: Path) -> None:
    result = tunewise("compare", recipe(**sections), "--out", tmp_path / "out")
    assert result.exit_code == 2 and words in result.stderr, result.output
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.parametrize(
    ("sections", "groups"),
    [
        (
            {"soups": ["greedy"]},
            {"soup-greedy-seed0": ["head-seed0", "full-seed0"], "soup-greedy-seed1": ["head-seed1", "full-seed1"]},
        ),
        (
            {"soups": {"kinds": ["uniform"], "of": "seeds"}},
            {
                "soup-uniform-head-seed0": ["head-seed0", "head-seed1"],
                "soup-uniform-full-seed0": ["full-seed0", "full-seed1"],
            },
        ),
        (
            {"soups": {"kinds": ["greedy"], "of": "rates"}, "rate_grid": [0.5, 2]},
            {
                "soup-greedy-head-seed0": ["head-rate0.5-seed0", "head-rate2-seed0"],
                "soup-greedy-full-seed0": ["full-rate0.5-seed0", "full-rate2-seed0"],
            },
        ),
        ({}, {}),
    ],
)
def test_which_runs_a_soup_is_made_of(sections, groups, recipe, tmp_path: Path) -> None:
    methods = ["features", "head", {"lora": {"rank": 2}}, "full", "scratch"]
    loaded = load_recipe(recipe(methods=methods, **sections))
    checked = check(loaded, tmp_path, loaded.all_methods)
    entries = list_entries(loaded, checked, tmp_path)
    soups = list_soups(loaded, entries, list_trials(loaded, entries) if loaded.rate_grid else [], tmp_path)
    assert {soup.folder.name: [folder.name for folder in soup.members] for soup in soups} == groups
    assert len({soup.folder for soup in soups}) == len(soups) and {soup.kind for soup in soups} <= {"soup"}


def test_which_methods_average() -> None:
    for name in ("full", "head", "bitfit", "norms", "attention", "feed_forward", "chosen_blocks", "layerwise", "lp_ft"):
        assert averages(MethodChoice(name=name)), name
    for name in ("features", "lora", "adapter", "mlp_head", "scratch", "prompt_tuning"):
        assert not averages(MethodChoice(name=name)), name
    assert averages(MethodChoice(name="lora", options={"merge": True}))


def test_runs_of_a_comparison_are_told_nothing_of_its_soups(recipe) -> None:
    whole = load_recipe(recipe(soups=["greedy"]))
    plain = load_recipe(recipe())
    choice = plain.all_methods[1]
    assert whole.fingerprint != plain.fingerprint
    assert whole.for_run("m", choice, 0).fingerprint == plain.for_run("m", choice, 0).fingerprint


def test_the_command_makes_a_run_that_others_take(recipe, tickets: Path, tunewise, tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("full", "head")]
    for out in runs:
        assert tunewise("train", recipe(methods=None), "--out", out, "--method", out.name).exit_code == 0
    out = tmp_path / "soup"
    result = tunewise("soup", *runs, "--out", out, "--kind", "uniform", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["soup"]["kind"] == "uniform" and [one["taken"] for one in told["soup"]["members"]] == [True, True]
    again = tunewise("soup", *runs, "--out", out, "--kind", "uniform")
    assert again.exit_code == 0 and "2 of 2 runs taken" in again.stdout and str(out / "model") in again.stdout
    evaluated = tunewise("evaluate", out, "--data", tickets, "--json")
    assert json.loads(evaluated.stdout)["rows"] == 90
    assert tunewise("predict", out, "--text", "a great thing").exit_code == 0
    listed = json.loads(tunewise("runs", "list", tmp_path, "--json").stdout)
    assert "soup(uniform)" in json.dumps(listed)
    refused = tunewise("soup", runs[0], "--out", tmp_path / "no")
    assert refused.exit_code == 2 and "two runs or more" in refused.stderr
