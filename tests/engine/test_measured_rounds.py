"""Methods that measure before they plan, where rows are prompts: on the answers of the round of that step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from policy_bench import policy_training, wanted
from training_bench import At, Recorder

from tunewise.engine.events import Planned, Saved, Step, Warned
from tunewise.engine.loop import Training
from tunewise.engine.stop import Stop
from tunewise.errors import Interrupted, MethodError, NonFiniteError
from tunewise.methods import METHODS
from tunewise.models.blocks import named_tensors
from tunewise.models.masks import elements_of
from tunewise.types import Need, Plan

GROUP = 3
OBJECTIVES: dict[str, dict[str, Any]] = {
    "grpo": {"grpo": {"samples": GROUP, "updates": 2, "beta": 0.1}},
    "ppo": {"ppo": {"samples": GROUP, "updates": 2, "beta": 0.2, "kl_target": 1.0, "kl_horizon": 20}},
}
METHOD_OPTIONS: dict[str, dict[str, Any]] = {
    "adaptive": {"rho": 1.0, "interval": 0.75},  # 3 steps: in the middle of a round, and between two
    "chosen_blocks": {"k": 1, "batches": 3},
    "fisher_norms": {},
}
QUICK = {("adaptive", "ppo"), ("fisher_norms", "grpo")}
PAIRS = [
    pytest.param(method, objective, marks=() if (method, objective) in QUICK else pytest.mark.slow)
    for method in METHOD_OPTIONS
    for objective in OBJECTIVES
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("language-models")


@pytest.fixture
def training(models, tmp_path):
    """`training(objective, method, at="a", **settings)`"""

    def make(objective, method, *, at="a", **more):
        objective = OBJECTIVES[objective] if isinstance(objective, str) else objective
        options = more.pop("options", METHOD_OPTIONS.get(method))
        settings = {"max_steps": 8, "keep_best": False, **more}
        return policy_training(models, tmp_path / at, objective, method, options=options, **settings)

    return make


def rounds_of(setup):
    return [row for row in setup.log() if row["event"] == "wrote"]


class Measured:
    """Notes what methods were told, and the round that it was measured on."""

    def __init__(self, monkeypatch):
        self.signals, self.texts = [], []
        real = Training._make_plan

        def look(training, step):
            method, plan = training.method, training.method.plan

            def planned(model, signals):
                self.signals.append(signals)
                self.texts.append(training.feed.augmented._held)
                return plan(model, signals)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(method, "plan", planned)
                return real(training, step)

        monkeypatch.setattr(Training, "_make_plan", look)


# ---------------------------------------------------------------- by hand


def by_hand(setup, held, name, rows=None):
    """The loss of the first step of the first round, from the texts alone: old and reference probabilities are those of
    the model as it is, so that ratios are 1 and all KL is 0.

    Args:
        rows: prompts of the round; None for all.
    """
    model, answers = setup.net.model, held.tokens.answers
    texts = [answers.ids[place].tolist() for place in range(len(answers))]
    learnt = [answers.learnt[place].astype(bool) for place in range(len(answers))]
    decoded = [
        setup.net.tokenizer.decode(np.array(ids)[mask], skip_special_tokens=True)
        for ids, mask in zip(texts, learnt, strict=True)
    ]
    rewards = torch.tensor(wanted([], decoded, {}), dtype=torch.float64).reshape(-1, GROUP)
    if name == "grpo":
        advantages_A = ((rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)).flatten()
        advantages = [advantage.repeat(int(mask.sum())) for advantage, mask in zip(advantages_A, learnt, strict=True)]
    else:  # values are 0: (gamma lambda)^l of the last token's reward, whitened over the round
        decays = [0.95 ** torch.arange(int(mask.sum()) - 1, -1, -1, dtype=torch.float64) for mask in learnt]
        raw = [reward * decay for reward, decay in zip(rewards.flatten(), decays, strict=True)]
        flat = torch.cat(raw)
        advantages = [(one - flat.mean()) / torch.sqrt(flat.var() + 1e-8) for one in raw]
    total, tokens = 0.0, 0
    for place, (ids, mask) in enumerate(zip(texts, learnt, strict=True)):
        if rows is not None and place // GROUP not in rows:
            continue
        log_probs = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        chosen = log_probs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])][torch.from_numpy(mask[1:])]
        total = total - (advantages[place] * chosen).sum()
        tokens += int(mask.sum())
    return total / tokens


def gradients_of(setup, loss):
    weights = named_tensors(setup.net.model)
    for tensor in weights.values():
        tensor.grad = None
    loss.backward()
    return {name: tensor.grad.clone() for name, tensor in weights.items() if tensor.grad is not None}


def fresh(setup, first):
    """The model as it was before the training, ready for gradients."""
    setup.net.model.eval()
    with torch.no_grad():
        for name, tensor in named_tensors(setup.net.model).items():
            tensor.copy_(first[name]).requires_grad_(True)


@pytest.mark.parametrize("name", ["grpo", "ppo"])
def test_gradients_are_those_of_the_loss_of_the_round(name, training, monkeypatch):
    measured = Measured(monkeypatch)
    setup = training(name, "chosen_blocks", options={"k": 1, "metric": "gradient_norm"}, max_steps=1)
    first = setup.weights
    trained = setup.train()
    (signals,), (held,) = measured.signals, measured.texts
    fresh(setup, first)
    gradients = gradients_of(setup, by_hand(setup, held, name))
    norms = {key: float(value) for key, value in signals.measures["gradient_norm"].items()}
    blocks = setup.net.map.blocks
    assert norms.keys() >= {tensor.name for block in blocks for tensor in block.tensors}
    for key, norm in norms.items():
        assert norm == pytest.approx(float(gradients[key].norm()), rel=1e-3, abs=1e-6), key
    of_blocks = [sum(float(gradients[t.name].norm()) ** 2 for t in block.tensors) for block in blocks]
    chosen = blocks[int(np.argmax(of_blocks))]
    assert {rule.pattern for rule in trained.plan.rules if rule.pattern.startswith(chosen.path)}
    others = [block.path for block in blocks if block is not chosen]
    assert not any(trained.plan.rule_for(f"{path}.mlp.up_proj.weight") for path in others)


@pytest.mark.parametrize("name", ["grpo", "ppo"])
def test_fisher_information_is_that_of_prompts_with_their_answers(name, training, monkeypatch):
    measured = Measured(monkeypatch)
    setup = training(name, "fisher_norms", max_steps=1)
    first = setup.weights
    trained = setup.train()
    (signals,), (held,) = measured.signals, measured.texts
    fresh(setup, first)
    each = [gradients_of(setup, by_hand(setup, held, name, {row})) for row in range(len(held.rows))]
    found = signals.measures["fisher"]
    for key, fisher in found.items():
        squares = torch.stack([gradients[key] ** 2 for gradients in each]).mean(0).numpy()
        np.testing.assert_allclose(fisher, squares, rtol=2e-3, atol=1e-9, err_msg=key)
    together = np.concatenate([values.ravel() for values in found.values()])
    least = np.sort(together)[-round(0.2 * len(together))]
    for mask in trained.plan.masks:
        marks = elements_of(mask, found[mask.name].shape)
        assert (found[mask.name][marks] >= least).all() and (found[mask.name][~marks] <= least).all()


@pytest.mark.parametrize("name", ["grpo", pytest.param("ppo", marks=pytest.mark.slow)])
def test_importance_is_that_of_a_step_on_the_round(name, training, monkeypatch):
    """-sum of (w1 - w0) x gradient at w1; without the KL, whose gradient after the step is not 0."""
    objective = (
        {"grpo": {"samples": GROUP}} if name == "grpo" else {"ppo": {"samples": GROUP, "beta": 0.0, "clip": 0.99}}
    )
    measured = Measured(monkeypatch)
    plain = {"warmup": 0.0, "weight_decay": 0.0, "max_grad_norm": 0.0, "max_steps": 1}
    setup = training(objective, "adaptive", learning_rate=1e-4, **plain)
    first = setup.weights
    setup.train()
    (signals,), (held,) = measured.signals, measured.texts
    fresh(setup, first)
    weights = named_tensors(setup.net.model)
    gradients_of(setup, by_hand(setup, held, name))
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-4, weight_decay=0.0)
    optimizer.step()
    # With one step per round, grpo's loss takes the probabilities of the moment for the old ones.
    again = name == "grpo"
    after = gradients_of(setup, by_hand(setup, held, name)) if again else ratio_gradients(setup, held, first)
    for key, value in signals.measures["importance"].items():
        expected = -float(((weights[key].detach() - first[key]) * after[key]).sum())
        assert float(value) == pytest.approx(expected, rel=2e-2, abs=2e-6), key
    assert max(abs(float(value)) for value in signals.measures["importance"].values()) > 1e-4


def ratio_gradients(setup, held, first):
    """Of mean(-ratio x advantage), the ratio to the model of before: PPO without a limit that holds."""
    weights = named_tensors(setup.net.model)
    now = {name: tensor.detach().clone() for name, tensor in weights.items()}
    answers = held.tokens.answers
    learnt = [answers.learnt[place].astype(bool) for place in range(len(answers))]

    def log_probs():
        found = []
        for place, mask in enumerate(learnt):
            ids = answers.ids[place].tolist()
            of_all = setup.net.model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
            found.append(of_all[torch.arange(len(ids) - 1), torch.tensor(ids[1:])][torch.from_numpy(mask[1:])])
        return torch.cat(found)

    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(first[name])
        old = log_probs()
        for name, tensor in weights.items():
            tensor.copy_(now[name])
    advantages = torch.from_numpy(held.tokens.signals["advantages"])
    return gradients_of(setup, -((log_probs() - old).exp() * advantages).mean())


# ---------------------------------------------------------------- no trace


@pytest.mark.parametrize(("method", "objective"), PAIRS)
def test_a_measured_training_is_the_one_with_the_same_plans(method, objective, training, monkeypatch):
    """With the same plans, without anything measured: the same bits and answers; nothing is written twice."""
    asked: dict[str, list] = {"a": [], "b": []}

    def judge(at):
        return lambda prompts, completions, columns: (
            asked[at].append(completions) or wanted(prompts, completions, columns)
        )

    measuring = training(objective, method, at="a", judge=judge("a"))
    trained = measuring.train()
    plain = training(objective, method, at="b", judge=judge("b"))
    plans = {entry["step"]: Plan.from_dict(entry) for entry in trained.plans}
    kind = type(plain.method)
    monkeypatch.setattr(kind, "needs", lambda self, model, signals: ())
    monkeypatch.setattr(kind, "plan", lambda self, model, signals: without_value_head(plans[signals.step]))
    unmeasured = plain.train()
    assert [entry["step"] for entry in trained.plans] == ([0, 3, 6] if method == "adaptive" else [0])
    assert measuring.digest == plain.digest
    assert rounds_of(measuring) == rounds_of(plain)
    assert asked["a"] == asked["b"]
    # What measuring took is counted beside what the steps take.
    planned = [row["measuring_flops"] for row in measuring.log() if row["event"] == "planned"]
    assert planned == sorted(planned) and planned[0] > 0
    spent, without = (run.forward_flops + run.backward_flops for run in (trained, unmeasured))
    assert spent - planned[-1] == pytest.approx(without, rel=1e-12)


def without_value_head(plan):
    """As the method made it."""
    rules = tuple(rule for rule in plan.rules if not rule.pattern.startswith("value_head"))
    return Plan(rules, plan.learning_rate, masks=plan.masks, until=plan.until)


# ---------------------------------------------------------------- resumes

RESUMED = [*PAIRS, pytest.param("adaptive", "packed", marks=pytest.mark.slow)]


@pytest.mark.parametrize(("method", "objective"), RESUMED)
def test_stopped_after_every_step_it_is_the_training_that_never_was(method, objective, training):
    more = {"packing": True} if objective == "packed" else {}
    objective = "grpo" if objective == "packed" else objective
    whole = training(objective, method, at="whole", **more)
    trained = whole.train()
    for step in range(1, 8):
        stop = Stop()
        ask = At(step, lambda stop=stop: setattr(stop, "requested", True))
        with pytest.raises(Interrupted):
            training(objective, method, at="b", observers=(ask,), stop=stop, **more).train()
    resumed = training(objective, method, at="b", **more)
    again = resumed.train()
    assert resumed.digest == whole.digest
    assert resumed.log() == whole.log()
    for run in (trained, again):
        run.plans = [Plan.from_dict(entry) for entry in run.plans]
    costs = [(run.forward_flops, run.backward_flops, run.plans) for run in (trained, again)]
    assert costs[0] == costs[1]


@pytest.mark.parametrize("objective", ["grpo", pytest.param("ppo", marks=pytest.mark.slow)])
def test_stopped_while_it_writes_what_is_measured_nothing_is_lost(objective, training):
    """The second choice is before step 6, with which a round begins: the stop comes when that round is judged."""
    options = {"rho": 1.0, "interval": 1.5}
    whole = training(objective, "adaptive", at="whole", options=options, max_steps=8, evaluate_every=8)
    whole.train()
    stop, calls, recorder = Stop(), [], Recorder()

    def judge(prompts, completions, columns):
        calls.append(completions)
        stop.requested = len(calls) == 4  # rounds of the steps 0, 2, 4 and 6
        return wanted(prompts, completions, columns)

    told = {"judge": judge, "stop": stop, "observers": (recorder,)}
    stopped = training(objective, "adaptive", at="b", options=options, max_steps=8, evaluate_every=8, **told)
    with pytest.raises(Interrupted):
        stopped.train()
    assert recorder.of(Saved)[-1].step == 6 and len(recorder.of(Planned)) == 1
    resumed = training(objective, "adaptive", at="b", options=options, max_steps=8, evaluate_every=8)
    resumed.train()
    assert resumed.digest == whole.digest
    assert rounds_of(resumed) == rounds_of(whole)


# ---------------------------------------------------------------- the budget


BUDGETS = [
    pytest.param(0.6, {}, id="plain"),
    pytest.param(0.8, {}, id="more", marks=pytest.mark.slow),
    pytest.param(0.6, {"packing": True}, id="packed", marks=pytest.mark.slow),
    pytest.param(0.8, {"packing": True}, id="more-packed", marks=pytest.mark.slow),
    pytest.param(0.6, {"family": "t5"}, id="encoder_decoder", marks=pytest.mark.slow),
    pytest.param(0.8, {"family": "t5"}, id="more-encoder_decoder", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("rho", "more"), BUDGETS)
def test_the_budget_of_learning_holds_and_is_made_use_of(rho, more, training):
    """Against a whole training that writes the same answers: the rate is so low that they stay what they are."""
    objective = {"grpo": {"samples": GROUP, "beta": 0.1}}
    found = {}
    for method, options in (("full", {}), ("adaptive", {"rho": rho})):
        recorder = Recorder()
        settings = {"max_steps": 20, "learning_rate": 1e-9, "evaluate_every": 20, **more}
        setup = training(objective, method, at=method, options=options, observers=(recorder,), **settings)
        setup.train()
        steps, planned = recorder.of(Step), recorder.of(Planned)
        # beta: a pass for what was written, one for its probabilities, one for those of the model before
        learning = sum(event.forward_flops / 4 + event.backward_flops for event in steps)
        found[method] = learning + planned[-1].measuring_flops
        found[method, "backward"] = sum(event.backward_flops for event in steps)
    assert found["adaptive"] <= 1.05 * rho * found["full"]  # lengths of answers to come are a forecast
    assert found["adaptive", "backward"] > 0.5 * (3 * rho - 1) / 2 * found["full", "backward"]


# ---------------------------------------------------------------- what cannot be


def test_where_no_answer_is_better_it_is_told_that_nothing_was_measured(training):
    recorder = Recorder()
    objective = {"grpo": {"samples": GROUP}}
    setup = training(
        objective, "fisher_norms", judge=lambda prompts, said, columns: [1.0] * len(said), observers=(recorder,)
    )
    setup.train()
    (told,) = [event.message for event in recorder.of(Warned) if "says nothing of what is worth" in event.message]
    assert "all answers to each prompt of the round got the same reward" in told


def test_a_plan_that_would_write_something_else_is_refused(training, monkeypatch):
    """The first steps learn from answers that the model before the plan has written."""
    kind = METHODS["prompt_tuning"]
    monkeypatch.setattr(kind, "needs", lambda self, model, signals: (Need("gradient_norm"),))
    with pytest.raises(MethodError, match="would write something else before the first step") as refused:
        training("grpo", "prompt_tuning", options={"tokens": 2}).train()
    assert refused.value.instead == "lora"
    monkeypatch.setattr(METHODS["lora"], "needs", lambda self, model, signals: (Need("gradient_norm"),))
    training("grpo", "lora", options={}, max_steps=1).train()


def test_a_loss_that_is_not_finite_names_the_prompt(training):
    def judge(prompts, completions, columns):
        rewards = wanted(prompts, completions, columns)
        return [1e300 * (number % 2) if number < GROUP else reward for number, reward in enumerate(rewards)]

    with pytest.raises(NonFiniteError, match=r"toy.jsonl"):
        training({"rloo": {"samples": GROUP}}, "full", judge=judge, options={}).train()
