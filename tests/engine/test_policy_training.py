"""Trainings that learn from what the model writes: formulas in use, exact resumes, what is told, when they stop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from policy_bench import policy_training, wanted
from training_bench import At, Recorder

from tunewise.engine.events import Step, Warned, Wrote
from tunewise.engine.loop import Training
from tunewise.engine.rollouts import Rollouts
from tunewise.engine.starting_point import StartingPoint
from tunewise.engine.stop import Stop
from tunewise.errors import Interrupted, RecipeError, TrainingError
from tunewise.models.blocks import named_tensors

GRPO: dict[str, Any] = {"grpo": {"samples": 4}}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("language-models")


@pytest.fixture
def training(models, tmp_path):
    """`training(objective, method, at="a", **settings)`"""

    def make(objective, method="full", *, at="a", **more):
        return policy_training(models, tmp_path / at, objective, method, **more)

    return make


def wrote(setup):
    return [row for row in setup.log() if row["event"] == "wrote"]


# ---------------------------------------------------------------- exact resumes

RESUMED = {
    "grpo_in_a_round": ({"grpo": {"samples": 3, "updates": 3, "beta": 0.1}}, "full", {}),
    "one_prompt_for_a_group": ({"grpo": {"samples": 3, "updates": 2, "beta": 0.1}}, "full", {"packing": True}),
    "rloo": ({"rloo": {"samples": 2, "updates": 2}}, "full", {"family": "gpt2"}),
    "ppo": ({"ppo": {"updates": 2, "kl_target": 1.0, "kl_horizon": 20}}, "full", {}),
    "lora": ({"grpo": {"samples": 2, "updates": 2, "beta": 0.1}}, "lora", {}),
    "encoder_decoder": ({"grpo": {"samples": 2, "updates": 2}}, "full", {"family": "t5"}),
}


SLOW = ("rloo", "lora", "encoder_decoder")


@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in RESUMED])
def test_stopped_after_every_step_it_is_the_training_that_never_was(case, training):
    objective, method, more = RESUMED[case]
    whole = training(objective, method, at="whole", **more)
    whole.train()
    for step in range(1, 6):
        stop = Stop()
        setup = training(
            objective,
            method,
            at="b",
            observers=(At(step, lambda stop=stop: setattr(stop, "requested", True)),),
            stop=stop,
            **more,
        )
        with pytest.raises(Interrupted):
            setup.train()
    resumed = training(objective, method, at="b", **more)
    resumed.train()
    assert resumed.digest == whole.digest
    assert resumed.log() == whole.log()
    assert len({row["figures"]["reward"] for row in wrote(whole)}) > 1


def test_killed_in_a_round_it_goes_on_from_a_checkpoint_before(training, monkeypatch):
    objective = {"grpo": {"samples": 3, "updates": 3}}
    whole = training(objective, at="whole", save_steps=2)
    whole.train()
    real = Training._step

    def killed(self):
        if self.progress.step == 5:
            raise SystemExit
        real(self)

    monkeypatch.setattr(Training, "_step", killed)
    with pytest.raises(SystemExit):
        training(objective, at="b", save_steps=2).train()
    monkeypatch.setattr(Training, "_step", real)
    resumed = training(objective, at="b", save_steps=2)
    resumed.train()
    assert (resumed.digest, resumed.log()) == (whole.digest, whole.log())


def test_the_same_recipe_gives_the_same_bits_and_another_seed_others(training):
    first, second = training(GRPO, at="a"), training(GRPO, at="b")
    first.train(), second.train()
    assert (first.digest, first.log()) == (second.digest, second.log())
    other = training(GRPO, at="c")
    other.job.seed = 1
    other.train()
    assert wrote(other)[0]["samples"] != wrote(first)[0]["samples"]


# ---------------------------------------------------------------- what is learnt


@pytest.mark.parametrize(
    "objective",
    [
        {"grpo": {}},
        pytest.param({"rloo": {"beta": 0.0}}, marks=pytest.mark.slow),
        pytest.param({"ppo": {"samples": 4, "updates": 2}}, marks=pytest.mark.slow),
    ],
)
def test_the_reward_rises_and_does_not_with_rewards_at_random(objective, training):
    ((name, options),) = objective.items()
    steps = {"max_steps": 40 if name == "ppo" else 16}
    real, control = (
        training({name: options}, at="a", **steps),
        training({name: {**options, "control": True}}, at="b", **steps),
    )
    real.train(), control.train()
    gains = []
    for setup in (real, control):
        rewards = [row["figures"]["reward"] for row in wrote(setup)]
        gains.append(np.mean(rewards[-4:]) - np.mean(rewards[:2]))
    assert gains[0] > 0.35
    assert gains[1] < gains[0] - 0.2


def test_with_one_step_per_round_the_ratio_is_one_and_the_gradient_that_of_reinforce(training):
    """So it is, too, at the first of several, whose probabilities were computed apart."""
    for updates in (1, 3):
        setup = training({"grpo": {"samples": 4, "updates": updates}}, at=f"u{updates}", max_steps=1)
        seen = []
        real = Training._is_finite

        def look(self, loss, norm, seen=seen, real=real):
            weights = named_tensors(self.net.model)
            seen.append({name: tensor.grad.clone() for name, tensor in weights.items() if tensor.grad is not None})
            seen.append(self.gradients.reading(0, self.course.rows(0)))
            return real(self, loss, norm)

        setup.job.config = setup.job.config.model_copy(update={"max_grad_norm": 0.0})
        first = {name: tensor.clone() for name, tensor in setup.weights.items()}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Training, "_is_finite", look)
            setup.train()
        gradients, reading = seen
        assert wrote(setup)[0]["figures"]["clip_fraction"] == 0
        model = setup.net.model
        with torch.no_grad():
            for name, tensor in named_tensors(model).items():
                tensor.copy_(first[name]).requires_grad_(True)
                tensor.grad = None
        batch = reading.batch(rows_of(reading))
        ids, labels = batch["input_ids"], batch["labels"]
        log_probs = model(ids, attention_mask=batch["attention_mask"]).logits[:, :-1].log_softmax(-1)
        learnt = labels[:, 1:] != -100
        chosen = log_probs.gather(2, ids[:, 1:, None])[..., 0][learnt]
        loss = -(batch["signal_advantages"] * chosen).sum() / learnt.sum()
        loss.backward()
        for name, tensor in named_tensors(model).items():
            if name in gradients and tensor.grad is not None:
                assert torch.allclose(gradients[name], tensor.grad, atol=1e-6), name


def rows_of(reading):
    """The data's rows that a round answers: the first of them has place 0, as all others of the data have."""
    rows = np.flatnonzero(reading.places)
    return np.array([next(row for row in range(len(reading.places)) if row not in rows), *rows])


