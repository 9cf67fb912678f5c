"""A prompt is read once for all its answers: losses, gradients and log-probabilities are those of the plain passes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from policy_bench import policy_training, prompts
from torch.utils.flop_counter import FlopCounterMode

from tests.models import language_bench as bench
from tunewise.combinations import check_combinations
from tunewise.data.labelled import LabelledTokens
from tunewise.data.ragged import Ragged
from tunewise.data.rollout_tokens import PromptTokens, RolloutTokens
from tunewise.engine.gradients import Gradients
from tunewise.engine.loop import Training
from tunewise.engine.packed import packed_rows
from tunewise.errors import MethodError, RecipeError
from tunewise.methods import find_method
from tunewise.models.blocks import named_tensors
from tunewise.models.load import Net
from tunewise.objectives import ObjectiveConfig, make_objective
from tunewise.recipe import recipe_from

GROUP = 3
SIGNALS = ("advantages", "old", "reference", "values", "returns")
OBJECTIVES: dict[str, dict[str, Any]] = {
    "grpo": {"beta": 0.3, "normalise": "grpo"},
    "rloo": {"updates": 2},
    "ppo": {"samples": GROUP, "temperature": 0.7},
}


def rollouts(sharing: bool) -> RolloutTokens:
    """Four prompts, one of them of a single token, with answers of different lengths; two of which begin alike."""
    draw, rows, learnt = np.random.default_rng(0), [], []
    for length in (9, 1, 5, 7):
        prompt = draw.integers(3, bench.VOCABULARY, length)
        for many in (4, 1, 6):
            rows.append(np.concatenate([prompt, [5, 6][: min(many, 2)], draw.integers(3, bench.VOCABULARY, many)]))
            learnt.append(np.arange(len(rows[-1])) >= length)
    answers = LabelledTokens(Ragged.of(rows, np.int32), Ragged.of(learnt, np.int8), 0)
    signals = {name: draw.normal(-2, 1, int(answers.counts.sum())).astype(np.float32) for name in SIGNALS}
    return RolloutTokens(answers, GROUP, signals, sharing)


def objective(name: str) -> Any:
    options = {"reward": "some.py:judge", "samples": GROUP, "max_new_tokens": 8, **OBJECTIVES[name]}
    return make_objective(ObjectiveConfig(**{name: options}), prompts())


@pytest.mark.parametrize("family", ["llama", "opt"])
@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_losses_and_gradients_are_those_of_answers_one_by_one(name: str, family: str) -> None:
    model, aim, rows = bench.language_model(family), objective(name), np.array([2, 1, 3])
    aim.attach(model)
    for parameter in getattr(model, "value_head", torch.nn.Identity()).parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    numbers, seen, gradients = [], [], []
    for sharing in (False, True):
        batch = rollouts(sharing).batch(rows)
        assert len(batch["input_ids"]) == (len(rows) if sharing else len(rows) * GROUP)
        assert tuple(batch["input_ids"].shape) == rollouts(sharing).shape(rows)
        numbers.append(aim.outputs(model, batch))
        read = {key: values for key, values in batch.items() if not key.startswith("signal_")}
        seen.append(aim.looked_at(model, read).detach())
        gradients.append(bench.gradients(model, numbers[-1][:, 0].sum()))
    torch.testing.assert_close(numbers[1], numbers[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(seen[1], seen[0], rtol=1e-5, atol=1e-5)
    assert seen[0].shape[1] == (2 if name == "ppo" else 1)
    bench.assert_equal(gradients[1], gradients[0])
    assert all(grad.abs().max() > 0 for key, grad in gradients[0].items() if "value_head" in key)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tmp_path_factory.mktemp("language-models")


def test_a_round_and_its_first_steps_are_the_same(models: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written, probabilities by the model and by the reference, and the gradients of a whole training step."""
    seen: dict[bool, list[Any]] = {False: [], True: []}
    real = Training._is_finite

    def look(self: Any, loss: Any, norm: Any) -> Any:
        grads = {name: tensor.grad.clone() for name, tensor in named_tensors(self.net.model).items()}
        seen[self.config.packing].append((grads, loss, self.feed.augmented._held.tokens))
        return real(self, loss, norm)

    monkeypatch.setattr(Training, "_is_finite", look)
    for packing in (False, True):
        aim = {"grpo": {"samples": 4, "updates": 2, "beta": 0.2}}
        settings = {"max_steps": 2, "max_grad_norm": 0.0, "schedule": "constant", "warmup": 0.0, "packing": packing}
        policy_training(models, tmp_path / str(packing), aim, **settings).train()
    for (grads, loss, told), (shared_grads, shared_loss, shared) in zip(seen[False], seen[True], strict=True):
        assert shared.sharing and not told.sharing
        assert np.array_equal(shared.answers.ids.flat, told.answers.ids.flat)
        assert shared.signals.keys() == told.signals.keys() >= {"old", "reference"}
        for name, values in told.signals.items():
            np.testing.assert_allclose(shared.signals[name], values, rtol=1e-5, atol=1e-5)
        assert shared_loss == pytest.approx(loss, abs=1e-5)
        for name, values in grads.items():
            torch.testing.assert_close(shared_grads[name], values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("packing", [False, True])
def test_flops_of_a_step_are_what_torch_counts(
    packing: bool, models: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output layer reads the answers alone, of which the data says nothing beforehand. In the second step: in the
    first, the model is looked at in other ways too."""
    counted, told, real, step = [], [], Gradients._outputs, Gradients.of_step

    def count(self: Any, batch: Any, autocast: Any) -> Any:
        if not told:
            return real(self, batch, autocast)
        with FlopCounterMode(display=False) as counter:
            found = real(self, batch, autocast)
        counted.append(counter.get_total_flops())
        return found

    def keep(self: Any, number: int) -> Any:
        told.append(step(self, number))
        return told[-1]

    monkeypatch.setattr(Gradients, "_outputs", count)
    monkeypatch.setattr(Gradients, "of_step", keep)
    setup = policy_training(models, tmp_path, {"grpo": {"samples": 4}}, max_steps=2, packing=packing)
    setup.net.model.set_attn_implementation("eager")  # whose products torch counts
    setup.train()
    config = setup.net.model.config
    (forward,) = counted
    left = 2 * config.hidden_size * config.vocab_size  # a place that the output layer reads besides, which is not told
    assert told[1].forward_flops == 2 * (forward - left)  # the step, and as much for what it was written with


# ---------------------------------------------------------------- refused


def questions(longest_answer: int = 4) -> PromptTokens:
    draw = np.random.default_rng(1)
    ids = [draw.integers(3, bench.VOCABULARY, length) for length in (9, 4, 6)]
    return PromptTokens(Ragged.of(ids, np.int32), ("a", "b", "c"), longest_answer=longest_answer)


def net_of(model: Any) -> Net:
    shape = SimpleNamespace(width=bench.WIDTH, family=model.config.model_type)
    return Net(model, SimpleNamespace(pad_token_id=0), shape, SimpleNamespace(path="x"), 60)


def method(name: str) -> Any:
    kind = find_method(name)
    return kind(kind.Config())


def test_models_are_proven_before_prompts_are_shared() -> None:
    import transformers

    assert packed_rows(questions(), net_of(bench.language_model("llama")), method("full")).sharing
    with pytest.raises(MethodError, match="encoder and a decoder"):
        packed_rows(questions(), net_of(bench.language_model("t5")), method("full"))
    with pytest.raises(MethodError, match="virtual tokens"):
        packed_rows(questions(), net_of(bench.language_model("llama")), method("prompt_tuning"))
    config = transformers.MambaConfig(
        vocab_size=bench.VOCABULARY, hidden_size=16, num_hidden_layers=2, initializer_range=1.0
    )
    with pytest.raises(MethodError, match="does not read answers behind one prompt"):
        packed_rows(questions(), net_of(transformers.MambaForCausalLM(config)), method("full"))


def test_the_proof_is_as_long_as_answers_can_be() -> None:
    """A model that looks back 6 tokens reads short answers as it should, and long ones otherwise behind such a mask."""
    model = bench.language_model("gemma3")
    with pytest.raises(MethodError, match="does not read answers behind one prompt"):
        packed_rows(questions(30), net_of(model), method("full"))


@pytest.mark.parametrize(("objective", "samples"), [("ppo", 1), ("ppo", 2), ("grpo", 2)])
def test_one_answer_to_a_prompt_shares_nothing(objective: str, samples: int, tmp_path: Any) -> None:
    recipe = recipe_from(
        {
            "model": "some",
            "method": "full",
            "data": {"train": "rows.jsonl", "task": "prompts"},
            "objective": {objective: {"reward": "some.py:judge", "samples": samples}},
            "train": {"packing": True},
        }
    )
    given = (recipe, recipe.all_methods, prompts().schema, tmp_path, True)
    if samples > 1:
        check_combinations(*given)
        return
    with pytest.raises(RecipeError, match="one answer only") as caught:
        check_combinations(*given)
    assert caught.value.where == "train.packing"
