"""`tunewise check`, and the brief look at the data before every training."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunewise as package
from tunewise.check import check, find
from tunewise.commit import check_page, unsealed
from tunewise.errors import DataError
from tunewise.recipe import load_recipe
from tunewise.report.html import render_html

HOSTILE = "\x1b[2J[red]\u202e<script>alert(1)</script>"


@pytest.fixture
def spoiled(tmp_path: Path, recipe: Callable[..., Path], tickets: Path) -> Callable[..., Path]:
    """`spoiled(**sections)`: a recipe on the tickets; two of the ten rows of its test set are in train, and one class
    has few rows."""
    with tickets.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rare = rows[0]["intent"]
    few = [row for row in rows if row["intent"] != rare] + [row for row in rows if row["intent"] == rare][:4]
    new = [{**row, "message": f"something new {place}"} for place, row in enumerate(rows[:8])]
    shared = [row for row in few if row["intent"] != rare][:2]
    few[5] = {**few[5], "message": HOSTILE + "good " * 80}
    held_out = [{**row, "message": f"another one {place}"} for place, row in enumerate(rows[:12])]
    for name, part in (("few.csv", few), ("valid.csv", held_out), ("test.csv", [*new, *shared])):
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(part)

    def make(**sections: Any) -> Path:
        data = {"train": "few.csv", "validation": "valid.csv", "test": "test.csv", "text": "message", "label": "intent"}
        return recipe(**{**sections, "data": {**data, **sections.get("data", {})}})

    return make


def test_what_a_user_sees(spoiled: Callable[..., Path], tunewise: Callable[..., Any]) -> None:
    result = tunewise("check", spoiled(data={"sensitive": ["region"]}))
    assert result.exit_code == 0, result.output
    first = result.stdout.splitlines()[0]
    assert first.endswith("nothing that stops training") and "rows" in first
    for words in (
        "2 of 10 rows of test have a text that is also in train",
        "rows are longer than 64 tokens and will be cut at their ends",
        "no split repeats a row",
        "groups of 'region' have fewer than 30 rows",
        "What the model gets of row 1 of train",
        "[CLS]",
        "[red]",
    ):
        assert words in result.stdout
    assert "\x1b[2J" not in result.stdout and "\u202e" not in result.stdout
    assert "looking: Texts that are cut" in result.stderr


def test_what_the_recipe_declares_blocking_is_the_exit_code(
    spoiled: Callable[..., Path], tunewise: Callable[..., Any]
) -> None:
    blocked = tunewise("check", spoiled(check={"block": ["leakage"]}))
    assert blocked.exit_code == 1 and "STOPS" in blocked.stdout
    findings = [line for line in blocked.stdout.splitlines() if line.startswith("\u25cf")]
    assert findings[0].startswith("\u25cf leakage in test")  # though it is not the first of the checks
    assert tunewise("check", spoiled(check={"block": ["duplicates"]})).exit_code == 0
    assert tunewise("check", spoiled(check={"block": ["coverage"]})).exit_code == 1  # which cannot be looked for
    wrong = tunewise("check", spoiled(), "--set", "data.label=nothing")
    assert wrong.exit_code == DataError("x").exit_code not in (0, 1)


def test_skip(spoiled: Callable[..., Path], tunewise: Callable[..., Any]) -> None:
    path = spoiled(check={"skip": ["duplicates"]})
    content = json.loads(tunewise("check", path, "--json", "--skip", "leakage", "--skip", "truncation").stdout)
    assert {entry["kind"] for entry in content["checks"]} & {"duplicates", "leakage", "truncation"} == set()
    assert {entry["kind"] for entry in content["checks"]} >= {"imbalance", "conflicting_labels"}
    unknown = tunewise("check", path, "--skip", "leakages")
    assert unknown.exit_code == 2 and "leakage" in unknown.stderr and "check.skip" in unknown.stderr
    both = tunewise("check", spoiled(check={"block": ["leakage"]}), "--skip", "leakage")
    assert both.exit_code == 2 and "take leakage out of block or skip" in both.stderr


def test_json_and_page_hold_every_row(
    spoiled: Callable[..., Path], tunewise: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "checked"
    result = tunewise("check", spoiled(check={"block": ["leakage"]}), "--out", out, "--json")
    assert result.exit_code == 1
    printed = json.loads(result.stdout)
    written = unsealed((out / "check.json").read_bytes(), out / "check.json")
    assert written.items() >= printed.items() and written["recipe"]["check"] == {"block": ["leakage"]}
    (leak,) = [finding for finding in written["findings"] if finding["kind"] == "leakage"]
    assert leak["rows"] == [9, 10] and leak["count"] == 2 and printed["findings"][0] == leak
    assert [split["rows"] for split in written["overview"]["splits"]][-1] == 10
    assert written["rendered"][0]["pieces"][0] == {"token": "[CLS]", "part": "special", "of": None, "tag": ""}
    page = (out / "check.html").read_bytes()
    check_page(page, out / "check.html")
    assert b"<script" not in page and b"&lt;script&gt;" in page


def test_a_place_that_cannot_be_written_is_told_before_anything_else(
    spoiled: Callable[..., Path], tunewise: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    result = tunewise("check", spoiled(data={"train": "nowhere.csv"}), "--out", tmp_path / "file" / "out")
    assert result.exit_code != 0 and "nowhere.csv" not in result.stderr


def test_python(spoiled: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = spoiled(check={"block": ["leakage"]})
    found = package.check_data(path, quiet=True)
    assert found.blocked and found.of(["leakage"])[0].rows == (9, 10)
    assert capsys.readouterr() == ("", "")
    assert not package.check_data(path, overrides=["check.block=[]"]).blocked
    assert "looking" in capsys.readouterr().err


# ---------------------------------------------------------------- before training


@pytest.mark.parametrize("command", ["train", "compare", "estimate"])
def test_what_blocks_stops_every_command_before_anything_trains(
    command: str,
    spoiled: Callable[..., Path],
    tunewise: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("tunewise.models.load.load_net", never)
    path, out = spoiled(check={"block": ["leakage"]}), tmp_path / "out"
    only = ["--method", "head"] if command == "train" else []
    result = tunewise(command, path, "--out", out, *only)
    assert result.exit_code == DataError("x").exit_code
    assert "error: leakage in test: 2 of 10 rows of test have a text that is also in train" in result.stderr
    assert "check.block" in result.stderr and "data: {overlap: drop}" in result.stderr
    assert not out.exists() or not any(out.rglob("*.json"))


def imbalance_of_train(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [found for found in content["data"]["findings"] if (found["kind"], found["split"]) == ("imbalance", "train")]


def test_a_run_tells_and_keeps_what_was_found(
    spoiled: Callable[..., Path], tunewise: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = tunewise("train", spoiled(), "--method", "features", "--out", out)
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("data: imbalance in train: ")]
    (kept,) = imbalance_of_train(json.loads((out / "record.json").read_text()))
    assert line.endswith(kept["what"]) and set(kept) == {"kind", "split", "rows", "what", "fix"}
    told = [line for line in result.stderr.splitlines() if "also in train" in line or "repeat text" in line]
    assert len(told) <= 1  # by data.prepare, and not by the look as well


def test_a_comparison_looks_once_and_shows_what_was_found(
    spoiled: Callable[..., Path], tunewise: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "compared"
    result = tunewise("compare", spoiled(methods=["features"], seeds=1), "--out", out)
    assert result.exit_code == 0, result.output
    assert sum(line.startswith("data: imbalance in train: ") for line in result.stderr.splitlines()) == 1
    content = json.loads((out / "comparison.json").read_text())
    (kept,) = imbalance_of_train(content)
    page = (out / "report.html").read_text()
    assert "What was found in it" in page and "fewer than 10 rows" in kept["what"]
    for record in (out / "runs").glob("*/record.json"):
        assert kept in json.loads(record.read_text())["data"]["findings"]
    content["data"].pop("findings")  # of a comparison made before there were any
    assert "What was found in it" not in render_html(content)


def test_what_was_found_before_is_not_looked_for_again(
    spoiled: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = spoiled()
    recipe = load_recipe(path)
    found = find(recipe, path.parent)

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("looked again")

    monkeypatch.setattr("tunewise.check.before_training", never)
    again = check(recipe, path.parent, recipe.all_methods, found=found.only(recipe.model))
    assert again.found.audit == found.audit and found.audit.findings
    with pytest.raises(AssertionError, match="looked again"):
        check(recipe, path.parent, recipe.all_methods)