# ---------------------------------------------------------------- what is told


def test_the_log_tells_of_every_step(training):
    setup = training({"ppo": {"samples": 2, "updates": 2, "beta": 0.1}})
    recorder = Recorder()
    setup.job.observers._watching.append(recorder)
    setup.train()
    rows = wrote(setup)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    names = {"reward", "reward_std", "kl", "entropy", "clip_fraction", "length", "ended", "silent_groups", "kl_weight"}
    assert all(names <= row["figures"].keys() for row in rows)
    assert [len(row["samples"]) for row in rows] == [3, 0, 3, 0, 3, 0]  # where something new was written
    assert rows[0]["samples"][0].keys() == {"prompt", "text", "reward"}
    assert rows[0]["figures"]["kl"] == pytest.approx(0, abs=1e-5)  # the model is still what it was
    assert rows[-1]["figures"]["kl"] != pytest.approx(0, abs=1e-5)
    scores = next(row["scores"] for row in setup.log() if row["event"] == "evaluated")
    assert "reward" in scores


def test_groups_without_signal_are_counted_and_teach_nothing(training):
    setup = training(GRPO, judge=lambda prompts, completions, columns: [1.0] * len(completions), max_steps=2)
    before = setup.weights
    setup.job.config = setup.job.config.model_copy(update={"weight_decay": 0.0})
    setup.train()
    assert [row["figures"]["silent_groups"] for row in wrote(setup)] == [1.0, 1.0]
    assert all(torch.equal(before[name], tensor) for name, tensor in setup.weights.items())


