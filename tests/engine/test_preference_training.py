"""Trainings on preferences: where they start, what they compute, that they learn, stop and go on."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from preference_rows import judged_answers, language_model, preferences
from training_bench import At, Recorder, Setup, set_up

from tunewise.data.pairs import MARGIN, REFERENCE
from tunewise.engine.events import Step
from tunewise.engine.optim import Optimizer
from tunewise.engine.stop import Stop
from tunewise.errors import Interrupted
from tunewise.evaluate.predict import predict_logits
from tunewise.methods import METHODS
from tunewise.types import DataBundle

DATA: dict[str, Callable[..., DataBundle]] = {"dpo": preferences, "reward": preferences, "kto": judged_answers}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def model(family: str = "llama") -> Path:
        if family not in made:
            made[family] = language_model(tmp_path_factory.mktemp(family), family)
        return made[family]

    return model


@pytest.fixture
def training(models: Callable[[str], Path], tmp_path: Path) -> Callable[..., Setup]:
    """`training("dpo", method="full", at="a", family="llama", **settings)`."""

    def make(
        objective: str,
        method: str = "full",
        *,
        at: str = "a",
        family: str = "llama",
        data: DataBundle | None = None,
        chosen: dict[str, Any] | None = None,
        **more: Any,
    ) -> Setup:
        folder = tmp_path / at
        folder.mkdir(exist_ok=True)
        aim = {objective: chosen or {}}
        data = data or DATA[objective]()
        return set_up(models(family), data, folder, method, objective=aim, **{"dropout": 0.0, **more})

    return make


def encoded(setup: Setup, split: str = "train") -> Any:
    net, objective = setup.net, setup.job.objective
    both = net.model.config.is_encoder_decoder
    read = {split: objective.encode(setup.job.data.splits[split], net.tokenizer, net.max_length, both)}
    return objective.prepare(read, lambda rows, wanted: predict_logits(net.model, rows, 4, outputs=wanted))[split]


def losses(make: Callable[..., Setup], *args: Any, **more: Any) -> list[float]:
    """Of every step of a training."""
    recorder = Recorder()
    make(*args, observers=[recorder], **more).train()
    return [event.loss for event in recorder.of(Step)]


STARTS = ["full", "lora", "norms", "last_k", "adapter", "ia3"]


@pytest.mark.parametrize("method", STARTS)
def test_dpo_begins_at_ln_2(method: str, training: Callable[..., Setup]) -> None:
    assert losses(training, "dpo", method, max_steps=1) == pytest.approx([math.log(2)], abs=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(set(METHODS) - set(STARTS)))
def test_dpo_begins_at_ln_2_with_every_method_that_starts_unchanged(
    method: str, training: Callable[..., Setup]
) -> None:
    from tunewise.errors import MethodError

    kind = METHODS[method]
    if not (kind.starts_unchanged and kind.descends and "preference" in kind.tasks and "text" in kind.modalities):
        pytest.skip("it is for other tasks, or does not start from the base model's output")
    try:
        found = losses(training, "dpo", method, max_steps=1)
    except MethodError as refused:
        pytest.skip(refused.what)
    assert found == pytest.approx([math.log(2)], abs=2e-6)


@pytest.mark.parametrize(("family", "loss"), [("llama", "sigmoid"), ("gpt2", "ipo"), ("t5", "sigmoid")])
def test_log_ratios_are_those_of_the_answers_tokens_alone(
    family: str, loss: str, training: Callable[..., Setup]
) -> None:
    """Each row by itself, unpadded, by the model's own logits; the reference is of other weights than the model."""
    setup = training("dpo", family=family, chosen={"loss": loss, "beta": 0.3})
    read, model = encoded(setup), setup.net.model
    before = [_answer_log_probs(model, read.both, row) for row in range(len(read.both))]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    after = [_answer_log_probs(model, read.both, row) for row in range(len(read.both))]
    found = predict_logits(model, read, 5, outputs=setup.job.objective.outputs)
    ratios = np.reshape(np.subtract(after, before), (2, len(read))).T
    assert np.allclose(found[:, :2], 0.3 * ratios, atol=2e-5)
    if loss == "ipo":
        means = ratios / read.counts
        expected = (means[:, 0] - means[:, 1] - 1 / 0.6) ** 2
    else:
        expected = np.log1p(np.exp(-0.3 * (ratios[:, 0] - ratios[:, 1])))
    assert np.allclose(found[:, 2], expected, atol=2e-5)


def _answer_log_probs(model: Any, tokens: Any, row: int) -> float:
    ids, learnt = torch.as_tensor(tokens.ids[row][None].astype(np.int64)), tokens.learnt[row].astype(bool)
    with torch.no_grad():
        if tokens.sources is not None:
            source = torch.as_tensor(tokens.sources[row][None].astype(np.int64))
            begun = torch.cat([torch.full((1, 1), model.config.decoder_start_token_id), ids[:, :-1]], dim=1)
            logits = model.eval()(input_ids=source, decoder_input_ids=begun).logits[0]
            target = ids[0]
        else:
            logits, target, learnt = model.eval()(input_ids=ids).logits[0, :-1], ids[0, 1:], learnt[1:]
    return float(logits.log_softmax(-1).gather(1, target[:, None])[learnt, 0].sum())


