"""Leaving unused rows of the vocabulary out of training changes nothing but the work."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from training_bench import set_up

from tunewise.data.ragged import Ragged
from tunewise.data.tokenise import Tokens
from tunewise.engine import loop
from tunewise.engine.vocabulary import UsedRows, only_used_rows
from tunewise.models.blocks import named_tensors

EMBEDDING = {
    "bert": "bert.embeddings.word_embeddings.weight",
    "roberta": "roberta.embeddings.word_embeddings.weight",
    "gpt2": "transformer.wte.weight",
    "llama": "model.embed_tokens.weight",
}


@pytest.mark.parametrize("family", EMBEDDING)
def test_same_weights_as_training_all_rows(
    family: str, tiny_model: Callable[..., Path], toy_data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(name: str):
        setup = set_up(tiny_model(family), toy_data(), tmp_path / name, "full", max_steps=8, accumulate=2, dropout=0.1)
        return setup, setup.train()

    used, trained = train("used")
    monkeypatch.setattr(loop, "only_used_rows", lambda *_: nullcontext())
    whole, all_rows = train("whole")
    for key in ("train_loss", "validation_loss"):
        assert [entry[key] for entry in trained.curve] == pytest.approx(
            [entry[key] for entry in all_rows.curve], rel=1e-5
        )
    assert trained.trainable_parameters == all_rows.trainable_parameters
    for name, tensor in whole.weights.items():
        torch.testing.assert_close(used.weights[name], tensor, rtol=1e-4, atol=1e-6, msg=name)
    assert used.weights[EMBEDDING[family]].shape == whole.weights[EMBEDDING[family]].shape


def test_rows_of_no_training_text_are_bit_identical_and_the_others_moved(
    tiny_bert: Path, toy_data, tmp_path: Path
) -> None:
    setup = set_up(tiny_bert, toy_data(), tmp_path, "full", max_steps=6)
    before = setup.weights[EMBEDDING["bert"]]
    setup.train()
    after = setup.weights[EMBEDDING["bert"]]
    tokenizer = setup.net.tokenizer
    ids = {token for (text,) in setup.job.data.splits["train"].texts for token in tokenizer(text)["input_ids"]}
    still = [row for row in range(len(before)) if row not in ids]
    assert len(still) > 100 and torch.equal(before[still], after[still])
    assert all(not torch.equal(before[row], after[row]) for row in ids)


def test_the_parameter_and_its_moments_are_small(tiny_bert: Path, toy_data, tmp_path: Path) -> None:
    setup = set_up(tiny_bert, toy_data(), tmp_path, "full", max_steps=4, save_steps=2)
    setup.train()
    from safetensors.torch import load_file

    saved = load_file(setup.job.checkpoints.latest() / "optimizer.safetensors")
    assert saved[f"{EMBEDDING['bert']}|exp_avg"].shape[0] < 50 < setup.weights[EMBEDDING["bert"]].shape[0]


def test_any_token_may_come_in_evaluation() -> None:
    embedding = nn.Embedding(10, 4, padding_idx=0)
    rows = UsedRows(embedding, torch.tensor([0, 3, 7]))
    with torch.no_grad():
        rows.weight[1] += 1.0
    expected = embedding.weight.detach().clone()
    expected[3] = rows.weight[1]
    torch.testing.assert_close(rows.eval()(torch.arange(10)), expected)
    torch.testing.assert_close(rows.train()(torch.tensor([[7, 3, 0]])), rows.weight[[2, 1, 0]][None])


def test_padding_gets_no_gradient() -> None:
    rows = UsedRows(nn.Embedding(10, 4, padding_idx=3), torch.tensor([2, 3, 7]))
    rows.weight.requires_grad_(True)
    rows(torch.tensor([3, 7])).sum().backward()
    assert rows.weight.grad[1].eq(0).all() and rows.weight.grad[2].eq(1).all()


def test_left_alone_where_the_weight_is_shared(tiny_bert: Path) -> None:
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_pretrained(tiny_bert)
    tokens = Tokens(Ragged.of([[1, 2, 3]], np.int32), None, 0, 0, 0)
    with only_used_rows(model, tokens):
        assert type(model.get_input_embeddings()) is nn.Embedding
    assert EMBEDDING["bert"] in named_tensors(model)


def test_evaluation_reads_the_rows_as_they_are_now() -> None:
    """Also after fused AdamW, which does not count a parameter's version up, and after a checkpoint was copied in."""
    embedding = nn.Embedding(9, 4)
    rows = UsedRows(embedding, torch.tensor([1, 4, 7]))
    ids = torch.tensor([[1, 2, 7]])
    adamw = torch.optim.AdamW([rows.weight], lr=0.1, fused=True)
    for _ in range(2):
        rows.train()(torch.tensor([[4, 7]])).sum().backward()
        adamw.step()
        seen = rows.eval()(ids)[0]
        assert torch.equal(seen[[0, 2]], rows.weight[[0, 2]])
        assert torch.equal(seen[1], embedding.weight[2])
    with torch.no_grad():
        rows.weight.copy_(torch.ones(3, 4))
    assert torch.equal(rows(ids)[0, 2], torch.ones(4))
