from __future__ import annotations

from collections import Counter

import pytest
import torch

from tunewise.errors import ModelError
from tunewise.models.blocks import map_model, named_tensors, original_name
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.types import ModelMap, Schema

SCHEMA = Schema("classification", ("message",), "label", ("a", "b", "c"))

# family: (path of block 0, tensors of the embedding, modules of the head, where its attention and feed-forward end)
FAMILIES = {
    "bert": (
        "bert.encoder.layer.0",
        "bert.embeddings",
        "bert.pooler.dense classifier",
        "attention.output.dense",
        "output.dense",
    ),
    "roberta": (
        "roberta.encoder.layer.0",
        "roberta.embeddings",
        "classifier.dense classifier.out_proj",
        "attention.output.dense",
        "output.dense",
    ),
    "distilbert": (
        "distilbert.transformer.layer.0",
        "distilbert.embeddings",
        "pre_classifier classifier",
        "attention.out_lin",
        "ffn.lin2",
    ),
    "gpt2": (
        "transformer.h.0",
        "transformer.wte transformer.wpe",
        "transformer.ln_f score",
        "attn.c_proj",
        "mlp.c_proj",
    ),
    "llama": ("model.layers.0", "model.embed_tokens", "model.norm score", "self_attn.o_proj", "mlp.down_proj"),
    "modernbert": (
        "model.layers.0",
        "model.embeddings",
        "model.final_norm head.dense head.norm classifier",
        "attn.Wo",
        "mlp.Wo",
    ),
    "deberta-v2": (
        "deberta.encoder.layer.0",
        "deberta.embeddings deberta.encoder.rel_embeddings deberta.encoder.LayerNorm",
        "pooler.dense classifier",
        "attention.output.dense",
        "output.dense",
    ),
    "electra": (
        "electra.encoder.layer.0",
        "electra.embeddings electra.embeddings_project",
        "classifier.dense classifier.out_proj",
        "attention.output.dense",
        "output.dense",
    ),
    "mpnet": (
        "mpnet.encoder.layer.0",
        "mpnet.embeddings mpnet.encoder.relative_attention_bias",
        "classifier.dense classifier.out_proj",
        "attention.attn.o",
        "output.dense",
    ),
}
ALL = [*FAMILIES, "albert", "t5"]


def net_of(family, tiny_model, blocks: int = 4):
    return load_net(locate(str(tiny_model(family, blocks)), tiny_model(family, blocks).parent), SCHEMA)


def modules_of(tensors) -> set[str]:
    return {tensor.name.rpartition(".")[0] for tensor in tensors}


@pytest.mark.parametrize("family", ALL)
def test_every_parameter_is_in_exactly_one_group(family, tiny_model):
    net = net_of(family, tiny_model)
    named = dict(net.model.named_parameters())
    counted = Counter(tensor.name for group in net.map.groups for tensor in group)
    assert set(counted) == set(named)
    assert max(counted.values()) == 1
    assert all(tensor.shape == tuple(named[tensor.name].shape) for tensor in net.map.tensors)
    assert sum(tensor.size for tensor in net.map.tensors) == sum(p.numel() for p in net.model.parameters())
    assert net.map.family == family and net.map.width == 32


@pytest.mark.parametrize("family", FAMILIES)
def test_embedding_blocks_and_head_are_what_they_are(family, tiny_model):
    first, embedding, head, attention, feed_forward = FAMILIES[family]
    net = net_of(family, tiny_model)
    stem = first.removesuffix("0")
    assert [(block.index, block.path) for block in net.map.blocks] == [(n, f"{stem}{n}") for n in range(4)]
    assert all(tensor.name.startswith(f"{b.path}.") for b in net.map.blocks for tensor in b.tensors)
    allowed = tuple(embedding.split())
    assert all(tensor.name.startswith(allowed) for tensor in net.map.embedding)
    assert all(any(tensor.name.startswith(path) for tensor in net.map.embedding) for path in allowed)
    assert modules_of(net.map.head) == set(head.split())
    assert [block.attention for block in net.map.blocks] == [(f"{stem}{n}.{attention}",) for n in range(4)]
    assert [block.feed_forward for block in net.map.blocks] == [(f"{stem}{n}.{feed_forward}",) for n in range(4)]


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_are_numbered_in_the_order_they_run(family, tiny_model):
    net = net_of(family, tiny_model)
    ran: list[int] = []
    for block in net.map.blocks:
        net.model.get_submodule(block.path).register_forward_hook(lambda *_, index=block.index: ran.append(index))
    net.model.eval()(input_ids=torch.tensor([[5, 6, 7, 8]]))
    assert ran == [0, 1, 2, 3]


@pytest.mark.parametrize("family", ALL)
def test_the_head_reads_what_the_last_block_gives_and_nothing_of_it_comes_before(family, tiny_model):
    """With the last block's output cut from the graph, exactly the head (and nothing else) gets gradients."""
    net = net_of(family, tiny_model)
    last = net.model.get_submodule(net.map.blocks[-1].path)

    def cut(module, inputs, output):
        return (output[0].detach(), *output[1:]) if isinstance(output, tuple) else output.detach()

    last.register_forward_hook(cut)
    text = net.tokenizer("thanks for the parcel", return_tensors="pt")
    net.model.eval()(input_ids=text["input_ids"]).logits.square().sum().backward()
    reached = {name for name, parameter in net.model.named_parameters() if parameter.grad is not None}
    assert reached == {tensor.name for tensor in net.map.head}