def test_other_columns_reach_the_reward(training):
    seen = []

    def judge(prompts, completions, columns):
        seen.append((prompts, columns["answer"]))
        return [0.0] * len(completions)

    training(GRPO, judge=judge, max_steps=1).train()
    prompts, answers = seen[0]
    assert len(prompts) == len(answers) == 16
    assert prompts[0] == prompts[3] != prompts[4]
    assert answers[0] == answers[3] != answers[4]


# ---------------------------------------------------------------- when it stops


def test_too_far_from_the_start_it_stops_with_the_best_weights_before(training):
    calm = training({"grpo": {"samples": 4, "max_kl": 0.02}}, evaluate_every=1, learning_rate=2e-3, max_steps=30)
    recorder = Recorder()
    calm.job.observers._watching.append(recorder)
    trained = calm.train()
    (told,) = [event.message for event in recorder.of(Warned) if "was stopped" in event.message]
    last = recorder.of(Step)[-1].step
    best = max(trained.curve, key=lambda entry: entry["metric"])["step"]
    assert last < 30
    assert f"at step {last}" in told
    assert f"the weights of step {best}," in told
    assert recorder.of(Wrote)[-1].figures["kl"] > 0.02
    assert all(event.figures["kl"] <= 0.02 for event in recorder.of(Wrote)[:-1])
    assert max(entry["step"] for entry in trained.curve) < last  # what went too far is not a candidate


def test_without_a_validation_before_it_fails_and_says_so(training):
    setup = training({"grpo": {"samples": 4, "min_entropy": 50.0}}, evaluate_every=6)
    with pytest.raises(TrainingError, match=r"stopped at step 1, .*entropy of the next token is .*min_entropy 50"):
        setup.train()


# ---------------------------------------------------------------- the model before training


@pytest.mark.parametrize(
    ("method", "options"), [("lora", {}), ("full", {}), ("bitfit", {}), ("prompt_tuning", {"tokens": 2})]
)
def test_the_reference_is_the_model_before_training(method, options, training):
    seen = {}
    family = {"family": "gpt2"} if method == "bitfit" else {}
    setup = training({"grpo": {"samples": 2, "beta": 0.1}}, method, options=options, **family)
    real = Rollouts._reference
    begun = []

    def look(self, answers):
        found = real(self, answers)
        if not begun:
            begun.append((answers, found))
        seen["again"] = real(self, begun[0][0])
        seen["now"] = self._log_probs(begun[0][0])[:, 0]
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rollouts, "_reference", look)
        setup.train()
    assert torch.equal(seen["again"], begun[0][1])  # after all steps still what it said before the first
    assert not torch.allclose(seen["now"], begun[0][1], atol=1e-5)


def test_the_starting_point_of_an_adapter_is_small_and_the_weights_come_back():
    layer = torch.nn.Linear(3, 2)
    start = StartingPoint()
    start.keep({"bias": layer.bias})
    first = layer.bias.detach().clone()
    with torch.no_grad():
        layer.bias.add_(1)
    start.keep({"bias": layer.bias})  # known already
    assert start.bytes == 8
    with pytest.raises(ValueError, match="within"), start.restored():
        assert torch.equal(layer.bias, first)
        raise ValueError("within")
    assert torch.equal(layer.bias, first + 1)


# ---------------------------------------------------------------- ppo


