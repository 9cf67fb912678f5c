"""Every method with dpo, kto, reward, grpo, rloo and ppo: it learns and leaves the rest alone, or is refused where the
support matrix says so."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from policy_bench import policy_training
from preference_rows import judged_answers, language_model, preferences
from training_bench import Recorder, Setup, set_up

from tunewise.conformance.matrix import missing_packages
from tunewise.engine.events import Step
from tunewise.engine.train import Trained
from tunewise.errors import MethodError
from tunewise.methods import METHODS
from tunewise.methods.support import support_matrix
from tunewise.models.masks import elements_of
from tunewise.types import Plan

ABLE = [
    name
    for name in (method.name for method in METHODS.own)
    if not missing_packages(name) and "preference" in METHODS[name].tasks and "text" in METHODS[name].modalities
]
SAMPLE = {
    "dpo": ("gradual", "adaptive", "prompt_tuning"),
    "kto": ("lora",),
    "reward": ("head", "vera", "ladder"),
    "grpo": ("last_k", "ia3"),
    "rloo": ("norms",),
    "ppo": ("fisher_norms",),
}


def cases(objective: str) -> list:
    """Every method; those that are not of the sample are slow."""
    sample = SAMPLE[objective]
    return [name if name in sample else pytest.param(name, marks=pytest.mark.slow) for name in ABLE]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language_model(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def preferring(model: Path, tmp_path: Path) -> Callable[[str, str], tuple[Setup, list[float]]]:
    """A training with the method's own learning rate whose every step reads all rows; the losses come with it."""

    def make(objective: str, method: str) -> tuple[Setup, Recorder]:
        recorder = Recorder()
        setup = set_up(
            model,
            judged_answers(24, 6) if objective == "kto" else preferences(24, 6),
            tmp_path,
            method,
            objective={objective: {}},
            dropout=0.0,
            learning_rate=None,
            batch_size=24,
            max_steps=16,
            observers=[recorder],
        )
        return setup, recorder

    return make


def trained_or_refused(setup: Setup, recorder: Recorder, method: str, language: bool = True) -> Trained | None:
    """None where the method refuses the model: before the first step, with a reason and a method that does work; as the
    table of methods says where the model gives the next token."""
    family = "llama-lm" if language else "llama"
    try:
        trained = setup.train()
    except MethodError as refused:
        assert not recorder.of(Step) and len(refused.what) > 20
        instead = refused.instead or METHODS[method].instead
        assert instead in METHODS and instead != method
        assert support_matrix().get(method, family).status == "refused"
        return None
    assert support_matrix().get(method, family).status == "works"
    return trained


def check_what_changed(setup: Setup, trained: Trained, before: dict[str, torch.Tensor]) -> None:
    """Some of what the plans name, and nothing else of the model."""
    plans = [Plan.from_dict(entry) for entry in trained.plans]
    now = setup.weights
    for name, tensor in before.items():
        planned = [plan for plan in plans if plan.rule_for(name)]
        taken_apart = any(getattr(part, "splits_base", False) for plan in plans for part in plan.inserts)  # PiSSA
        if not planned and not taken_apart and now[name].dtype == tensor.dtype:  # in 4 bits it is another tensor
            assert torch.equal(now[name], tensor), name
        masks = [next((mask for mask in plan.masks if mask.name == name), None) for plan in planned]
        if masks and all(masks):
            trains = sum(torch.from_numpy(elements_of(mask, tuple(tensor.shape))).int() for mask in masks) > 0
            assert torch.equal(now[name][~trains], tensor[~trains]), name
    assert any(name not in before or not torch.equal(tensor, before[name]) for name, tensor in now.items())


@pytest.mark.parametrize("method", cases("dpo"))
def test_dpo(method, preferring):
    """The loss is ln 2 where the method begins with the base model, and falls."""
    setup, recorder = preferring("dpo", method)
    before = setup.weights
    if (trained := trained_or_refused(setup, recorder, method)) is None:
        return
    losses = [event.loss for event in recorder.of(Step)]
    if METHODS[method].starts_unchanged:
        assert losses[0] == pytest.approx(math.log(2), abs=2e-6)
    assert losses[-1] < 0.99 * losses[0]
    check_what_changed(setup, trained, before)


@pytest.mark.parametrize("method", cases("kto"))
def test_kto(method, preferring):
    """The loss is 1/2 where the method begins with the base model, and falls."""
    setup, recorder = preferring("kto", method)
    before = setup.weights
    if (trained := trained_or_refused(setup, recorder, method)) is None:
        return
    losses = [event.loss for event in recorder.of(Step)]
    if METHODS[method].starts_unchanged:
        assert losses[0] == pytest.approx(0.5, abs=2e-6)
    assert losses[-1] < 0.997 * losses[0]  # a step reads all rows, without dropout: there is no noise
    check_what_changed(setup, trained, before)


@pytest.mark.parametrize("method", cases("reward"))
def test_reward(method, preferring):
    setup, recorder = preferring("reward", method)
    before = setup.weights
    if (trained := trained_or_refused(setup, recorder, method, language=False)) is None:
        return
    losses = [event.loss for event in recorder.of(Step)]
    assert losses[-1] < 0.99 * losses[0]
    check_what_changed(setup, trained, before)


@pytest.mark.parametrize(
    ("objective", "method"),
    [
        pytest.param(name, *getattr(case, "values", (case,)), marks=getattr(case, "marks", ()))
        for name in ("grpo", "rloo")
        for case in cases(name)
    ],
)
def test_grpo_and_rloo(objective, method, tmp_path_factory, tmp_path):
    """Two rounds of answers; the second round is written by the model that the first has changed."""
    recorder = Recorder()
    setup = policy_training(
        tmp_path_factory.getbasetemp(),
        tmp_path,
        {objective: {"samples": 4, "beta": 0.1}},
        method,
        learning_rate=None,
        max_steps=2,
        observers=(recorder,),
    )
    before = setup.weights
    if (trained := trained_or_refused(setup, recorder, method)) is None:
        return
    rows = [row["figures"] for row in setup.log() if row["event"] == "wrote"]
    assert len(rows) == 2 and all(math.isfinite(value) for row in rows for value in row.values() if value is not None)
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-6) and rows[1]["kl"] != 0  # of a few answers: may be below 0
    check_what_changed(setup, trained, before)


@pytest.mark.parametrize("method", cases("ppo"))
def test_ppo(method, tmp_path_factory, tmp_path):
    """The value head learns beside whatever the method trains, and is taken off again."""
    recorder = Recorder()
    setup = policy_training(
        tmp_path_factory.getbasetemp(),
        tmp_path,
        {"ppo": {"samples": 4, "updates": 2}},
        method,
        learning_rate=None,
        max_steps=4,
        observers=(recorder,),
    )
    before = setup.weights
    if (trained := trained_or_refused(setup, recorder, method)) is None:
        return
    rows = [row["figures"] for row in setup.log() if row["event"] == "wrote"]
    assert len(rows) == 4 and all(math.isfinite(value) for row in rows for value in row.values() if value is not None)
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-6) and rows[2]["kl"] != 0
    assert any(rule.pattern == "value_head.*" for rule in trained.plan.rules)
    check_what_changed(setup, trained, before)


def test_no_method_for_language_models_is_left_out_where_rows_are_prompts():
    assert {name for name in ABLE if "prompts" not in METHODS[name].tasks} == set()
