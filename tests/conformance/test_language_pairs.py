"""A few pairs of method and language model in the ordinary tests: what works, and what is refused with its reason."""

from __future__ import annotations

import pytest

from tunewise.conformance.matrix import missing_packages, trials
from tunewise.conformance.models import LANGUAGE_FAMILIES
from tunewise.methods import METHODS


@pytest.fixture(scope="module")
def conform_pair():
    with trials() as conform:
        yield conform


@pytest.mark.parametrize(
    ("method", "family"), [("full", "llama-lm"), ("prompt_tuning", "t5-lm"), ("bitfit", "gpt2-lm")]
)
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


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in METHODS if not missing_packages(name)])
@pytest.mark.parametrize("family", LANGUAGE_FAMILIES)
def test_every_pair_works_or_is_refused(method, family, conform_pair):
    outcome = conform_pair(method, family)
    assert outcome.status != "failed", (outcome.check, outcome.reason)