def test_a_step_of_ppo_is_the_published_formula(training):
    """Everything again from the answers alone: log-probabilities, rewards of tokens, advantages, both losses."""
    objective = {"ppo": {"samples": 2, "updates": 2, "beta": 0.3, "value_weight": 0.5, "gae_lambda": 0.9}}
    setup = training(objective, max_steps=4)
    recorder, seen = Recorder(), []
    setup.job.observers._watching.append(recorder)
    real = Training._step

    def look(self):
        rollouts = self.feed.augmented
        before = {name: tensor.detach().clone() for name, tensor in named_tensors(self.net.model).items()}
        real(self)
        seen.append((before, rollouts._held))

    first = {name: tensor.clone() for name, tensor in setup.weights.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_step", look)
        setup.train()
    wrote_with, at_step = (
        seen[2][0],
        seen[3][0],
    )  # the second round: written before step 3, learnt from in steps 3 and 4
    round_ = seen[3][1]
    answers = round_.tokens.answers
    texts = [list(map(int, answers.ids[place])) for place in range(len(answers))]
    learnt = [answers.learnt[place].astype(bool) for place in range(len(answers))]

    def looks(weights):
        """Log-probabilities and values of the answers' tokens, one text at a time."""
        model, found = setup.net.model, []
        with torch.no_grad():
            for name, tensor in named_tensors(model).items():
                tensor.copy_(weights[name])
            for ids, mask in zip(texts, learnt, strict=True):
                out = model(torch.tensor([ids]), output_hidden_states=True)
                log_probs = out.logits[0, :-1].log_softmax(-1)
                chosen = log_probs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
                head = (
                    weights.get("value_head.weight", torch.zeros(1, 32)),
                    weights.get("value_head.bias", torch.zeros(1)),
                )
                values = torch.nn.functional.linear(out.hidden_states[-1][0, :-1], *head)[:, 0]
                found.append((chosen[mask[1:]].double().numpy(), values[mask[1:]].double().numpy()))
        return found

    old, reference, new = looks(wrote_with), looks(first), looks(at_step)
    decoded = [
        setup.net.tokenizer.decode(np.array(ids)[mask], skip_special_tokens=True)
        for ids, mask in zip(texts, learnt, strict=True)
    ]
    rewards, advantages, returns = wanted([], decoded, {}), [], []
    for place, reward in enumerate(rewards):
        per_token = -0.3 * (old[place][0] - reference[place][0])
        per_token[-1] += reward
        values = old[place][1]
        changes = per_token + np.append(values[1:], 0.0) - values
        found = [sum(0.9**n * d for n, d in enumerate(changes[t:])) for t in range(len(changes))]
        advantages.append(np.array(found))
        returns.append(np.array(found) + values)
    flat = np.concatenate(advantages)
    flat = (flat - flat.mean()) / np.sqrt(flat.var(ddof=1) + 1e-8)
    ratio = np.exp(np.concatenate([n[0] - o[0] for n, o in zip(new, old, strict=True)]))
    policy_loss = np.maximum(-ratio * flat, -np.clip(ratio, 0.8, 1.2) * flat).mean()
    value_now, value_old, wanted_value = (
        np.concatenate(parts) for parts in ([n[1] for n in new], [o[1] for o in old], returns)
    )
    near = value_old + np.clip(value_now - value_old, -0.2, 0.2)
    value_loss = 0.5 * np.maximum((value_now - wanted_value) ** 2, (near - wanted_value) ** 2).mean()
    assert recorder.of(Step)[3].loss == pytest.approx(policy_loss + 0.5 * value_loss, abs=1e-5)
    assert abs(value_loss) > 1e-3


def test_the_value_head_learns_and_is_not_handed_over(training):
    seen = []
    setup = training({"ppo": {"samples": 2}}, max_steps=4)
    real = Training._take_best

    def look(self):
        seen.append(self.net.model.value_head.weight.detach().clone())
        real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_take_best", look)
        trained = setup.train()
    assert seen[0].abs().max() > 0
    numbers = trained.rollouts.numbers("test")
    assert numbers.shape == (4, 3)
    assert (numbers[:, 2] >= 1).all()
    assert not any("value_head" in name for name in named_tensors(setup.net.model))


# ---------------------------------------------------------------- wrong recipes


def test_a_reward_is_needed(training):
    with pytest.raises(ValueError, match="reward"):
        training({"grpo": {"reward": []}})


def test_answers_must_leave_room_for_a_prompt(training):
    with pytest.raises(RecipeError, match="leave 0 for a prompt"):
        training({"grpo": {"max_new_tokens": 100}}).train()
