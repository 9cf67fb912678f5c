"""GRPO's and RLOO's losses and gradients are those of trl, on the same model and answers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tunewise.conformance.models import SPECIAL_OF, TEXT, make_tokenizer
from tunewise.data.labelled import LabelledTokens
from tunewise.data.ragged import Ragged
from tunewise.data.rollout_tokens import RolloutTokens
from tunewise.objectives import ObjectiveConfig, make_objective
from tunewise.objectives.policy_optimisation import Judged
from tunewise.types import Schema

trl = pytest.importorskip("trl")
pytestmark = pytest.mark.slow

GROUP, MOST = 3, 8
PROMPTS = [[0, 7, 9, 12], [0, 30]]
REWARDS = [[1.0, 0.0, 2.5], [0.3, 0.3, -1.0]]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """Read from a folder, where trl looks for its reference."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("llama")
    AutoModelForCausalLM.from_config(TEXT["llama"](2)).save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def answers():
    """Token ids of each answer, of different lengths."""
    generator = np.random.default_rng(0)
    return [generator.integers(5, 60, size=int(size)).tolist() for size in (3, 8, 5, 1, 6, 2)]


@pytest.fixture(scope="module")
def others(llama, answers):
    """Log-probabilities that two other models gave, of all tokens: when the answers were written, and before."""
    generator = torch.Generator().manual_seed(1)
    tokens = sum(map(len, answers))
    near = 0.3 * torch.randn(tokens, generator=generator)
    now = ours_log_probs(llama, answers)
    return now + near, now - 0.2 * torch.randn(tokens, generator=generator)


def ours_log_probs(model, answers):
    found = []
    with torch.no_grad():
        for place, ids in enumerate(answers):
            prompt = PROMPTS[place // GROUP]
            log_probs = model(torch.tensor([[*prompt, *ids]])).logits[0].log_softmax(-1)
            found.append(log_probs[len(prompt) - 1 : -1].gather(1, torch.tensor(ids)[:, None])[:, 0])
    return torch.cat(found)


def ours(model, answers, objective, judged):
    (name, options) = next(iter(objective.items()))
    config = ObjectiveConfig(**{name: {"reward": "some.py:thing", "max_new_tokens": MOST, "samples": GROUP, **options}})
    made = make_objective(config, SimpleNamespace(schema=Schema("prompts", ("prompt",), "", (), "completion")))
    both = [[*PROMPTS[place // GROUP], *ids] for place, ids in enumerate(answers)]
    learnt = [[0] * len(PROMPTS[place // GROUP]) + [1] * len(ids) for place, ids in enumerate(answers)]
    tokens = LabelledTokens(Ragged.of(both, np.int32), Ragged.of(learnt, np.int8), 1)
    signals = {key: values.numpy().astype(np.float32) for key, values in made.signals(judged).items()}
    batch = RolloutTokens(tokens, GROUP, signals).batch([0, 1])
    return made, made.loss(made.outputs(model, batch), made.items(judged)).mean


def judged_of(answers, old, reference):
    lengths = torch.tensor([len(ids) for ids in answers]).reshape(-1, GROUP)
    return Judged(torch.tensor(REWARDS, dtype=torch.float64), lengths, old, reference)


def theirs(kind, config, model, tmp_path, inputs):
    """trl's own loss, on inputs such as its trainer makes."""
    from datasets import Dataset

    tokenizer = make_tokenizer(SPECIAL_OF["llama"])
    tokenizer.pad_token = tokenizer.eos_token
    data = Dataset.from_dict({"prompt": ["a b", "c"] * 3})
    common = {
        "output_dir": str(tmp_path),
        "per_device_train_batch_size": 2 * GROUP,
        "num_generations": GROUP,
        "max_completion_length": MOST,
        "report_to": [],
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
    }
    trainer = kind(
        model=model,
        reward_funcs=lambda completions, **more: [0.0] * len(completions),
        args=config(**common),
        train_dataset=data,
        processing_class=tokenizer,
    )
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.eval()
    return trainer._compute_loss(trainer.model, inputs)


def padded(answers, per_token):
    """(B, T), filled up with 0 on the right."""
    lengths = [len(ids) for ids in answers]
    return torch.nn.utils.rnn.pad_sequence(per_token.split(lengths), batch_first=True)


def inputs_of(answers):
    width = max(map(len, PROMPTS))
    prompts = [PROMPTS[place // GROUP] for place in range(len(answers))]
    ids = torch.tensor([[1] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    flat = torch.tensor([token for row in answers for token in row])
    return {
        "prompt_ids": ids,
        "prompt_mask": mask,
        "completion_ids": padded(answers, flat),
        "completion_mask": padded(answers, torch.ones(len(flat), dtype=torch.int64)),
        "num_items_in_batch": torch.tensor(len(flat)),
    }


def gradients_of(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: tensor.grad.clone() for name, tensor in model.named_parameters() if tensor.grad is not None}


def same(model, ours_loss, their_loss):
    assert float(ours_loss) == pytest.approx(float(their_loss), abs=1e-5)
    one, other = gradients_of(model, ours_loss), gradients_of(model, their_loss)
    assert one.keys() == other.keys()
    assert any(tensor.abs().max() > 1e-3 for tensor in one.values())
    for name, tensor in one.items():
        assert torch.allclose(tensor, other[name], atol=1e-5), name


@pytest.mark.parametrize("normalise", ["dapo", "grpo", "dr_grpo"])
@pytest.mark.parametrize(("beta", "unbiased"), [(0.0, True), (0.3, True), (0.3, False)])
def test_grpo(normalise, beta, unbiased, llama, answers, others, tmp_path):
    old, reference = others
    judged = judged_of(answers, old, reference)
    _, loss = ours(
        llama, answers, {"grpo": {"normalise": normalise, "beta": beta, "unbiased_kl": unbiased, "updates": 2}}, judged
    )
    rewards = torch.tensor(REWARDS)
    advantages = ((rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)).flatten()
    inputs = inputs_of(answers) | {
        "advantages": advantages,
        "old_per_token_logps": padded(answers, old),
        "ref_per_token_logps": padded(answers, reference),
    }

    def config(**common):
        return trl.GRPOConfig(**common, loss_type=normalise, beta=beta, use_bias_correction_kl=unbiased)

    same(llama, loss, theirs(trl.GRPOTrainer, config, llama, tmp_path, inputs))


def test_rloo(llama, answers, others, tmp_path):
    old, reference = others
    judged = judged_of(answers, old, reference)
    _, loss = ours(llama, answers, {"rloo": {"beta": 0.05, "updates": 2}}, judged)
    kl = padded(answers, old - reference).sum(1)
    rewards = (torch.tensor(REWARDS).flatten() - 0.05 * kl).reshape(-1, GROUP)
    baseline = (rewards.sum(1, keepdim=True) - rewards) / (GROUP - 1)
    old_sums = padded(answers, old).sum(1)
    inputs = inputs_of(answers) | {"advantages": (rewards - baseline).flatten(), "old_logps": old_sums}

    def config(**common):
        return trl.RLOOConfig(**common, beta=0.05)

    same(llama, loss, theirs(trl.RLOOTrainer, config, llama, tmp_path, inputs))
