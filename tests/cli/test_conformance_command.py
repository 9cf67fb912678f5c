from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tunewise.conformance import matrix
from tunewise.conformance.checks import conform


def test_a_table_with_reasons(tunewise, tmp_path):
    out = tmp_path / "support.json"
    result = tunewise(
        "conformance", "--method", "head", "--method", "adapter", "--model", "gpt2", "--model", "resnet", "--out", out
    )
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.strip()}
    assert rows["method"] == ["gpt2", "resnet"]
    assert rows["head"] == ["yes", "yes"] and "adapter x resnet: " in result.stdout and "(instead: " in result.stdout
    assert "pairs: 3 work, 1 are refused with a reason, 0 failed" in result.stdout
    assert "[1/4] head x gpt2: works" in result.stderr
    pairs = json.loads(out.read_text())["pairs"]
    assert [(pair["method"], pair["model"], pair["status"]) for pair in pairs] == [
        ("adapter", "gpt2", "works"),
        ("adapter", "resnet", "refused"),
        ("head", "gpt2", "works"),
        ("head", "resnet", "works"),
    ]


def test_json_and_sample(tunewise):
    models = [part for name in ("gpt2", "vit", "resnet") for part in ("--model", name)]
    result = tunewise("conformance", "--method", "head", "--method", "norms", *models, "--sample", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [(pair["method"], pair["model"]) for pair in found["pairs"]] == [
        ("head", "gpt2"),
        ("norms", "vit"),
        ("head", "resnet"),
    ]
    assert found["left_out"] == {} and all(pair["seconds"] > 0 for pair in found["pairs"])


@pytest.fixture
def broken(monkeypatch):
    """Head fails with any model."""

    def fail(kind, bench, folder):
        outcome = conform(kind, bench, folder)
        if kind.name == "head":
            return replace(outcome, status="failed", check="the loss falls", reason="it rose")
        return outcome

    monkeypatch.setattr(matrix, "conform", fail)


def test_a_failure_is_told_and_is_the_exit_code_and_no_matrix_is_written(tunewise, tmp_path, broken):
    out = tmp_path / "support.json"
    result = tunewise("conformance", "--method", "head", "--method", "full", "--model", "resnet", "--out", out)
    assert result.exit_code == 1
    assert "head x resnet: it rose (FAILED: the loss falls)" in result.stdout
    assert "pairs: 1 work, 0 are refused with a reason, 1 failed" in result.stdout
    assert "was not written" in result.stdout and not out.exists()
    assert "failed (the loss falls: it rose)" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "lorra"), "did you mean 'lora'?"),
        (("--model", "resnett"), "did you mean 'resnet'?"),
        (("--model", "qwertyuiop"), "The models are: bert, roberta"),
    ],
)
def test_unknown_names(tunewise, arguments, message):
    result = tunewise("conformance", *arguments)
    assert result.exit_code == 2 and message in result.stderr and "Traceback" not in result.output


def test_a_method_whose_package_is_missing_is_left_out_and_no_whole_matrix_can_be_made(tunewise, tmp_path, monkeypatch):
    from tunewise.methods import METHODS

    monkeypatch.setattr(METHODS["norms"], "packages", ("no_such_package",))
    chosen = ("conformance", "--method", "norms", "--method", "head", "--model", "resnet")
    result = tunewise(*chosen)
    assert result.exit_code == 0 and "norms was left out: it needs no_such_package" in result.stdout
    result = tunewise(*chosen, "--out", tmp_path / "support.json")
    assert result.exit_code == 2 and "install no_such_package" in result.stderr
