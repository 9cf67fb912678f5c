"""The outputs of words, by hand, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForTokenClassification
from transformers.modeling_outputs import TokenClassifierOutput

from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.models.words import WordOutputs
from tunewise.types import CUT, NO_WORD, DataBundle

PLACES = torch.tensor([[1, 3, CUT], [2, NO_WORD, NO_WORD]])


class Echo(torch.nn.Module):
    """Gives its argument as outputs of tokens."""

    def forward(self, logits: torch.Tensor) -> TokenClassifierOutput:
        return TokenClassifierOutput(logits=logits)


def test_each_word_has_the_outputs_of_its_token() -> None:
    model, logits_BTC = Echo(), torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    WordOutputs(outside=1).watch(model)
    words_BWC = model(logits=logits_BTC, word_places=PLACES).logits
    assert torch.equal(words_BWC[0, :2], logits_BTC[0, [1, 3]]) and torch.equal(words_BWC[1, 0], logits_BTC[1, 2])
    assert words_BWC[0, 2].softmax(0)[1] > 0.9999  # cut off: outside of entities
    assert words_BWC[1, 1:].isnan().all() and not words_BWC[:, 0].isnan().any()
    words_BWC[PLACES >= 0].square().sum().backward()
    expected = torch.zeros_like(logits_BTC)
    for row, place in ((0, 1), (0, 3), (1, 2)):
        expected[row, place] = 2 * logits_BTC[row, place].detach()
    assert torch.equal(logits_BTC.grad, expected)
    assert torch.equal(model(logits_BTC).logits, logits_BTC)  # asked for tokens


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_a_net_for_entities(
    family: str, tiny_model: Callable[..., Path], tagged_data: Callable[..., DataBundle]
) -> None:
    folder, schema = tiny_model(family), tagged_data().schema
    net = load_net(locate(str(folder), folder), schema, seed=3)
    assert net.by_word and net.model.config.id2label == dict(enumerate(schema.labels))
    assert [tensor.shape[0] for tensor in net.map.head][-1] == 7 and len(net.map.chains) == 1
    torch.manual_seed(3)
    plain = AutoModelForTokenClassification.from_pretrained(folder, num_labels=7).eval()
    batch = {"input_ids": torch.tensor([[5, 9, 12, 7]]), "attention_mask": torch.ones(1, 4, dtype=torch.int64)}
    body = {name: value for name, value in plain.state_dict().items() if name in net.model.state_dict()}
    net.model.eval().load_state_dict(body)
    with torch.no_grad():
        words = net.model(**batch, word_places=torch.tensor([[2, 0]])).logits
        assert torch.equal(words, plain(**batch).logits[:, [2, 0]])
