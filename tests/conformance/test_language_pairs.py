"""A few pairs of method and language model beside the sample: what works, what is refused, and what fails."""

from __future__ import annotations

import pytest

from tunewise.conformance import checks
from tunewise.conformance.checks import conform
from tunewise.conformance.language_bench import LanguageBench
from tunewise.conformance.matrix import trials
from tunewise.methods import METHODS
from tunewise.methods.norms import Norms
from tunewise.types import ModelMap


@pytest.fixture(scope="module")
def conform_pair():
    with trials() as conform:
        yield conform


@pytest.mark.parametrize(("method", "family"), [("prompt_tuning", "t5-lm"), ("bitfit", "gpt2-lm")])
def test_what_works(method, family, conform_pair):
    outcome = conform_pair(method, family)
    assert outcome.status == "works", (outcome.check, outcome.reason)


@pytest.mark.parametrize(
    ("method", "family", "reason"),
    [
        ("features", "llama-lm", "the task is generation"),
        ("mlp_head", "gpt2-lm", "the output layer of a language model is pretrained"),
        ("head", "bart-lm", "is its embedding"),
        ("gradual", "bart-lm", "is its embedding"),
    ],
)
def test_what_is_refused(method, family, reason, conform_pair):
    outcome = conform_pair(method, family)
    assert outcome.status == "refused" and reason in outcome.reason and outcome.instead in METHODS


class Slow(Norms):
    """It finds the way down, and goes hardly any of it."""

    name = "slow"

    def learning_rate(self, model: ModelMap) -> float:
        return 1e-6


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return LanguageBench.make("llama-lm", tmp_path_factory.mktemp("llama"))


def test_a_model_that_hardly_learns_fails(llama, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "slow", Slow)
    outcome = conform(Slow, llama, tmp_path)
    assert (outcome.status, outcome.check) == ("failed", "the loss falls") and "before the training" in outcome.reason


def test_a_fall_that_could_be_luck_fails(llama, tmp_path, monkeypatch):
    """The same fall is enough or not, according to what updates of its size do by chance."""
    chance, real = [], checks.change_by_chance

    def as_large_as_the_fall(start, trained, loss, seed):
        chance.append((real(start, trained, loss, seed), loss(start) - loss(trained)))
        return 0.7 * chance[0][1]

    monkeypatch.setattr(checks, "change_by_chance", as_large_as_the_fall)
    outcome = conform(Norms, llama, tmp_path)
    assert (outcome.status, outcome.check) == ("failed", "the loss falls")
    assert "updates of the same size change it by" in outcome.reason
    ((by_chance, fall),) = chance
    assert 0 < 1.5 * by_chance < fall