def test_the_reference_is_in_fp32_of_the_untrained_model_for_every_split(training: Callable[..., Setup]) -> None:
    setup = training("dpo", "lora", learning_rate=1e-2)
    expected = {name: encoded(setup, name).numbers[REFERENCE] for name in ("validation", "test")}
    trained = setup.train()
    for name, reference in expected.items():
        assert np.allclose(trained.inputs[name].numbers[REFERENCE], reference, atol=1e-5)
        numbers = trained.outputs_of(setup.job.data.splits[name], 8, lambda: None)
        assert np.abs(numbers[:, :2]).max() > 0.05  # the model itself has moved


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("objective", sorted(DATA))
def test_preferences_are_learnt(objective: str, method: str, training: Callable[..., Setup]) -> None:
    setup = training(objective, method, epochs=4, learning_rate=1e-2 if method == "lora" else 3e-3)
    trained = setup.train()
    numbers = trained.outputs_of(setup.job.data.splits["test"], 8, lambda: None)
    if objective == "kto":
        good = setup.job.data.splits["test"].targets > 0
        assert numbers.shape == (len(good), 2) and numbers[good, 0].mean() > numbers[~good, 0].mean() + 0.3
    else:
        assert numbers.shape[1] == 3 and (numbers[:, 0] > numbers[:, 1]).mean() >= 0.8
    found = [entry["validation_loss"] for entry in trained.curve]
    assert found[-1] < 0.9 * found[0]


@pytest.mark.parametrize("objective", sorted(DATA))
def test_cutting_a_step_into_batches_changes_nothing(
    objective: str, training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients of the second step, where the model is no longer the reference, and losses of all."""
    clip, seen, found = Optimizer.clip, [], []

    def watched(optimizer: Optimizer) -> float:
        groups = optimizer.adamw.param_groups
        seen.append([parameter.grad.clone() for group in groups for parameter in group["params"]])
        return clip(optimizer)

    monkeypatch.setattr(Optimizer, "clip", watched)
    for at, sizes in (("a", {"batch_size": 8}), ("b", {"batch_size": 1, "accumulate": 8})):
        found.append(losses(training, objective, at=at, max_steps=2, learning_rate=1e-4, **sizes))
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    for whole, parts in zip(seen[1], seen[3], strict=True):
        assert torch.allclose(whole, parts, atol=1e-5)


def test_kto_begins_at_a_half(training: Callable[..., Setup]) -> None:
    assert losses(training, "kto", max_steps=1) == pytest.approx([0.5], abs=1e-6)


@pytest.mark.parametrize(("objective", "method"), [("dpo", "lora"), ("kto", "full"), ("reward", "full")])
def test_a_training_that_goes_on_is_the_one_that_never_stopped(
    objective: str, method: str, training: Callable[..., Setup]
) -> None:
    common = {"epochs": 1, "save_steps": 2, "dropout": 0.1, "cache": False}
    whole = training(objective, method, **common)
    whole.train()
    stop = Stop()
    broken = training(
        objective, method, at="b", stop=stop, observers=[At(3, lambda: setattr(stop, "requested", True))], **common
    )
    with pytest.raises(Interrupted):
        broken.train()
    resumed = training(objective, method, at="b", **common)
    resumed.train()
    assert resumed.digest == whole.digest


def test_runs_share_a_reference_through_the_cache(training: Callable[..., Setup]) -> None:
    data = preferences(40, 12)
    first, again = (training("dpo", method, at=at, data=data) for method, at in (("full", "a"), ("lora", "b")))
    made, read = first.train(), again.train()
    assert read.elsewhere_flops > 0 and made.elsewhere_flops == 0
    reference = [trained.inputs["test"].numbers[REFERENCE].tobytes() for trained in (made, read)]
    assert reference[0] == reference[1]
    without = training("dpo", "full", at="c", data=data, cache=False)
    alone = without.train()
    assert without.digest == first.digest and alone.forward_flops == made.forward_flops


def test_the_reference_counts_as_training(training: Callable[..., Setup]) -> None:
    """Once forward over all rows of all splits: what the reward model of the same size does not take."""
    setup = training("dpo", max_steps=1, cache=False)
    trained = setup.train()
    rows = sum(len(split) for split in setup.job.data.splits.values())
    assert trained.forward_flops > 0.9 * trained.backward_flops / 2 / 8 * rows


def test_a_reward_is_that_of_the_last_real_token(training: Callable[..., Setup]) -> None:
    """The tokeniser pads with the end of text; by the output layer on each row alone."""
    setup = training("reward", data=preferences(6, 4, margin=True), chosen={"centering": 0.02})
    read, model = encoded(setup), setup.net.model.eval()
    assert setup.net.tokenizer.pad_token_id == setup.net.tokenizer.eos_token_id
    rewards = []
    for ids in read.both.ids:
        with torch.no_grad():
            hidden = model.base_model(input_ids=torch.as_tensor(ids[None].astype(np.int64))).last_hidden_state
            rewards.append(float(model.score(hidden[0, -1])))
    found = predict_logits(model, read, 6, outputs=setup.job.objective.outputs)
    chosen, rejected = np.reshape(rewards, (2, 6))
    assert np.allclose(found[:, 0], chosen, atol=1e-5) and np.allclose(found[:, 1], rejected, atol=1e-5)
    margins = read.numbers[MARGIN]
    assert margins.tolist() == [0.0, 0.5, 1.0, 0.0, 0.5, 1.0]
    expected = np.log1p(np.exp(-(chosen - rejected - margins))) + 0.02 * (chosen + rejected) ** 2
    assert np.allclose(found[:, 2], expected, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "t5"])
def test_rewards_of_encoders(family: str, tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    """Padding and the rest of the batch have no say in a reward."""
    setup = set_up(tiny_model(family, 2), preferences(16, 4), tmp_path, objective={"reward": {}}, max_steps=2)
    setup.train()
    read = encoded(setup)
    outputs = setup.job.objective.outputs
    together, alone = (predict_logits(setup.net.model, read, size, outputs=outputs) for size in (16, 1))
    assert np.allclose(together, alone, atol=1e-5)
    assert len(np.unique(together[:, 0].round(5))) > 4
