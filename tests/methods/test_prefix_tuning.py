"""Prefixes: against a cache of past tokens in transformers, and against attention written out."""

from __future__ import annotations

import pytest
import torch

from tunewise.data.tokenise import tokenise
from tunewise.engine.apply import choose_trained, frozen_blocks, insert
from tunewise.errors import MethodError
from tunewise.methods import METHODS
from tunewise.models.blocks import named_tensors
from tunewise.models.load import Net, load_net
from tunewise.models.locate import locate
from tunewise.types import Schema, Signals

SCHEMA = Schema("classification", ("message",), "label", ("a", "b", "c"))
FAMILIES = ["bert", "roberta", "distilbert", "gpt2", "llama", "modernbert", "electra", "albert", "t5"]
TEXTS = [("thanks for the parcel",), ("late",), ("my refund is with the courier today and it was late",)]
TOKENS, HEADS, WIDTH = 5, 4, 8


def net_of(folder, attention: str | None = None) -> Net:
    return load_net(locate(str(folder), folder), SCHEMA, attention=attention)


def with_prefix(folder, attention: str | None = None, **options) -> tuple[Net, set[str]]:
    """A net with the method applied, and the names of what trains."""
    net = net_of(folder, attention)
    plan = METHODS["prefix_tuning"](METHODS["prefix_tuning"].Config(**{"tokens": TOKENS, **options})).plan(
        net.map, Signals()
    )
    insert(plan, net, seed=0)
    trained = {tensor.name for tensor in choose_trained(plan, net)}
    assert frozen_blocks(trained, net.map, plan) == 0
    net.model.eval()
    return net, trained


def batch_of(net: Net, rows=(0, 1, 2)) -> dict[str, torch.Tensor]:
    return tokenise(TEXTS, net.tokenizer, net.max_length).batch(list(rows))


def tables_of(net: Net) -> list[torch.Tensor]:
    return [value for name, value in named_tensors(net.model).items() if ".prefix.table" in name]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_transformers_gives_the_same_with_the_prefix_as_a_cache_of_past_tokens(family, tiny_model):
    from transformers import DynamicCache

    net, _ = with_prefix(tiny_model(family))
    base = net_of(tiny_model(family))
    batch = batch_of(base)
    rows, length = batch["input_ids"].shape
    cache = DynamicCache(config=base.model.config)
    for layer, table in enumerate(tables_of(net)):
        keys, values = table.detach().expand(-1, rows, -1, -1, -1)
        cache.update(keys.clone(), values.clone(), layer)
    mask = torch.cat([torch.ones(rows, TOKENS, dtype=torch.int64), batch["attention_mask"]], dim=1)
    positions = torch.arange(length).expand(rows, -1)
    with torch.no_grad():
        expected = base.model.eval()(
            input_ids=batch["input_ids"],
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).logits
        logits = net.model(**batch).logits
    assert torch.allclose(logits, expected, atol=1e-5)
    assert not torch.allclose(logits, base.model(**batch).logits, atol=1e-2)


def test_attention_written_out(tiny_bert):
    """softmax(q [P_k; K]^T / sqrt(d)) [P_v; V], padding left out, in each block of BERT."""
    net, _ = with_prefix(tiny_bert)
    batch, seen = batch_of(net), []
    attentions = [block.attention.self for block in net.model.bert.encoder.layer]
    for attention in attentions:
        attention.register_forward_hook(lambda module, inputs, output: seen.append((module, inputs[0], output[0])))
    with torch.no_grad():
        net.model(**batch)
        assert len(seen) == len(attentions) == len(tables_of(net))
        for (attention, hidden, output), (keys, values) in zip(seen, tables_of(net), strict=True):
            q, k, v = (
                layer(hidden).unflatten(-1, (HEADS, WIDTH)).transpose(1, 2)
                for layer in (attention.query, attention.key, attention.value)
            )
            k = torch.cat([keys.expand(len(k), -1, -1, -1), k], dim=2)
            v = torch.cat([values.expand(len(v), -1, -1, -1), v], dim=2)
            mask = torch.cat([torch.ones(len(k), TOKENS), batch["attention_mask"]], dim=1)[:, None, None]
            weights = (q @ k.transpose(2, 3) / WIDTH**0.5).masked_fill(mask == 0, -torch.inf).softmax(dim=-1)
            assert torch.allclose(output, (weights @ v).transpose(1, 2).flatten(2), atol=1e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_gives_the_same_alone_and_in_a_padded_batch(family, attention, tiny_model):
    """Whatever attention the model was loaded with: the prefix brings its own, and its masks."""
    net, _ = with_prefix(tiny_model(family), attention)
    with torch.no_grad():
        together = net.model(**batch_of(net)).logits
        for row in range(len(TEXTS)):
            assert torch.allclose(together[row], net.model(**batch_of(net, [row])).logits[0], atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"reparametrise": True}, {"reparametrise": True, "hidden": 6}])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_the_prefixes_and_the_head_and_nothing_else(family, options, tiny_model):
    net, trained = with_prefix(tiny_model(family, 2), **options)
    net.model(**batch_of(net)).logits.square().sum().backward()
    tensors = named_tensors(net.model)
    reached = {name for name, value in tensors.items() if value.grad is not None and value.grad.any()}
    assert reached == trained
    head = {tensor.name for tensor in net.map.head}
    assert head < trained and {name for name in trained if ".prefix." in name} == trained - head
    if options:
        width = options.get("hidden", 32)
        assert next(value for name, value in tensors.items() if name.endswith(".prefix.table")).shape == (TOKENS, width)


