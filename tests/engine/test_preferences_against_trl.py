"""Losses and gradients of preference objectives are those of trl's trainers, on the same tokens of the same models."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from preference_rows import judged_answers, language_model, preferences

from tunewise.data.labelled import LabelledTokens
from tunewise.data.pairs import MARGIN, REFERENCE, PairTokens
from tunewise.data.ragged import Ragged
from tunewise.data.tokenise import Tokens
from tunewise.evaluate.predict import predict_logits
from tunewise.objectives import Objective, ObjectiveConfig, make_objective
from tunewise.objectives.kto import GOOD
from tunewise.objectives.reference import pair_log_probs

ROWS = 6


@pytest.fixture(scope="module")
def trl() -> Any:
    return pytest.importorskip("trl")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """A policy, the reference that it has moved from, and their tokeniser, which pads with a token of its own."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = language_model(tmp_path_factory.mktemp("llama"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = "<unk>"
    policy, reference = (AutoModelForCausalLM.from_pretrained(folder) for _ in range(2))
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return policy, reference, tokenizer


def options(kind: Any, folder: Path, **more: Any) -> Any:
    common = {"per_device_train_batch_size": ROWS, "bf16": False, "use_cpu": True, "report_to": []}
    return kind(output_dir=str(folder), gradient_checkpointing=False, max_length=64, **common, **more)


def dataset(data: Any, *, judged: bool = False, margin: bool = False) -> Any:
    from datasets import Dataset

    split = data.splits["train"]
    names = ("prompt", "completion") if judged else ("prompt", "chosen", "rejected")
    rows = {name: [f"{row[place]} " for row in split.texts] for place, name in enumerate(names)}
    if judged:
        rows["label"] = [bool(target) for target in split.targets]
    if margin:
        rows["margin"] = [float(text) for text in split.columns["margin"]]
    return Dataset.from_dict(rows)


