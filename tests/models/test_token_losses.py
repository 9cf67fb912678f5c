"""Log-probabilities of the tokens to learn alone are those of the model's own logits, and so are all gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.models import language_bench as bench
from tunewise.errors import TunewiseWarning
from tunewise.models import chunked_log_probs, output_layer
from tunewise.models.token_losses import token_log_probs

FAMILIES = (*bench.DECODERS, *bench.BOTH)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a batch has several."""
    monkeypatch.setattr(chunked_log_probs, "FEWEST", 5)
    monkeypatch.setattr(chunked_log_probs, "CHUNK_NUMBERS", 1)


@pytest.fixture
def batch_of() -> Any:
    def batch(family: str) -> dict[str, torch.Tensor]:
        return bench.rows(sources=family in bench.BOTH).batch(np.arange(6))

    return batch


def weights_of(count: int) -> torch.Tensor:
    return torch.linspace(-1.0, 2.0, count)


@pytest.mark.filterwarnings("error::tunewise.errors.TunewiseWarning")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("loss", ["even", "uneven", "uneven, computed again", "told even, but is not"])
def test_log_probabilities_and_gradients_are_those_of_all_logits(
    family: str, loss: str, batch_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if loss == "uneven, computed again":
        monkeypatch.setattr(chunked_log_probs, "KEPT_NUMBERS", 0)
    model, batch = bench.language_model(family), batch_of(family)
    theirs, _ = bench.plain(model, batch)
    weights = torch.full_like(theirs, -0.25) if loss == "even" else weights_of(len(theirs))
    expected = bench.gradients(model, (theirs * weights).sum())

    ours = token_log_probs(model, batch, even=not loss.startswith("uneven"))

    torch.testing.assert_close(ours.log_probs_N, theirs, rtol=1e-5, atol=1e-5)
    bench.assert_equal(bench.gradients(model, (ours.log_probs_N * weights).sum()), expected)


@pytest.mark.parametrize("family", ["llama", "gemma2", "bart"])
def test_temperature_and_entropy(family: str, batch_of: Any) -> None:
    model, batch = bench.language_model(family), batch_of(family)
    theirs, entropies = bench.plain(model, batch, temperature=0.7)
    expected = bench.gradients(model, (theirs * weights_of(len(theirs))).sum())

    ours = token_log_probs(model, batch, temperature=0.7, entropy=True)

    torch.testing.assert_close(ours.log_probs_N, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.entropy_N, entropies, rtol=1e-4, atol=1e-5)
    assert not ours.entropy_N.requires_grad
    bench.assert_equal(bench.gradients(model, (ours.log_probs_N * weights_of(len(theirs))).sum()), expected)


def test_sums_of_rows_and_right_tokens(batch_of: Any) -> None:
    model, batch = bench.language_model("llama").eval(), batch_of("llama")
    with torch.no_grad():
        found, logits = token_log_probs(model, batch), model(batch["input_ids"], batch["attention_mask"]).logits
    for row, labels in enumerate(batch["labels"]):
        places = (labels[1:] != -100).nonzero()[:, 0]
        own = logits[row, places].log_softmax(-1)
        nll = -own[torch.arange(len(places)), labels[places + 1]].sum()
        right = (own.argmax(-1) == labels[places + 1]).sum()
        expected = torch.stack([nll, torch.tensor(float(len(places))), right.float()])
        torch.testing.assert_close(found.row_numbers()[row], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("error::tunewise.errors.TunewiseWarning")
@pytest.mark.parametrize("what", ["blocks", "output layer", "saved output layer", "dora", "frozen output layer"])
def test_with_peft(what: str, batch_of: Any) -> None:
    import peft

    options = {
        "blocks": {"target_modules": ["q_proj", "v_proj"]},
        "frozen output layer": {"target_modules": ["q_proj"], "use_rslora": True},
        "output layer": {"target_modules": ["q_proj", "lm_head"]},
        "saved output layer": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        "dora": {"target_modules": ["lm_head"], "use_dora": True},
    }[what]
    torch.manual_seed(0)
    config = peft.LoraConfig(r=3, init_lora_weights=False, lora_dropout=0.0, **options)
    model, batch = peft.get_peft_model(bench.language_model("llama"), config), batch_of("llama")
    theirs, _ = bench.plain(model, batch)
    weights = weights_of(len(theirs))
    expected = bench.gradients(model, (theirs * weights).sum())

    ours = token_log_probs(model, batch)

    torch.testing.assert_close(ours.log_probs_N, theirs, rtol=1e-5, atol=1e-5)
    assert expected
    bench.assert_equal(bench.gradients(model, (ours.log_probs_N * weights).sum()), expected)


def test_dropout_before_an_inserted_part_of_the_output_layer_is_drawn_once(batch_of: Any) -> None:
    """In the backward pass the same elements are left out: the gradient is the slope of the loss that was told."""
    import peft

    torch.manual_seed(0)
    config = peft.LoraConfig(r=3, init_lora_weights=False, lora_dropout=0.5, target_modules=["lm_head"])
    model, batch = peft.get_peft_model(bench.language_model("llama"), config), batch_of("llama")
    part = next(tensor for name, tensor in model.named_parameters() if "lm_head.lora_B" in name)
    token_log_probs(model, batch)  # so that the proof is behind us

    def loss() -> torch.Tensor:
        torch.manual_seed(5)
        return token_log_probs(model, batch).log_probs_N.sum()

    gradient = bench.gradients(model, loss())["base_model.model.lm_head.lora_B.default.weight"]
    step = torch.randn_like(part)
    with torch.no_grad():
        part += 1e-3 * step
        above = loss()
        part -= 2e-3 * step
        below = loss()
    assert float((above - below) / 2e-3) == pytest.approx(float((gradient * step).sum()), rel=1e-2)


def test_under_autocast(batch_of: Any) -> None:
    model, batch = bench.language_model("llama"), batch_of("llama")
    with torch.autocast("cpu", torch.bfloat16):
        theirs, _ = bench.plain(model, batch)
    expected = bench.gradients(model, theirs.sum())
    with torch.autocast("cpu", torch.bfloat16):
        ours = token_log_probs(model, batch, even=True)
    found = bench.gradients(model, ours.log_probs_N.sum())

    torch.testing.assert_close(ours.log_probs_N, theirs, rtol=2e-3, atol=2e-3)  # the model's logits are rounded twice
    for name, gradient in expected.items():
        assert float((found[name] - gradient).norm() / gradient.norm()) < 0.03, name


def test_a_model_that_does_something_unknown_to_its_logits_computes_them_itself(batch_of: Any) -> None:
    model, batch = bench.language_model("llama"), batch_of("llama")
    model.register_forward_hook(lambda module, args, output: setattr(output, "logits", output.logits**3 / 10))
    theirs, _ = bench.plain(model, batch)
    with pytest.warns(TunewiseWarning, match="cannot be taken out"):
        ours = token_log_probs(model, batch)
    torch.testing.assert_close(ours.log_probs_N, theirs, rtol=1e-5, atol=1e-5)


def test_nothing_to_learn() -> None:
    model, batch = bench.language_model("llama"), bench.rows().batch(np.arange(6))
    batch["labels"] = torch.full_like(batch["labels"], -100)
    found = token_log_probs(model, batch, even=True)
    assert found.row_numbers().tolist() == [[0.0, 0.0, 0.0]] * 6
    found.row_sums().sum().backward()
    assert float(model.lm_head.weight.grad.abs().sum()) == 0


def test_the_output_layer_reads_the_places_to_learn_only(monkeypatch: pytest.MonkeyPatch, batch_of: Any) -> None:
    model, batch = bench.language_model("llama"), batch_of("llama")
    token_log_probs(model, batch)
    seen: list[int] = []
    model.lm_head.register_forward_hook(lambda module, args, output: seen.append(output[..., 0].numel()))
    linear = output_layer.LinearLogProbs.apply
    monkeypatch.setattr(output_layer.LinearLogProbs, "apply", lambda *args: seen.append(len(args[0])) or linear(*args))
    token_log_probs(model, batch)
    assert seen == [1, int((batch["labels"][:, 1:] != -100).sum())]


@pytest.mark.parametrize(("limit", "times"), [(chunked_log_probs.KEPT_NUMBERS, 1), (0, 2)])
def test_logits_are_computed_again_beyond_a_limit(
    limit: int, times: int, batch_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked_log_probs, "KEPT_NUMBERS", limit)
    model, batch, made = bench.language_model("llama"), batch_of("llama"), []
    logits = chunked_log_probs._Chunks.logits
    monkeypatch.setattr(
        chunked_log_probs._Chunks, "logits", lambda self, place: made.append(place) or logits(self, place)
    )
    log_probs_N = token_log_probs(model, batch).log_probs_N
    loss = (log_probs_N * weights_of(len(log_probs_N))).sum()
    model.zero_grad()
    loss.backward(retain_graph=True)
    first = {name: tensor.grad.clone() for name, tensor in model.named_parameters()}
    chunks = -(-len(log_probs_N) // chunked_log_probs.chunk_size(model.config.vocab_size))
    assert chunks > 2 and len(made) == times * chunks
    bench.assert_equal(bench.gradients(model, loss), first)  # a second time: nothing is kept any more
    assert len(made) == (times + 1) * chunks


def test_a_trained_bias(batch_of: Any) -> None:
    model, batch = bench.language_model("phi"), batch_of("phi")
    assert isinstance(model.lm_head, nn.Linear) and model.lm_head.bias is not None
    gradients = bench.gradients(model, token_log_probs(model, batch, even=True).log_probs_N.sum())
    expected = bench.gradients(model, bench.plain(model, batch)[0].sum())
    torch.testing.assert_close(gradients["lm_head.bias"], expected["lm_head.bias"], rtol=1e-5, atol=1e-5)