def test_a_perceptron_trains_at_a_tenth_of_the_rate(tiny_bert):
    method = METHODS["prefix_tuning"](METHODS["prefix_tuning"].Config(reparametrise=True))
    scales = {rule.pattern: rule.lr_scale for rule in method.plan(net_of(tiny_bert).map, Signals()).rules}
    assert {pattern for pattern, scale in scales.items() if scale == 0.1} == {"*.prefix.down.*", "*.prefix.up.*"}
    assert {scale for pattern, scale in scales.items() if not pattern.startswith("*.prefix.")} == {1.0}


def test_every_attention_has_one(tiny_model):
    """Of an encoder-decoder: that of the encoder, of the decoder, and the one between them; of a model with few heads
    of keys, so many."""
    assert [table.shape for table in tables_of(with_prefix(tiny_model("t5", 2))[0])] == [(2, 1, 4, TOKENS, 8)] * 6
    assert [table.shape for table in tables_of(with_prefix(tiny_model("llama", 2))[0])] == [(2, 1, 2, TOKENS, 8)] * 2


def test_it_starts_as_keys_and_values_of_words(tiny_bert):
    """Of the first block of BERT they can be told: those of a word's embedding at a place from 0 to 15."""
    net, _ = with_prefix(tiny_bert, tokens=20, init="vocabulary")
    bert, table = net.model.bert, tables_of(net)[0]
    ids = torch.arange(200).repeat_interleave(16)[None]
    places = torch.arange(16).repeat(200)[None]
    with torch.no_grad():
        hidden = bert.embeddings(input_ids=ids, position_ids=places)
        keys = bert.encoder.layer[0].attention.self.key(hidden)[0]
    ours = table[0, 0].transpose(0, 1).flatten(1)
    nearest = torch.cdist(ours, keys, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
    assert nearest.values.max() < 1e-4
    assert (nearest.indices % 16).tolist() == [*range(16), 0, 1, 2, 3]
    assert all(word.isalpha() for word in net.tokenizer.convert_ids_to_tokens((nearest.indices // 16).tolist()))


def test_it_starts_small_and_by_the_seed(tiny_bert):
    table = torch.stack(tables_of(with_prefix(tiny_bert, tokens=60)[0])).detach()
    assert table.std().item() == pytest.approx(0.02, rel=0.05) and abs(table.mean().item()) < 1e-3
    assert torch.equal(table, torch.stack(tables_of(with_prefix(tiny_bert, tokens=60)[0])))


def test_the_text_keeps_all_positions(tiny_bert):
    method = METHODS["prefix_tuning"](METHODS["prefix_tuning"].Config(tokens=100))
    assert method.positions == 0
    net, _ = with_prefix(tiny_bert, tokens=100)
    long = tokenise([(" ".join(["parcel"] * 100),)], net.tokenizer, net.max_length).batch([0])
    assert long["input_ids"].shape == (1, 64) and net.model(**long).logits.isfinite().all()


def test_nothing_of_the_start_stays_behind(tiny_bert):
    """What was noted of the words is freed; the model can be copied."""
    from copy import deepcopy

    net, _ = with_prefix(tiny_bert)
    assert not any("seen" in vars(module) for module in net.model.modules())
    twin = deepcopy(net.model)
    with torch.no_grad():
        for name, value in named_tensors(twin).items():
            if ".prefix." in name:
                value.zero_()
    assert not torch.allclose(twin(**batch_of(net)).logits, net.model(**batch_of(net)).logits, atol=1e-3)


@pytest.mark.parametrize("family", ["deberta-v2", "mpnet"])
def test_models_with_an_attention_of_their_own_are_refused(family, tiny_model):
    with pytest.raises(MethodError, match="takes no other keys than its own") as caught:
        with_prefix(tiny_model(family))
    assert caught.value.instead == "prompt_tuning"


def test_caps_before_the_softmax_are_refused(tiny_model):
    net = net_of(tiny_model("llama"))
    net.model.config.attn_logit_softcapping = 50.0
    plan = METHODS["prefix_tuning"](METHODS["prefix_tuning"].Config()).plan(net.map, Signals())
    with pytest.raises(MethodError, match="the attention of a 'llama' model takes no other keys"):
        insert(plan, net, 0)
