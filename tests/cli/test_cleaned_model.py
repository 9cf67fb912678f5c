"""A model that was trained on cleaned texts cleans what it is given later in the same way."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tunewise as package
from tunewise.commit import commit_folder
from tunewise.data.prepare import prepare
from tunewise.errors import CorruptError
from tunewise.recipe import load_recipe
from tunewise.tracking.predictions import read_predictions

CLEAN = {"html_entities": True, "fix_encoding": True, "normalise": True}
SPOILT = (" cafÃ©  &amp; ", "great\u200b\u00a0\u00a0refund &quot;now&quot; ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tickets: Path) -> Path:
    """The tickets with a spoilt end to every third text."""
    made = tmp_path_factory.mktemp("spoilt")
    rows = list(csv.reader(tickets.open(encoding="utf-8")))
    with (made / "tickets.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        for number, row in enumerate(rows[1:]):
            writer.writerow([row[0] + (SPOILT[number % 2] if number % 3 == 0 else ""), *row[1:]])
    return made


@pytest.fixture(scope="module")
def model(folder: Path, tiny_bert: Path) -> Path:
    recipe = {
        "model": str(tiny_bert),
        "data": {"train": str(folder / "tickets.csv"), "text": "message", "label": "intent", "clean": CLEAN},
        "method": "head",
        "train": {"max_steps": 4, "batch_size": 8, "threads": 1, "precision": "fp32"},
        "evaluate": {"resamples": 100},
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    package.train(folder / "recipe.yaml", folder / "run", quiet=True)
    return folder / "run"


def test_raw_texts_get_the_scores_that_the_run_kept(model: Path, folder: Path) -> None:
    data = prepare(load_recipe(folder / "recipe.yaml").data, folder)
    raw = [row["message"] for row in csv.DictReader((folder / "tickets.csv").open(encoding="utf-8", newline=""))]
    test = data.splits["test"]
    given = [raw[row - 1] for row in test.rows]
    assert sum(text != cleaned for text, (cleaned,) in zip(given, test.texts, strict=True)) >= 3
    loaded = package.load(model)
    np.testing.assert_allclose(loaded.scores(given), read_predictions(model, "test").scores, atol=1e-5)
    np.testing.assert_array_equal(loaded.scores(given), loaded.scores([text for (text,) in test.texts]))
    meta = json.loads((model / "model" / "tunewise.json").read_text())
    assert (meta["clean"], meta["format"]) == (["html_entities", "fix_encoding", "normalise"], 3)


def test_it_is_the_model_that_cleans(model: Path) -> None:
    """Where the file says nothing of cleaning, the scores of a spoilt text are others."""
    plain = _with(model, lambda meta: meta.pop("clean"))
    texts = ["great" + SPOILT[0], "refund" + SPOILT[1]]
    assert not np.allclose(package.load(plain).scores(texts), package.load(model).scores(texts), atol=1e-6)
    clean = ["great café &", 'refundgreat refund "now"']
    np.testing.assert_array_equal(package.load(plain).scores(clean), package.load(model).scores(texts))


@pytest.mark.parametrize("wrong", [["os.system"], "normalise", [1], ["normalise", "html_entities"], None])
def test_other_steps_in_the_models_file_are_refused(model: Path, wrong: Any) -> None:
    with pytest.raises(CorruptError, match="its 'clean' is not what tunewise writes"):
        package.load(_with(model, lambda meta: meta.update(clean=wrong)))


def test_predict_and_evaluate_read_files_as_they_are(
    model: Path, folder: Path, tunewise: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "said.csv"
    done = tunewise("predict", model, "--data", folder / "tickets.csv", "--out", out)
    assert done.exit_code == 0, done.output
    raw = [row["message"] for row in csv.DictReader((folder / "tickets.csv").open(encoding="utf-8", newline=""))]
    said = list(csv.DictReader(out.open(encoding="utf-8", newline="")))
    assert [row["message"] for row in said] == raw
    expected = package.load(model).scores(raw)
    found = [[float(row[f"p({label})"]) for label in package.load(model).labels] for row in said]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    told = json.loads(tunewise("evaluate", model, "--data", folder / "tickets.csv", "--json").stdout)
    assert told["rows"] == 90


def _with(model: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A copy of the model with another tunewise.json."""
    source = model / "model"
    target = model.parent / f"copy-{len(list(model.parent.iterdir()))}"

    def write(staging: Path) -> None:
        for file in source.iterdir():
            if file.name != "manifest.json":
                (staging / file.name).write_bytes(file.read_bytes())
        meta = json.loads((staging / "tunewise.json").read_text())
        change(meta)
        (staging / "tunewise.json").write_text(json.dumps(meta))

    commit_folder(target, write, {"kind": "transformers"})
    return target
