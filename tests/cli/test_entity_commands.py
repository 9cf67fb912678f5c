"""The commands on entities: from a CoNLL file to a report, a tagger and its predictions."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunewise.data.sentences import words_of
from tunewise.types import DataBundle


@pytest.fixture(scope="module")
def desk(
    tmp_path_factory: pytest.TempPathFactory, tagged_data: Callable[..., DataBundle], tiny_model: Callable[..., Path]
) -> Path:
    """A folder with train.conll, test.conll, and recipe.yaml."""
    folder, data = tmp_path_factory.mktemp("entities"), tagged_data(train=60, held_out=20)
    for name in ("train", "test"):
        split = data.splits[name]
        sentences = [
            "".join(f"{word}\t{data.schema.labels[tag]}\n" for word, tag in zip(words_of(text), tags, strict=False))
            for (text,), tags in zip(split.texts, split.targets, strict=True)
        ]
        (folder / f"{name}.conll").write_text("\n".join(sentences), encoding="utf-8")
    recipe = {
        "model": str(tiny_model("bert", 2)),
        "data": {"train": "train.conll", "test": "test.conll"},
        "methods": ["features", "full", {"lora": {"rank": 2}}],
        "train": {"epochs": 12, "batch_size": 8, "learning_rate": 5e-3, "threads": 1, "precision": "fp32"},
        "evaluate": {"resamples": 100},
        "seeds": 1,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def test_init_drafts_a_recipe(desk: Path, tunewise: Callable[..., Any], tmp_path: Path) -> None:
    result = tunewise("init", desk / "train.conll", "--out", tmp_path / "recipe.yaml")
    assert result.exit_code == 0, result.output
    drafted = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert (drafted["data"]["text"], drafted["data"]["label"]) == ("tokens", "tags")


@pytest.fixture(scope="module")
def compared(desk: Path) -> dict[str, Any]:
    from tunewise import compare

    compare(desk / "recipe.yaml", desk / "out", quiet=True)
    return json.loads((desk / "out/comparison.json").read_text())


def test_compare_reports_entities(compared: dict[str, Any], desk: Path) -> None:
    assert {run["method"]: run["status"] for run in compared["runs"]} == dict.fromkeys(
        ("majority", "lookup", "features", "full", "lora(rank=2)"), "finished"
    )
    assert compared["metric"] == "entity_f1"
    means = {entry["name"]: entry["mean"] for entry in compared["summary"]}
    assert means["majority"] == 0 and 0.2 < means["full"] <= 1
    page = (desk / "out/report.html").read_text()
    section = page[page.index('<section id="types">') : page.index("</section>", page.index('<section id="types">'))]
    assert all(f">{kind} ↑</th>" in section for kind in ("delivery", "praise", "refund"))
    assert section.count('<th scope="row">') == 5
    every = page[page.index('<section id="metrics">') : page.index('<section id="types">')]
    assert "entity F1" in every and "token accuracy" in every and "delivery" not in every
    assert 'id="confusion"' not in page
    row = compared["disagreements"][0]
    assert all(re.fullmatch(r".+: (delivery|praise|refund)", entity) for entity in row["truth"])
    assert "money" in page or "parcel" in page


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("full", 'pipeline("token-classification"'),
        ("lora-seed0", "AutoModelForTokenClassification"),
        ("features", "from tunewise import load"),
    ],
)
def test_model_cards_hold_code_that_runs(method: str, says: str, compared: dict[str, Any], desk: Path) -> None:
    folder = desk / "out/runs" / f"{method.removesuffix('-seed0')}-seed0/model"
    card = (folder / "README.md").read_text()
    matter = yaml.safe_load(card.split("---\n")[1])
    assert matter["pipeline_tag"] == "token-classification" and "token-classification" in matter["tags"]
    assert "finds entities in texts" in card and "calibration" not in card and says in card
    first = re.search(r"```python\n(.*?)```", card, re.DOTALL).group(1)
    code = first.replace("path/to/this/folder", str(folder)).replace("a text like those in the data", "my parcel")
    exec(compile(code, "card", "exec"), {})


def test_predict_and_evaluate(compared: dict[str, Any], desk: Path, tunewise: Callable[..., Any]) -> None:
    run = desk / "out/runs/full-seed0"
    said = tunewise("predict", run, "--text", "the courier and a refund today money")
    assert said.exit_code == 0 and re.search(r"\d entities in 7 words", said.stdout)
    result = tunewise("predict", run, "--data", desk / "test.conll", "--out", desk / "said.csv")
    assert result.exit_code == 0, result.output
    with (desk / "said.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20 and list(rows[0]) == ["tokens", "prediction", "entities"]
    assert all(len(row["tokens"].split()) == len(row["prediction"].split()) for row in rows)
    assert any(re.search(r"(delivery|praise|refund): \w", row["entities"]) for row in rows)
    scored = tunewise("evaluate", run, "--data", desk / "test.conll", "--json")
    assert scored.exit_code == 0, scored.output
    expected = next(run for run in compared["runs"] if run["method"] == "full")["scores"]["test"]
    found = json.loads(scored.stdout)["scores"]
    assert found.keys() == expected.keys()
    assert found["entity_f1"]["value"] == pytest.approx(expected["entity_f1"]["value"])


def test_errors_name_line_and_row(desk: Path, tunewise: Callable[..., Any], tmp_path: Path) -> None:
    (desk / "broken.conll").write_text("the\tO\nparcel\n")
    result = tunewise(
        "train", desk / "recipe.yaml", "--out", tmp_path / "x", "--method", "full", "--set", "data.train=broken.conll"
    )
    assert result.exit_code == 2 and "broken.conll, line 2" in result.output


def test_what_the_page_on_entities_shows(tmp_path: Path) -> None:
    from tunewise.data.prepare import prepare
    from tunewise.data.settings import DataConfig
    from tunewise.recipe import load_recipe

    page = (Path(__file__).parents[2] / "docs/entities.md").read_text(encoding="utf-8")
    conll = re.search(r"```\n(.*?)```", page, re.DOTALL).group(1)
    line = re.search(r"```json\n(.*?)```", page, re.DOTALL).group(1)
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.conll").write_text(conll, encoding="utf-8")
    (tmp_path / "train.jsonl").write_text(line, encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.DOTALL).group(1))
    data = prepare(load_recipe(tmp_path / "recipe.yaml").data, tmp_path)
    assert data.schema.labels == ("O", "B-location", "I-location", "B-person", "I-person")
    assert data.splits["test"].texts == (("Harry Kane plays in Munich .",), ("It rains .",))
    same = {"validation": "train.jsonl", "test": "train.jsonl"}
    assert prepare(DataConfig(train="train.jsonl", **same), tmp_path).splits["train"].targets.tolist() == [
        [0, 0, 0, 1, 0]
    ]
    assert re.search(r"Files that end in `.conll`, `.bio`, `.iob` or `.iob2`", page)
