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
    from transformers import AutoModelForSequenceClassification, NomicBertConfig, OPTConfig, XLMRobertaConfig

    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    opt = OPTConfig(word_embed_proj_dim=16, ffn_dim=16, **sizes)
    head = modules_of(map_model(AutoModelForSequenceClassification.from_config(opt)).head)
    assert head == {"model.decoder.final_layer_norm", "score"}
    nomic = NomicBertConfig(intermediate_size=16, **sizes)
    head = modules_of(map_model(AutoModelForSequenceClassification.from_config(nomic)).head)
    assert head == {"nomic_bert.pooler.dense", "classifier"}
    xlm_roberta = map_model(AutoModelForSequenceClassification.from_config(XLMRobertaConfig(**sizes)))
    assert modules_of(xlm_roberta.head) == {"classifier.dense", "classifier.out_proj"}
    assert not any(tensor.name.startswith("classifier") for tensor in xlm_roberta.embedding)


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


# ---------------------------------------------------------------- images


def image_model(name: str, **options):
    import transformers

    config = getattr(transformers, f"{name}Config")(num_labels=3, **options)
    return transformers.AutoModelForImageClassification.from_config(config)


PATCHES = {"image_size": 16, "patch_size": 4, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
IMAGE_MODELS = {
    "vit": ("ViT", PATCHES),
    "dinov2": ("Dinov2", PATCHES),
    "resnet": (
        "ResNet",
        {"embedding_size": 8, "hidden_sizes": [8, 12, 16], "depths": [2, 1, 2], "layer_type": "basic"},
    ),
    "bottlenecks": ("ResNet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 3]}),
    "swin": (
        "Swin",
        {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 2], "window_size": 4},
    ),
    "mobilenet_v1": ("MobileNetV1", {"image_size": 32, "depth_multiplier": 1 / 64}),
    "mobilenet_v2": (
        "MobileNetV2",
        {"image_size": 32, "depth_multiplier": 1 / 80, "finegrained_output": False, "depth_divisible_by": 8},
    ),
    "efficientnet": (
        "EfficientNet",
        {"image_size": 32, "width_coefficient": 1 / 80, "depth_coefficient": 0.3, "hidden_dim": 16, "depth_divisor": 8},
    ),
    "segformer": (
        "Segformer",
        {
            "num_encoder_blocks": 2,
            "depths": [1, 1],
            "sr_ratios": [2, 1],
            "hidden_sizes": [8, 16],
            "num_attention_heads": [1, 2],
            "patch_sizes": [7, 3],
            "strides": [4, 2],
            "mlp_ratios": [2, 2],
        },
    ),
    "convnext": ("ConvNext", {"hidden_sizes": [8, 8, 16], "depths": [1, 2, 1], "num_stages": 3, "image_size": 16}),
}
STAGES = "resnet.encoder.stages"
IMAGE_BLOCKS = {
    "vit": [f"vit.layers.{number}" for number in range(3)],
    "dinov2": [f"dinov2.encoder.layer.{number}" for number in range(3)],
    "resnet": [f"{STAGES}.{stage}.layers.{layer}" for stage, layer in ((0, 0), (0, 1), (1, 0), (2, 0), (2, 1))],
    "bottlenecks": [f"{STAGES}.{stage}.layers.{layer}" for stage, layer in ((0, 0), (1, 0), (1, 1), (1, 2))],
    "swin": [f"swin.encoder.layers.{part}" for part in ("0.blocks.0", "0.blocks.1", "0.downsample", "1.blocks.0")],
    "mobilenet_v1": [f"mobilenet_v1.layer.{number}" for number in range(26)],
    "mobilenet_v2": [*(f"mobilenet_v2.layer.{number}" for number in range(16)), "mobilenet_v2.conv_1x1"],
    "efficientnet": [
        f"efficientnet.encoder.{part}" for part in (*(f"blocks.{n}" for n in range(8)), "top_conv", "top_bn")
    ],
    "segformer": [
        f"segformer.stages.{part}" for part in ("0.blocks.0", "0.layer_norm", "1.patch_embeddings", "1.blocks.0")
    ],
    "convnext": [
        f"convnext.encoder.stages.{part}"
        for part in (
            "0.layers.0",
            *(f"1.{part}" for part in ("downsampling_layer.0", "downsampling_layer.1", "layers.0", "layers.1")),
            *(f"2.{part}" for part in ("downsampling_layer.0", "downsampling_layer.1", "layers.0")),
        )
    ],
}
IMAGE_HEADS = {
    "vit": {"vit.layernorm", "classifier"},
    "dinov2": {"dinov2.layernorm", "classifier"},
    "resnet": {"classifier.1"},
    "bottlenecks": {"classifier.1"},
    "swin": {"swin.layernorm", "classifier"},
    "mobilenet_v1": {"classifier"},
    "mobilenet_v2": {"classifier"},
    "efficientnet": {"classifier"},
    "segformer": {"segformer.stages.1.layer_norm", "classifier"},
    "convnext": {"convnext.layernorm", "classifier"},
}


@pytest.fixture(params=IMAGE_MODELS)
def image_case(request):
    name, options = IMAGE_MODELS[request.param]
    model = image_model(name, **options)
    return request.param, model, map_model(model)


def test_image_models_are_mapped_whole(image_case):
    name, model, found = image_case
    counted = Counter(tensor.name for group in found.groups for tensor in group)
    assert set(counted) == {name for name, _ in model.named_parameters()} and max(counted.values()) == 1
    assert found.modality == "image" and found.width == 16
    assert [block.path for block in found.blocks] == IMAGE_BLOCKS[name]
    assert [block.index for block in found.blocks] == list(range(len(found.blocks)))
    assert modules_of(found.head) == IMAGE_HEADS[name]
    assert all(tensor.name.startswith(f"{block.path}.") for block in found.blocks for tensor in block.tensors)


def test_blocks_of_image_models_run_in_their_order_after_the_input_embedding(image_case):
    _, model, found = image_case
    ran: list[str] = []
    for path in (found.input_embedding, *(block.path for block in found.blocks)):
        model.get_submodule(path).register_forward_hook(lambda *_, path=path: ran.append(path))
    size = getattr(model.config, "image_size", 16)
    pixels = torch.rand(2, 3, size, size)
    seen: list[torch.Tensor] = []
    model.get_submodule(found.input_embedding).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.eval()(pixel_values=pixels)
    assert ran == [found.input_embedding, *(block.path for block in found.blocks)]
    assert torch.equal(seen[0][..., :size, :size], pixels)  # some pad the image at its right and lower edge


def test_the_head_of_an_image_model_comes_after_its_last_block(image_case):
    _, model, found = image_case
    model.get_submodule(found.blocks[-1].path).register_forward_hook(
        lambda _, inputs, output: (output[0].detach(), *output[1:]) if isinstance(output, tuple) else output.detach()
    )
    size = getattr(model.config, "image_size", 16)
    model.eval()(pixel_values=torch.rand(2, 3, size, size)).logits.square().sum().backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == {tensor.name for tensor in found.head}


def test_kinds_of_tensors_of_image_models():
    def kinds(name: str, block: int) -> Counter:
        config, options = IMAGE_MODELS[name]
        return Counter(tensor.kind for tensor in map_model(image_model(config, **options)).blocks[block].tensors)

    assert kinds("vit", 0) == {"attention": 4, "feed_forward": 2, "bias": 6, "norm": 4}
    assert kinds("dinov2", 0) == {"attention": 4, "feed_forward": 2, "bias": 6, "norm": 4, "other": 2}
    assert kinds("resnet", 0) == {"conv": 2, "norm": 4}
    assert kinds("resnet", 2) == {"conv": 3, "norm": 6}  # with a shortcut, for there the image halves
    assert kinds("convnext", 0) == {"conv": 1, "feed_forward": 2, "bias": 3, "norm": 2, "other": 1}
    assert kinds("convnext", 1) == {"norm": 2} and kinds("convnext", 2) == {"conv": 1, "bias": 1}
    assert kinds("swin", 0) == {"attention": 5, "feed_forward": 2, "bias": 6, "norm": 4}
    assert kinds("swin", 2) == {"feed_forward": 1, "norm": 2}
    assert kinds("mobilenet_v2", 1) == {"conv": 3, "norm": 6}
    assert kinds("segformer", 0) == {"attention": 4, "feed_forward": 2, "conv": 2, "bias": 8, "norm": 6}


def test_where_the_halves_of_image_blocks_end():
    vit = map_model(image_model("ViT", **PATCHES)).blocks[1]
    assert vit.attention == ("vit.layers.1.attention.o_proj",) and vit.feed_forward == ("vit.layers.1.mlp.fc2",)
    assert len(vit.linear) == 6 and vit.conv == ()
    resnet = map_model(image_model("ResNet", **IMAGE_MODELS["resnet"][1])).blocks[2]
    place = f"{STAGES}.1.layers.0"
    assert resnet.conv == tuple(f"{place}.{part}.convolution" for part in ("shortcut", "layer.0", "layer.1"))
    assert resnet.attention == resnet.feed_forward == resnet.linear == ()
    convnext = map_model(image_model("ConvNext", **IMAGE_MODELS["convnext"][1])).blocks
    assert convnext[0].attention == () and convnext[0].feed_forward == ("convnext.encoder.stages.0.layers.0.pwconv2",)
    assert convnext[0].maps == convnext[0].linear and convnext[0].grouped == convnext[0].conv
    assert convnext[2].conv == ("convnext.encoder.stages.1.downsampling_layer.1",) and convnext[2].grouped == ()
    swin = map_model(image_model("Swin", **IMAGE_MODELS["swin"][1])).blocks
    assert swin[0].attention == ("swin.encoder.layers.0.blocks.0.attention.o_proj",)
    assert swin[3].feed_forward == ("swin.encoder.layers.1.blocks.0.mlp.fc2",) and not swin[3].maps


def test_mapping_a_model_leaves_it_as_it_was():
    """The pass that tells the order moves no statistics, no mode and no random number."""
    model = image_model("ResNet", **IMAGE_MODELS["resnet"][1]).train()
    model.resnet.encoder.stages[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    map_model(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes and torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_model_that_cannot_read_images_of_its_own_size_is_refused():
    model = image_model("ViT", **PATCHES)
    model.config.image_size = 20
    with pytest.raises(ModelError, match="cannot read an image of 20 x 20"):
        map_model(model)


def test_order_is_that_of_running_not_of_registration():
    """A net of which the stem is registered last, and the blocks in turned order."""
    model = image_model("MobileNetV1", **IMAGE_MODELS["mobilenet_v1"][1])
    wanted = map_model(model)
    base = model.mobilenet_v1
    for name in ("layer", "conv_stem"):
        base._modules[name] = base._modules.pop(name)
    model._modules["mobilenet_v1"] = model._modules.pop("mobilenet_v1")
    found = map_model(model)
    assert [block.path for block in found.blocks] == [block.path for block in wanted.blocks]
    assert {tensor.name for tensor in found.embedding} == {tensor.name for tensor in wanted.embedding}
    assert {tensor.name for tensor in found.head} == {"classifier.weight", "classifier.bias"}
