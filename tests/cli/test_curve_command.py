"""`tunewise curve` end to end on a tiny model: what it leaves, what it says, that it goes on, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tunewise as package
from tunewise.cli.main import app
from tunewise.cli.watching import Silent
from tunewise.comparison.curve import curve as draw
from tunewise.data.prepare import prepare
from tunewise.errors import Interrupted
from tunewise.recipe import load_recipe

SHARES = "0.2,0.3,0.4,0.5,0.75"


def call(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def write(tickets: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    import yaml

    def recipe(**sections: Any) -> Path:
        content = {
            "model": str(tiny_bert),
            "data": {"train": str(tickets), "text": "message", "label": "intent"},
            "methods": ["head"],
            "train": {"max_steps": 4, "batch_size": 8, "threads": 1, "precision": "fp32"},
            "evaluate": {"resamples": 100},
            "seeds": 2,
        }
        path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in {**content, **sections}.items() if v is not None}))
        return path

    return recipe


@pytest.fixture(scope="module")
def drawn(write: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """The recipe, the folder, and the result of the command."""
    path, out = write(), tmp_path_factory.mktemp("curve") / "first"
    result = call("curve", path, "--out", out, "--shares", SHARES)
    assert result.exit_code == 0, result.output
    return path, out, result


def content_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "curve.json").read_text())


def records(out: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("runs/*/record.json")}


def test_everything_is_there(drawn: tuple[Path, Path, Any]) -> None:
    _, out, result = drawn
    content = content_of(out)
    assert {run["status"] for run in content["runs"]} == {"finished"}
    assert [run["name"] for run in content["runs"][:7]] == [
        *(f"features on {share} of the rows" for share in ("0.2", "0.3", "0.4", "0.5", "0.75")),
        "features",
        "head",
    ]
    assert len(content["runs"]) == 14 and content["recipe"]["methods"] == ["head"]
    (curve,) = content["curves"]
    whole = content["data"]["rows"]["train"]
    assert [point["rows"] for point in curve["points"]] == [
        round(whole * s + 1e-9) for s in (0.2, 0.3, 0.4, 0.5, 0.75, 1)
    ]
    assert all(point["finished"] == 2 and point["low"] <= point["mean"] <= point["high"] for point in curve["points"])
    assert content["question"]["drawing"] == "features" and content["question"]["method"] == "head"
    assert {method["method"] for method in content["methods"]} == {"features", "head"}
    assert curve["law"]["b"] >= 0 and content["pairs"][0]["first"] == "features"
    page = (out / "curve.html").read_text()
    assert "What the rows are worth" in page and 'data-group="curve"' in page
    assert content["question"]["drawing"] in result.stdout and str(out / "curve.html") in result.stdout
    assert "on all rows" in result.stdout and "[14/14]" in result.stderr


def test_each_run_trained_on_its_own_draw_and_was_scored_on_the_same_rows(drawn: tuple[Path, Path, Any]) -> None:
    path, out, _ = drawn
    for run in content_of(out)["runs"]:
        record = json.loads((out / run["folder"] / "record.json").read_text())
        if run["share"] is None:
            assert "share" not in record["recipe"]["data"]
            continue
        data = record["recipe"]["data"]
        assert (data["share"], data.get("share_seed", 0)) == (run["share"], run["seed"])
        alone = load_recipe(path).data.model_copy(update={"share": run["share"], "share_seed": run["seed"]})
        assert record["data"]["fingerprint"] == prepare(alone, path.parent).fingerprint
    sizes = {run["name"]: record_rows(out, run) for run in content_of(out)["runs"]}
    assert sizes["features on 0.2 of the rows"]["train"] < sizes["features"]["train"]
    assert len({(rows["validation"], rows["test"]) for rows in sizes.values()}) == 1


def record_rows(out: Path, run: dict[str, Any]) -> dict[str, int]:
    return json.loads((out / run["folder"] / "record.json").read_text())["data"]["rows"]


def test_a_run_alone_gives_the_same(drawn: tuple[Path, Path, Any], tmp_path: Path) -> None:
    _, out, _ = drawn
    folder = out / "runs" / "features-share0.3-seed1"
    assert call("train", folder / "recipe.yaml", "--out", tmp_path / "alone").exit_code == 0
    alone = json.loads((tmp_path / "alone" / "record.json").read_text())
    assert alone["scores"] == json.loads((folder / "record.json").read_text())["scores"]


def test_again_is_quick_more_shares_are_added_and_damage_is_seen(drawn: tuple[Path, Path, Any]) -> None:
    path, out, _ = drawn
    before, told = records(out), content_of(out)
    assert call("curve", path, "--out", out, "--shares", SHARES).exit_code == 0
    again = content_of(out)
    assert records(out) == before
    assert {k: again[k] for k in ("curves", "question", "pairs")} == {
        k: told[k] for k in ("curves", "question", "pairs")
    }
    shutil.rmtree(out / "runs" / "features-share0.5-seed1")
    (out / "runs" / "features-share0.2-seed0" / "predictions" / "test.parquet").write_bytes(b"harm")
    result = call("curve", path, "--out", out, "--shares", f"{SHARES},0.9", "--json")
    assert result.exit_code == 0 and "features-share0.2-seed0 had finished, but is damaged" in result.stderr
    new = {name for name, when in records(out).items() if before.get(name) != when}
    assert new == {
        "features-share0.9-seed0",
        "features-share0.9-seed1",
        "features-share0.5-seed1",
        "features-share0.2-seed0",
    }
    printed = json.loads(result.stdout)
    assert printed["advice"]["headline"] and len(printed["shares"]) == 7
    scores = {run["folder"]: run["scores"] for run in told["runs"]}
    again = {run["folder"]: run["scores"] for run in printed["runs"]}
    assert all(again[folder] == value for folder, value in scores.items())
    assert call("runs", "verify", out).exit_code == 0
    (out / "curve.html").write_text((out / "curve.html").read_text().replace("<h1>", "<h1>!"))
    verified = call("runs", "verify", out)
    assert verified.exit_code == 1 and "curve.html" in verified.output


@pytest.mark.slow
def test_interrupted_then_continued_equals_uninterrupted(drawn: tuple[Path, Path, Any], tmp_path: Path) -> None:
    class Stopping(Silent):
        ended = 0

        def on_end(self, entry, record, seconds: float) -> None:
            self.ended += 1
            if self.ended == 3:
                os.kill(os.getpid(), signal.SIGINT)

    path, whole, _ = drawn
    out, shares = tmp_path / "out", [float(share) for share in SHARES.split(",")]
    with pytest.raises(Interrupted, match="finished runs are kept"):
        draw(load_recipe(path), out, folder=path.parent, watcher=Stopping(), shares=shares)
    stopped = content_of(out)
    assert 3 <= sum(run["status"] == "finished" for run in stopped["runs"]) < 14
    assert stopped["question"] is None and stopped["curves"][0]["law"] is None
    done = draw(load_recipe(path), out, folder=path.parent, watcher=Silent(), shares=shares)
    by_folder = {run["folder"]: run["scores"] for run in content_of(whole)["runs"]}
    assert all(by_folder[run["folder"]] == run["scores"] for run in done.content["runs"])


@pytest.mark.slow
def test_runs_of_a_comparison_count(write: Callable[..., Path], tmp_path: Path) -> None:
    path, out = write(seeds=1), tmp_path / "out"
    assert call("compare", path, "--out", out).exit_code == 0
    before = records(out)
    assert call("curve", path, "--out", out, "--shares", "0.5").exit_code == 0
    assert {name: records(out)[name] for name in before} == before
    assert set(records(out)) - set(before) == {"features-share0.5-seed0", "features-share1-seed0"}
    content = content_of(out)
    assert content["curves"][0]["why_no_law"] == "a fit needs 5 sizes, and 2 have results"
    assert "Each share was drawn once" in (out / "curve.html").read_text()
    assert call("runs", "verify", out).exit_code == 0


@pytest.mark.slow
def test_methods_that_draw(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(methods=[{"lora": {"rank": 2}}], seeds=1)
    done = package.curve(path, tmp_path / "out", shares=[0.5], methods=["lora", "head"], quiet=True)
    runs = [(run["method"], run["share"]) for run in done.content["runs"]]
    assert runs == [("lora(rank=2)", 0.5), ("head", 0.5), ("head", None), ("lora(rank=2)", None)]
    assert done.report == tmp_path / "out" / "curve.html" and done.report.is_file()


def test_shares_too_small_are_left_out_and_told(write: Callable[..., Path], tmp_path: Path) -> None:
    result = call("curve", write(seeds=1, methods=None), "--out", tmp_path / "out", "--shares", "0.01,0.5,0.501")
    assert result.exit_code == 0, result.output
    told = [line for line in result.stderr.splitlines() if line.startswith("warning: left out")]
    assert len(told) == 2 and "too few for one for each class" in told[0] and "as a smaller share is" in told[1]
    content = content_of(tmp_path / "out")
    assert [size["share"] for size in content["shares"]] == [0.5, 1.0]
    assert "names no other method" in re.sub(r"\s+", " ", result.stdout)


@pytest.mark.parametrize(
    ("options", "sections", "where"),
    [
        (["--shares", "0,0.5"], {}, "--shares"),
        (["--shares", "0.5,1.5"], {}, "--shares"),
        (["--shares", "0.5,0.5"], {}, "--shares"),
        (["--shares", "nan"], {}, "--shares"),
        (["--shares", "half"], {}, "--shares"),
        (["--method", "no_such"], {}, "no_such"),
        (["--method", "head", "--method", "head"], {}, "--method"),
        (["--set", "data.share=0.5"], {}, "data.share"),
        ([], {"rate_grid": [1, 3]}, "rate_grid"),
        ([], {"model": None, "models": ["a", "b"]}, "models"),
        ([], {"methods": [{"features": {"embed_whole": True}}]}, "embed_whole"),
    ],
)
def test_what_a_curve_cannot_use_is_refused(
    write: Callable[..., Path], tmp_path: Path, options: list[str], sections: dict[str, Any], where: str
) -> None:
    result = call("curve", write(**sections), "--out", tmp_path / "out", *options)
    assert result.exit_code == 2 and where in result.stderr and "to do:" in result.stderr, result.output
    assert not (tmp_path / "out").exists()
