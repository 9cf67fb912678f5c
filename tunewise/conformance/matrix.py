"""Which pairs of method and model to try, and the support matrix that comes of it."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from tunewise.conformance.bench import Bench
from tunewise.conformance.checks import Outcome, conform
from tunewise.conformance.language_bench import LanguageBench
from tunewise.conformance.models import FAMILIES, TIMM
from tunewise.methods import METHODS
from tunewise.methods.support import LANGUAGE

MADE_WITH = ("transformers", "peft", "torch")
Conform = Callable[[str, str], Outcome]


@contextmanager
def trials() -> Iterator[Conform]:
    """Gives a function that tries a method with a model family; models are made once, and gone afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    benches: dict[str, Bench] = {}
    with tempfile.TemporaryDirectory(prefix="tunewise-conformance-") as place:
        root = Path(place)

        def conform_pair(method: str, family: str) -> Outcome:
            if family not in benches:
                kind = LanguageBench if family.endswith(LANGUAGE) else Bench
                benches[family] = kind.make(family, root / family)
            with tempfile.TemporaryDirectory(dir=root) as folder:
                return conform(METHODS[method], benches[family], Path(folder))

        try:
            yield conform_pair
        finally:
            torch.set_num_threads(threads)


def all_pairs(conform_pair: Conform, methods: Sequence[str], families: Sequence[str]) -> Iterator[Outcome]:
    """Every pair, method by method."""
    for method in methods:
        for family in families:
            yield conform_pair(method, family)


def sample(conform_pair: Conform, methods: Sequence[str], families: Sequence[str]) -> Iterator[Outcome]:
    """Pairs in which each method and each family works once, always the same: method by method, from another family
    on each time, until one does not refuse; then the families that are left over, from the first method on."""
    tried: dict[tuple[str, str], Outcome] = {}

    def attempt(method: str, family: str) -> Outcome:
        tried[method, family] = conform_pair(method, family)
        return tried[method, family]

    for number, method in enumerate(methods):
        for step in range(len(families)):
            yield (outcome := attempt(method, families[(number + step) % len(families)]))
            if outcome.status != "refused":
                break
    for family in families:
        for method in methods:
            if any(outcome.model == family and outcome.status == "works" for outcome in tried.values()):
                break
            if (method, family) not in tried:
                yield attempt(method, family)


def missing_packages(name: str) -> list[str]:
    """What a method, or a family, needs and is not installed here."""
    needed = ("timm", "torchvision") if name in TIMM else () if name in FAMILIES else METHODS[name].packages
    return [package for package in needed if importlib.util.find_spec(package) is None]


def nearest_working(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes with the nearest method that works with the model in the place of one that refuses it too. Methods
    that were not tried with it are trusted."""
    by_pair = {(outcome.method, outcome.model): outcome for outcome in outcomes}

    def follow(outcome: Outcome) -> Outcome:
        seen, method = {outcome.method}, outcome.instead
        while (further := by_pair.get((method, outcome.model))) is not None and further.status == "refused":
            if method in seen:
                return replace(outcome, instead="full")
            seen.add(method)
            method = further.instead
        return replace(outcome, instead=method)

    return [follow(outcome) if outcome.status == "refused" else outcome for outcome in outcomes]


def support_matrix(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What is known of each pair, sorted, and the versions it was found with."""
    keys = ("method", "model", "status", "reason", "instead", "merge")
    pairs = [{key: getattr(outcome, key) for key in keys} for outcome in outcomes]
    pairs.sort(key=lambda pair: (pair["method"], pair["model"]))
    made_with = {package: version(package).partition("+")[0] for package in MADE_WITH}  # without the kind of build
    return {"pairs": pairs, "made_with": made_with}
