from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

import tunewise
from tunewise.conformance.checks import Outcome
from tunewise.conformance.matrix import (
    all_pairs,
    missing_packages,
    nearest_working,
    sample,
    support_matrix,
    trials,
)
from tunewise.conformance.models import FAMILIES
from tunewise.methods import METHODS

STORED = Path(tunewise.__file__).parent / "methods" / "support.json"
ABLE = [name for name in METHODS if not missing_packages(name)]
MADE = [family for family in FAMILIES if not missing_packages(family)]
"""Models of timm come with the extra `vision`; the tests go without where it is not installed."""


def stored_pairs() -> dict[tuple[str, str], dict]:
    """The support matrix of the repository."""
    return {(pair["method"], pair["model"]): pair for pair in json.loads(STORED.read_text(encoding="utf-8"))["pairs"]}


@pytest.fixture(scope="module")
def sampled() -> list[Outcome]:
    with trials() as conform_pair:
        return list(sample(conform_pair, ABLE, MADE))


@pytest.mark.parametrize("method", ABLE)
def test_a_method_does_what_it_promises_with_a_model_of_the_sample(method, sampled):
    found = {outcome.model: outcome for outcome in sampled if outcome.method == method}
    failures = [f"{model}: {outcome.check}: {outcome.reason}" for model, outcome in found.items()]
    assert "failed" not in {outcome.status for outcome in found.values()}, failures
    assert "works" in {outcome.status for outcome in found.values()}


def test_the_sample_has_each_model_at_work(sampled):
    assert {outcome.model for outcome in sampled if outcome.status == "works"} == set(MADE)


def test_the_support_matrix_of_the_repository_says_what_the_sample_finds(sampled):
    stored = stored_pairs()
    for outcome in sampled:
        pair = stored[outcome.method, outcome.model]
        found = (outcome.status, outcome.reason, outcome.merge)
        assert (pair["status"], pair["reason"], pair["merge"]) == found, "run `make conformance`"


def test_the_support_matrix_of_the_repository_has_every_pair_and_its_advice_works():
    stored = stored_pairs()
    assert set(stored) == {(method, model) for method in METHODS for model in FAMILIES}, "run `make conformance`"
    for (method, model), pair in stored.items():
        if pair["status"] == "works":
            assert pair["reason"] is pair["instead"] is None
        else:
            assert pair["status"] == "refused" and len(pair["reason"]) > 10
            assert pair["instead"] != method and stored[pair["instead"], model]["status"] == "works"
    assert all(stored["full", model]["status"] == "works" for model in FAMILIES)


@pytest.mark.slow
def test_every_method_does_what_it_promises_with_every_model():
    with trials() as conform_pair:
        outcomes = nearest_working(list(all_pairs(conform_pair, ABLE, MADE)))
    assert [outcome for outcome in outcomes if outcome.status == "failed"] == []
    stored = stored_pairs()
    for pair in support_matrix(outcomes)["pairs"]:
        assert stored[pair["method"], pair["model"]] == pair


# ---------------------------------------------------------------- what is done with outcomes


def scripted(refused: set[str]):
    """Outcomes without a model: `refused` holds `method model`; the nearest method is always `b`."""
    tried: list[str] = []

    def conform_pair(method: str, model: str) -> Outcome:
        tried.append(f"{method} {model}")
        if tried[-1] in refused:
            return Outcome(method, model, "refused", reason="it cannot", instead="b")
        return Outcome(method, model, "works")

    return conform_pair, tried


def test_the_sample_starts_from_another_model_for_each_method():
    conform_pair, tried = scripted(set())
    list(sample(conform_pair, ["a", "b", "c"], ["x", "y", "z"]))
    assert tried == ["a x", "b y", "c z"]


def test_the_sample_goes_on_until_each_method_and_each_model_works():
    conform_pair, tried = scripted({"a x", "a y", "b z"})
    outcomes = list(sample(conform_pair, ["a", "b"], ["x", "y", "z"]))
    assert tried == ["a x", "a y", "a z", "b y", "b x"]
    assert [f"{outcome.method} {outcome.model}" for outcome in outcomes] == tried


def test_the_sample_does_not_try_a_pair_twice():
    conform_pair, tried = scripted({"a x", "b x", "b y"})
    list(sample(conform_pair, ["a", "b"], ["x", "y"]))
    assert tried == ["a x", "a y", "b y", "b x"]


def test_all_pairs():
    conform_pair, tried = scripted(set())
    assert len(list(all_pairs(conform_pair, ["a", "b"], ["x", "y"]))) == 4
    assert tried == ["a x", "a y", "b x", "b y"]


def test_the_nearest_method_is_one_that_works_with_the_model():
    def refused(method: str, model: str, instead: str) -> Outcome:
        return Outcome(method, model, "refused", reason="it cannot", instead=instead)

    outcomes = [
        refused("a", "x", "b"),
        refused("b", "x", "c"),
        Outcome("c", "x", "works"),
        refused("a", "y", "b"),
        Outcome("b", "y", "works"),
        refused("c", "y", "d"),  # not tried: trusted
        refused("e", "z", "f"),
        refused("f", "z", "e"),  # a circle
    ]
    found = nearest_working(outcomes)
    assert [outcome.instead for outcome in found] == ["c", "c", None, "b", None, "d", "full", "full"]
    assert [outcome.status for outcome in found] == [outcome.status for outcome in outcomes]


def test_the_matrix_is_sorted_and_says_what_it_was_made_with():
    outcomes = [
        Outcome("b", "x", "works", merge="equal", seconds=0.3),
        Outcome("a", "y", "refused", reason="it cannot", instead="b", seconds=0.1),
        Outcome("a", "x", "works", seconds=0.2),
    ]
    whole = {"status": "works", "reason": None, "instead": None, "merge": None}
    assert support_matrix(outcomes) == support_matrix(outcomes[::-1])
    assert support_matrix(outcomes)["pairs"] == [
        {"method": "a", "model": "x", **whole},
        {"method": "a", "model": "y", **whole, "status": "refused", "reason": "it cannot", "instead": "b"},
        {"method": "b", "model": "x", **whole, "merge": "equal"},
    ]
    made_with = support_matrix([])["made_with"]
    assert list(made_with) == ["transformers", "peft", "torch"] and made_with["peft"] == version("peft")
    assert made_with["torch"] == version("torch").split("+")[0]


def test_packages_that_are_missing(monkeypatch):
    monkeypatch.setattr(METHODS["full"], "packages", ("json", "no_such_package"))
    assert missing_packages("full") == ["no_such_package"] and missing_packages("head") == []


def test_trials_leave_nothing_behind(monkeypatch, tmp_path):
    import tempfile

    import torch

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    threads = torch.get_num_threads()
    with trials() as conform_pair:
        assert conform_pair("head", "resnet").status == "works"
        assert any(tmp_path.iterdir()) and torch.get_num_threads() == 1
    assert list(tmp_path.iterdir()) == [] and torch.get_num_threads() == threads