def of_trl(trainer: Any) -> tuple[float, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Loss, gradients and batch of its first step."""
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, dict(batch))
    loss.backward()
    return float(loss.detach()), _gradients(trainer.model), batch


def of_ours(
    model: Any, objective: Objective, read: PairTokens, targets: np.ndarray
) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = objective.loss(objective.outputs(model, read.batch(range(ROWS))), torch.from_numpy(targets)).mean
    loss.backward()
    return float(loss.detach()), _gradients(model)


def _gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.grad.clone() for name, tensor in model.named_parameters() if tensor.grad is not None}


def same(ours: tuple[float, dict[str, torch.Tensor]], theirs: tuple[float, dict[str, torch.Tensor], Any]) -> None:
    assert ours[0] == pytest.approx(theirs[0], abs=1e-5)
    assert ours[1].keys() == theirs[1].keys()
    for name, gradient in ours[1].items():
        assert torch.allclose(gradient, theirs[1][name], atol=1e-5, rtol=1e-4), name
    assert max(float(gradient.abs().max()) for gradient in ours[1].values()) > 1e-3


def labelled(batch: Any, begin: str = "") -> LabelledTokens:
    """What trl made of its rows, without padding."""
    held = batch[f"{begin}attention_mask"].bool()
    ids = [row[mask].tolist() for row, mask in zip(batch[f"{begin}input_ids"], held, strict=True)]
    learnt = [row[mask].tolist() for row, mask in zip(batch[f"{begin}completion_mask"], held, strict=True)]
    return LabelledTokens(Ragged.of(ids, np.int32), Ragged.of(learnt, np.int8), 2)


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "hinge"])
def test_dpo(loss: str, trl: Any, models: tuple[Any, Any, Any], tmp_path: Path) -> None:
    policy, reference, tokenizer = models
    data = preferences(ROWS, 4)
    trainer = trl.DPOTrainer(
        model=copy.deepcopy(policy),
        ref_model=copy.deepcopy(reference),
        args=options(trl.DPOConfig, tmp_path, loss_type=loss, beta=0.3),
        train_dataset=dataset(data),
        processing_class=tokenizer,
    )
    theirs = of_trl(trainer)
    both = PairTokens(labelled(theirs[2]))
    read = both.with_numbers(**{REFERENCE: predict_logits(reference, both, 4, outputs=pair_log_probs)})
    objective = make_objective(ObjectiveConfig(dpo={"loss": loss, "beta": 0.3}), data)
    same(of_ours(policy, objective, read, np.zeros(ROWS, np.float32)), theirs)


def test_smoothing_of_dpo_is_made_of_what_trl_calls_robust(
    trl: Any, models: tuple[Any, Any, Any], tmp_path: Path
) -> None:
    """trl has no cDPO any more: with share e, its robust loss is ((1 - e) l(h) - e l(-h)) / (1 - 2 e), and its plain
    one l(h) for the same rows, of which cDPO, (1 - e) l(h) + e l(-h), follows."""
    policy, reference, tokenizer = models
    data, share, found = preferences(ROWS, 4), 0.2, {}
    for kind in ("sigmoid", "robust"):
        trainer = trl.DPOTrainer(
            model=copy.deepcopy(policy),
            ref_model=copy.deepcopy(reference),
            args=options(trl.DPOConfig, tmp_path, loss_type=kind, beta=0.3, label_smoothing=share, seed=1),
            train_dataset=dataset(data),
            processing_class=tokenizer,
        )
        found[kind] = of_trl(trainer)
    plain, robust = found["sigmoid"], found["robust"]

    def mixed(one: Any, other: Any) -> Any:
        return 2 * (1 - share) * one - (1 - 2 * share) * other

    gradients = {name: mixed(gradient, robust[1][name]) for name, gradient in plain[1].items()}
    both = PairTokens(labelled(plain[2]))
    read = both.with_numbers(**{REFERENCE: predict_logits(reference, both, 4, outputs=pair_log_probs)})
    objective = make_objective(ObjectiveConfig(dpo={"beta": 0.3, "label_smoothing": share}), data)
    same(of_ours(policy, objective, read, np.zeros(ROWS, np.float32)), (mixed(plain[0], robust[0]), gradients, None))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.3, 0.6)])
def test_kto(weights: tuple[float, float], trl: Any, models: tuple[Any, Any, Any], tmp_path: Path) -> None:
    policy, reference, tokenizer = models
    data = judged_answers(ROWS, 4)
    good, bad = weights
    trainer = trl.KTOTrainer(
        model=copy.deepcopy(policy),
        ref_model=copy.deepcopy(reference),
        args=options(trl.KTOConfig, tmp_path, beta=0.3, desirable_weight=good, undesirable_weight=bad),
        train_dataset=dataset(data, judged=True),
        processing_class=tokenizer,
    )
    theirs = of_trl(trainer)
    batch = theirs[2]
    targets = np.array([float(label) for label in batch["label"]], np.float32)
    both = PairTokens.of(labelled(batch), labelled(batch, "KL_"), **{GOOD: targets})
    read = both.with_numbers(**{REFERENCE: predict_logits(reference, both, 4, outputs=pair_log_probs)})
    config = {"beta": 0.3, "desirable_weight": good, "undesirable_weight": bad}
    objective = make_objective(ObjectiveConfig(kto=config), data)
    same(of_ours(policy, objective, read, targets), theirs)
    with torch.no_grad():
        assert float(objective.outputs(policy, read.batch(range(ROWS)))[:, 1].mean()) != 0


@pytest.mark.parametrize(("centering", "margin"), [(0.0, False), (0.05, True)])
def test_reward(
    centering: float, margin: bool, trl: Any, tiny_model: Callable[..., Path], models: Any, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model("llama", 2), num_labels=1, pad_token_id=2)
    data = preferences(ROWS, 4, margin=margin)
    trainer = trl.RewardTrainer(
        model=copy.deepcopy(model),
        args=options(trl.RewardConfig, tmp_path, center_rewards_coefficient=centering or None),
        train_dataset=dataset(data, margin=margin),
        processing_class=models[2],
    )
    theirs = of_trl(trainer)
    batch = theirs[2]
    held = batch["attention_mask"].bool()
    ids = Ragged.of([row[mask].tolist() for row, mask in zip(batch["input_ids"], held, strict=True)], np.int32)
    read = PairTokens(Tokens(ids, None, 2, 0, 0))
    if margin:
        read = read.with_numbers(**{MARGIN: batch["margin"].numpy()})
    objective = make_objective(ObjectiveConfig(reward={"centering": centering}), data)
    same(of_ours(model, objective, read, np.zeros(ROWS, np.float32)), theirs)
