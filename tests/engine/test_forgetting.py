"""What is measured on a text of another domain, against plain passes of transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from tunewise.conformance.models import SPECIAL_OF, TEXT, make_tokenizer
from tunewise.engine.forgetting import Forgetting, hidden_tokens
from tunewise.errors import ModelError, RecipeError
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.types import Schema

WRITES = Schema("generation", ("text",), "", (), "text")
CLASSES = Schema("classification", ("text",), "label", ("a", "b"))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    rng = np.random.default_rng(0)
    words = ["please", "help", "me", "with", "my", "order", "invoice", "card"]
    file = tmp_path_factory.mktemp("texts") / "other.txt"
    file.write_text(" ".join(rng.choice(words, 300)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    def make(family, kind):
        made = tmp_path_factory.mktemp(family)
        torch.manual_seed(2)
        kind.from_config(TEXT[family](2)).save_pretrained(made)
        make_tokenizer(SPECIAL_OF.get(family, "bert")).save_pretrained(made)
        return locate(str(made), Path("."))

    return make


def test_a_language_model(folder, text):
    net = load_net(folder("gpt2", AutoModelForCausalLM), WRITES, language=True)
    measure = Forgetting(net, text, language=True, batch_size=8)
    measure.before()
    same = measure.told(0.95)
    assert same["before"] == same["after"] and same["ratio"]["value"] == 1.0
    ids = [net.tokenizer.bos_token_id, *net.tokenizer(text.read_text(), add_special_tokens=False)["input_ids"]]
    losses = []
    for place in range(1, 64):  # the first window, token by token
        with torch.no_grad():
            logits_V = net.model(torch.tensor([ids[:place]])).logits[0, -1]
        losses.append(-float(logits_V.log_softmax(-1)[ids[place]]))
    assert measure._before_WK[0, 0] == pytest.approx(sum(losses), rel=1e-4)
    assert same["tokens"] == 300
    with torch.no_grad():
        net.model.transformer.wte.weight.mul_(3.0)
    after = measure.told(0.95)
    assert after["after"]["value"] != after["before"]["value"] and after["before"] == same["before"]
    assert after["ratio"]["value"] == pytest.approx(after["after"]["value"] / after["before"]["value"])


def test_a_classifier_whose_pretrained_model_fills_in_words(folder, text):
    located = folder("bert", AutoModelForMaskedLM)
    net = load_net(located, CLASSES)
    measure = Forgetting(net, text, language=False, batch_size=8)
    measure.before()
    assert measure.told(0.95)["ratio"]["value"] == pytest.approx(1.0, rel=1e-5)  # the same blocks, in another model
    with torch.no_grad():
        net.model.bert.encoder.layer[1].output.dense.weight.mul_(5.0)
        net.model.bert.embeddings.word_embeddings.weight.add_(0.05)
    filling = AutoModelForMaskedLM.from_pretrained(located.path).eval()
    filling.bert.load_state_dict(net.model.bert.state_dict(), strict=False)  # what is tied follows
    ids = net.tokenizer(text.read_text(), add_special_tokens=False)["input_ids"]
    batch = hidden_tokens(ids, net.tokenizer, 64).batch(range(5))
    with torch.no_grad():
        loss = float(filling(**batch).loss)
    assert measure.told(0.95)["after"]["value"] == pytest.approx(np.exp(loss), rel=1e-4)
    assert measure.told(0.95)["tokens"] == int((batch["labels"] != -100).sum())


def test_it_is_refused_where_it_cannot_be_measured(folder, text, tmp_path, tiny_model):
    net = load_net(folder("gpt2", AutoModelForCausalLM), WRITES, language=True)
    with pytest.raises(RecipeError, match="cannot be read"):
        Forgetting(net, tmp_path / "nothing.txt", True, 8).before()
    (tmp_path / "odd.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="UTF-8"):
        Forgetting(net, tmp_path / "odd.txt", True, 8).before()
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(RecipeError, match="no words"):
        Forgetting(net, tmp_path / "empty.txt", True, 8).before()
    without = load_net(locate(str(tiny_model("bert")), Path(".")), CLASSES)
    with pytest.raises(ModelError, match="no layers that predict masked words") as refused:
        Forgetting(without, text, False, 8).before()
    assert "evaluate.forgetting" in refused.value.fix