def test_albert_shares_one_block(tiny_model):
    net = net_of("albert", tiny_model)
    assert [block.path for block in net.map.blocks] == ["albert.encoder.albert_layer_groups.0"]
    assert modules_of(net.map.head) == {"albert.pooler", "classifier"}
    assert "albert.encoder.embedding_hidden_mapping_in" in modules_of(net.map.embedding)


def test_t5_has_two_chains_and_decoder_blocks_end_two_attentions(tiny_model):
    net = net_of("t5", tiny_model)
    assert [chain.name for chain in net.map.chains] == ["transformer.encoder.block", "transformer.decoder.block"]
    assert [block.index for block in net.map.blocks] == list(range(8))
    first, last = net.map.blocks[0], net.map.blocks[7]
    assert first.attention == ("transformer.encoder.block.0.layer.0.SelfAttention.o",)
    assert last.attention == (
        "transformer.decoder.block.3.layer.0.SelfAttention.o",
        "transformer.decoder.block.3.layer.1.EncDecAttention.o",
    )
    assert last.feed_forward == ("transformer.decoder.block.3.layer.2.DenseReluDense.wo",)
    assert modules_of(net.map.head) == {
        "transformer.decoder.final_layer_norm",
        "classification_head.dense",
        "classification_head.out_proj",
    }


def test_block_1_does_not_take_tensors_of_block_11(tiny_model):
    net = net_of("bert", tiny_model, blocks=12)
    assert [block.path for block in net.map.blocks] == [f"bert.encoder.layer.{n}" for n in range(12)]
    assert {len(block.tensors) for block in net.map.blocks} == {16}
    assert all(tensor.name.startswith("bert.encoder.layer.1.") for tensor in net.map.blocks[1].tensors)


def test_kinds_of_tensors(tiny_model):
    block = net_of("bert", tiny_model).map.blocks[0]
    kinds = Counter(tensor.kind for tensor in block.tensors)
    assert kinds == {"attention": 4, "feed_forward": 2, "bias": 6, "norm": 4}
    assert {t.name.rpartition("layer.0.")[2] for t in block.tensors if t.kind == "feed_forward"} == {
        "intermediate.dense.weight",
        "output.dense.weight",
    }
    llama = net_of("llama", tiny_model).map
    assert Counter(t.kind for t in llama.blocks[0].tensors) == {"attention": 4, "feed_forward": 3, "norm": 2}
    assert {t.kind for t in llama.embedding} == {"embedding"} and {t.kind for t in llama.head} == {"head"}


def test_what_the_checkpoint_does_not_hold_is_marked(tiny_model):
    net = net_of("bert", tiny_model)
    assert [t.name for t in net.map.tensors if not t.pretrained] == ["classifier.weight", "classifier.bias"]


def test_bart_embedding_norms_are_embedding_and_xlm_is_refused():
    from transformers import AutoModelForSequenceClassification, BartConfig, XLMConfig

    sizes = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = BartConfig(vocab_size=50, d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, **sizes)
    bart = map_model(AutoModelForSequenceClassification.from_config(config))
    assert modules_of(bart.head) == {"classification_head.dense", "classification_head.out_proj"}
    assert bart.blocks[2].attention[-1] == "model.decoder.layers.0.encoder_attn.out_proj"

    xlm = AutoModelForSequenceClassification.from_config(XLMConfig(vocab_size=50, emb_dim=16, n_layers=2, n_heads=2))
    with pytest.raises(ModelError, match="separate lists in a 'xlm' model"):
        map_model(xlm)


def test_what_is_registered_before_the_blocks_but_runs_after_them_belongs_to_the_head():
    from transformers import AutoModelForSequenceClassification, NomicBertConfig, OPTConfig

    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    opt = OPTConfig(word_embed_proj_dim=16, ffn_dim=16, **sizes)
    head = modules_of(map_model(AutoModelForSequenceClassification.from_config(opt)).head)
    assert head == {"model.decoder.final_layer_norm", "score"}
    nomic = NomicBertConfig(intermediate_size=16, **sizes)
    head = modules_of(map_model(AutoModelForSequenceClassification.from_config(nomic)).head)
    assert head == {"nomic_bert.pooler.dense", "classifier"}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_names_are_those_of_the_original_model_whatever_peft_wraps_around_them(tiny_model):
    import peft

    net = net_of("bert", tiny_model)
    before = set(named_tensors(net.model))
    config = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query"], modules_to_save=["bert.pooler"])
    after = set(named_tensors(peft.get_peft_model(net.model, config)))
    assert before <= after
    assert {name.rpartition(".lora_")[0].rpartition(".")[2] for name in after - before} == {"query"}
    assert len(after - before) == 2 * 4
    wrapped = "base_model.model.bert.encoder.layer.0.attention.self.query.base_layer.weight"
    assert original_name(wrapped) == "bert.encoder.layer.0.attention.self.query.weight"


def test_map_is_plain_data(tiny_model):
    net = net_of("bert", tiny_model)
    assert isinstance(net.map, ModelMap) and "bert.encoder.layer.3" in repr(net.map)
    assert net.map == net_of("bert", tiny_model).map
