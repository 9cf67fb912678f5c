"""`train`, `predict`, `evaluate`, `runs`, `methods`, `init`: what a user types, and what comes of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

import tunewise as package
from tunewise.cli.printing import works_with
from tunewise.methods import METHODS


@pytest.fixture
def trained(recipe, tunewise, tmp_path: Path) -> Path:
    out = tmp_path / "one"
    result = tunewise("train", recipe(), "--method", "lora", "--out", out, "--set", "train.max_steps=6")
    assert result.exit_code == 0, result.output
    assert "f1_macro" in result.stdout and str(out / "model") in result.stdout
    return out


def test_train_leaves_a_run(trained: Path) -> None:
    record = json.loads((trained / "record.json").read_text())
    assert record["status"] == "finished" and record["method"] == "lora(rank=2)"  # the recipe's options for it hold
    assert record["recipe"]["train"]["max_steps"] == 6
    assert {"model", "predictions", "tensorboard", "log.jsonl", "recipe.yaml", "record.json"} <= {
        path.name for path in trained.iterdir()
    }
    assert (trained / "model" / "adapter_model.safetensors").is_file()
    assert "library_name: peft" in (trained / "model" / "README.md").read_text()


def test_train_again_needs_resume(trained: Path, recipe, tunewise) -> None:
    again = ("train", recipe(), "--method", "lora", "--out", trained, "--set", "train.max_steps=6")
    refused = tunewise(*again)
    assert refused.exit_code != 0 and "--resume" in refused.stderr
    assert tunewise(*again, "--resume").exit_code == 0
    other = tunewise("train", recipe(), "--method", "head", "--out", trained, "--resume")
    assert other.exit_code != 0 and "another recipe" in other.stderr


def test_train_wants_one_method(recipe, tunewise, tmp_path: Path) -> None:
    result = tunewise("train", recipe(), "--out", tmp_path / "x")
    assert result.exit_code == 2 and "--method" in result.stderr and not (tmp_path / "x").exists()


def test_predict_a_text(trained: Path, tunewise) -> None:
    result = tunewise("predict", trained, "--text", "my parcel is late")
    label, *probabilities = result.stdout.splitlines()
    assert label in ("refund", "delivery", "praise") and len(probabilities) == 3
    assert label == package.load(trained).predict(["my parcel is late"])[0]["label"]


def test_predict_a_file(trained: Path, tunewise, tmp_path: Path) -> None:
    texts = ["my parcel is late", "", '=cmd("x")', "great, thanks"]
    (tmp_path / "new.csv").write_text(
        "message\n" + "".join(f'"{text.replace(chr(34), chr(34) * 2)}"\n' for text in texts)
    )
    out = tmp_path / "predictions.csv"
    result = tunewise("predict", trained, "--data", tmp_path / "new.csv", "--out", out)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(out.open()))
    assert [row["message"] for row in rows] == [texts[0], "", "'" + texts[2], texts[3]]
    expected = package.load(trained).scores(texts)
    found = [[float(row[f"p({label})"]) for label in ("delivery", "praise", "refund")] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_evaluate_equals_the_record(trained: Path, recipe, tunewise, tickets: Path) -> None:
    """On the rows that were its test split, the model handed over scores as in training."""
    from tunewise.data.prepare import prepare
    from tunewise.recipe import load_recipe

    path = recipe()
    test = prepare(load_recipe(path).data, path.parent).splits["test"]
    file = path.parent / "test.csv"
    rows = list(csv.reader(tickets.open()))
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([rows[0], *(rows[number] for number in test.rows)])
    result = tunewise("evaluate", trained, "--data", file, "--json")
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)["scores"]
    recorded = json.loads((trained / "record.json").read_text())["scores"]["test"]
    assert scores["accuracy"]["value"] == recorded["accuracy"]["value"]
    assert scores["log_loss"]["value"] == pytest.approx(recorded["log_loss"]["value"], rel=1e-5)
    assert "accuracy" in tunewise("evaluate", trained, "--data", file).stdout


def test_runs_lists_what_was_run(trained: Path, tunewise) -> None:
    rows = json.loads(tunewise("runs", "--out", trained.parent, "--json").stdout)
    assert [(row["method"], row["status"], row["metric"]) for row in rows] == [("lora(rank=2)", "finished", "f1_macro")]
    assert "lora(rank=2)" in tunewise("runs", "--out", trained.parent).stdout
    verified = tunewise("runs", "verify", trained)
    assert verified.exit_code == 0 and "all as they were written" in verified.stdout, verified.output


def test_methods_as_json(tunewise) -> None:
    described = {method["name"]: method for method in json.loads(tunewise("methods", "--json").stdout)}
    assert list(described) == list(METHODS)
    lora = described["lora"]
    assert (lora["group"], lora["handover"], lora["needs"]) == ("low-rank and multiplicative", "peft", ["peft"])
    assert lora["explanation"].startswith("y = W x + (alpha / r) B A x") and "10x" in lora["learning_rate"]
    assert "rank" in {option["path"] for option in lora["options"]} and lora["package"] is None
    assert lora["support"]["bert"] == {"status": "works", "reason": None, "instead": None}
    assert described["features"]["learning_rate"] is None and described["scratch"]["control"]
    bitfit = described["bitfit"]["support"]["llama"]
    assert (bitfit["status"], bitfit["instead"]) == ("refused", "norms") and "no biases" in bitfit["reason"]
    (alone,) = json.loads(tunewise("methods", "lora", "--json").stdout)
    assert alone == lora


def test_methods_as_a_table(tunewise, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    lines = [line.rstrip() for line in tunewise("methods").stdout.splitlines()]
    assert max(map(len, lines)) <= 100
    found = {line.split()[0]: place for place, line in enumerate(lines) if line.split()}
    for group in dict.fromkeys(method.group for method in METHODS.values()):
        assert group in lines
        for name, method in METHODS.items():
            if method.group == group:
                assert lines.index(group) < found[name] and "" not in lines[lines.index(group) : found[name]]
    assert lines[0].split() == ["method", "trains", "gives", "labels", "writes"]
    assert lines[found["full"]].split() == ["full", "every", "tensor", "all", "all"]
    labels, writes = lines[0].index("gives labels"), lines[0].index("writes")
    bitfit = [line[labels:].strip() for line in lines[found["bitfit"] : found["bitfit"] + 3]]
    assert bitfit[0].startswith("all but llama,") and lines[found["bitfit"]][writes:] == "bart, gpt2, opt"
    assert lines[found["visual_prompt"]].split()[-2:] == ["vit", "none"]


def test_everything_about_a_method(tunewise) -> None:
    told = tunewise("methods", "bitfit", "lora").stdout
    assert all(METHODS[name].source in told for name in ("bitfit", "lora"))
    assert "works with: all but llama, modernbert, t5; writing: " in told
    assert "llama: the blocks of this 'llama' model have no biases (instead: norms)" in told
    assert "rank (16): Rank r of the update." in told and "1e-3 (768 / width)" in told
    wrong = tunewise("methods", "lorra")
    assert wrong.exit_code == 2 and "did you mean 'lora'?" in wrong.stderr


@pytest.mark.parametrize(
    ("works", "refused", "told"),
    [
        ("", "", "not tried yet: tunewise conformance --method mine"),
        ("ab", "", "all"),
        ("ab", "c", "all but c"),
        ("ab", "cd", "a, b"),
        ("", "cd", "none"),
    ],
)
def test_works_with_in_words(works: str, refused: str, told: str) -> None:
    support = {name: {"status": "works"} for name in works} | {name: {"status": "refused"} for name in refused}
    assert works_with({"name": "mine", "support": support}) == told
    both = support | {"x-lm": {"status": "works"}, "y-lm": {"status": "refused"}}
    assert works_with({"name": "mine", "support": both}) == (f"{told}; writing: x" if support else "writing: x")


def test_init_writes_a_recipe_that_trains(tickets: Path, tiny_bert: Path, tunewise, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    assert tunewise("init", tickets, "--out", path, "--model", tiny_bert).exit_code == 0
    content = yaml.safe_load(path.read_text())
    assert content["data"]["text"] == "message" and content["data"]["label"] == "intent"
    assert (
        tunewise("train", path, "--method", "head", "--out", tmp_path / "run", "--set", "train.max_steps=1").exit_code
        == 0
    )
    assert tunewise("init", tickets, "--out", path).exit_code != 0  # never over a file


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if "text" in method.modalities])
def test_regression_with_every_method(method: str, recipe, tunewise, tickets: Path, tmp_path: Path) -> None:
    path = recipe(
        data={"train": str(tickets), "text": "message", "label": "urgency", "task": "regression"}, methods=None
    )
    out = tmp_path / method
    result = tunewise("train", path, "--method", method, "--out", out)
    assert result.exit_code == 0, result.output
    value = float(tunewise("predict", out, "--text", "my parcel is late").stdout)
    assert value == pytest.approx(package.load(out).predict(["my parcel is late"])[0]["value"], abs=1e-4)


def test_from_python(recipe, tmp_path: Path) -> None:
    record = package.train(yaml.safe_load(recipe().read_text()), method="head", out=tmp_path / "a", quiet=True)
    assert record.status == "finished" and record.scores["test"]["accuracy"].value >= 0
    comparison = package.compare(recipe(methods=["head"], seeds=1), out=tmp_path / "b", quiet=True)
    assert comparison.report.is_file() and comparison.content["summary"][0]["name"] == "majority"


@pytest.fixture
def topics(tmp_path: Path) -> Path:
    """40 rows with any number of labels, separated by |, and a second text."""
    words = {"money": "refund", "parcel": "delivery", "thanks": "praise"}
    path = tmp_path / "topics.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["message", "reply", "labels"])
        for number in range(40):
            chosen = [word for place, word in enumerate(words) if number >> place & 1]
            writer.writerow(
                [" ".join(["the", *chosen, f"today {number}"]), "please", "|".join(words[word] for word in chosen)]
            )
    return path


@pytest.mark.parametrize("method", ["features", "head", "lora", "adapter"])
def test_several_labels_of_pairs(method: str, recipe, tunewise, topics: Path, tmp_path: Path) -> None:
    data = {"train": str(topics), "text": ["message", "reply"], "label": "labels", "label_separator": "|"}
    out = tmp_path / method
    path = recipe(data=data, methods=None, evaluate={"resamples": 100, "threshold": "f1_micro"})
    result = tunewise("train", path, "--method", method, "--out", out)
    assert result.exit_code == 0, result.output
    record = json.loads((out / "record.json").read_text())
    assert record["data"]["schema"]["task"] == "multilabel" and {"hamming_loss", "f1_samples"} <= set(
        record["scores"]["test"]
    )
    answer = package.load(out).predict([("the parcel today", "please")])[0]
    threshold = json.loads((out / "model" / "tunewise.json").read_text())["threshold"]
    assert answer["labels"] == [label for label, p in answer["probabilities"].items() if p >= threshold]
    assert tunewise("predict", out, "--text", "the parcel today", "--text", "please").exit_code == 0
