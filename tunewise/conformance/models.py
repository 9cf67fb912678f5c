"""Tiny random models with real tokenisers, made on the spot: a few thousand weights of each architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewise.conformance.toy_data import IMAGE_SIZE, WORDS

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

BLOCKS, WIDTH, HEADS, INNER, VOCABULARY, POSITIONS = 4, 32, 4, 64, 200, 64

# Weights ten times the usual size: with 0.02 the words of a text hardly reach the output of so narrow a model.
WIDE = {"initializer_range": 0.2}

# Special tokens in the order of their ids: BERT's, RoBERTa's, T5's, and a decoder's, which pads with none of them.
SPECIAL = {
    "bert": {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    },
    "roberta": {
        "cls_token": "<s>",
        "pad_token": "<pad>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    },
    "decoder": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "bart": {
        "cls_token": "<s>",
        "pad_token": "<pad>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
        "bos_token": "<s>",
        "eos_token": "</s>",
    },
    "t5": {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
}
SPECIAL_OF = {"roberta": "roberta", "gpt2": "decoder", "llama": "decoder", "t5": "t5"}


def sizes(blocks: int) -> dict[str, Any]:
    """The options that most text architectures call by the same names."""
    return {
        **WIDE,
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_hidden_layers": blocks,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
    }


def numbered_sizes(blocks: int) -> dict[str, Any]:
    """The same for RoBERTa and its kin, who count positions from pad_token_id + 1 on."""
    return {**sizes(blocks), "max_position_embeddings": POSITIONS + 2, "pad_token_id": 1}


def _bert(blocks: int) -> PretrainedConfig:
    from transformers import BertConfig

    return BertConfig(**sizes(blocks))


def _roberta(blocks: int) -> PretrainedConfig:
    from transformers import RobertaConfig

    return RobertaConfig(**numbered_sizes(blocks), bos_token_id=0, eos_token_id=2, type_vocab_size=1)


def _distilbert(blocks: int) -> PretrainedConfig:
    from transformers import DistilBertConfig

    return DistilBertConfig(
        vocab_size=VOCABULARY,
        dim=WIDTH,
        n_layers=blocks,
        n_heads=HEADS,
        hidden_dim=INNER,
        max_position_embeddings=POSITIONS,
        **WIDE,
    )


def _modernbert(blocks: int) -> PretrainedConfig:
    from transformers import ModernBertConfig

    ends = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    return ModernBertConfig(**sizes(blocks), **ends, local_attention=8)


def _gpt2(blocks: int) -> PretrainedConfig:
    from transformers import GPT2Config

    return GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=WIDTH,
        n_layer=blocks,
        n_head=HEADS,
        n_positions=POSITIONS,
        bos_token_id=0,
        eos_token_id=1,
        **WIDE,
    )


def _llama(blocks: int) -> PretrainedConfig:
    from transformers import LlamaConfig

    return LlamaConfig(**sizes(blocks), num_key_value_heads=2, bos_token_id=0, eos_token_id=1)


def _t5(blocks: int) -> PretrainedConfig:
    from transformers import T5Config

    return T5Config(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        d_kv=WIDTH // HEADS,
        d_ff=INNER,
        num_layers=blocks,
        num_heads=HEADS,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )


def _vit(blocks: int) -> PretrainedConfig:
    from transformers import ViTConfig

    return ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=blocks,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        image_size=IMAGE_SIZE,
        patch_size=IMAGE_SIZE // 4,
        **WIDE,
    )


def _resnet(blocks: int) -> PretrainedConfig:
    from transformers import ResNetConfig

    widths = [WIDTH * (number + 1) // blocks for number in range(blocks)]
    return ResNetConfig(embedding_size=widths[0], hidden_sizes=widths, depths=[1] * blocks, layer_type="basic")


def _swin(blocks: int) -> PretrainedConfig:
    from transformers import SwinConfig

    return SwinConfig(
        image_size=IMAGE_SIZE,
        patch_size=2,
        embed_dim=WIDTH // 2,
        depths=[blocks - blocks // 2, blocks // 2],
        num_heads=[HEADS // 2, HEADS],
        window_size=4,
        mlp_ratio=2.0,
        drop_path_rate=0.0,
        **WIDE,
    )


def _convnext(blocks: int) -> PretrainedConfig:
    from transformers import ConvNextConfig

    return ConvNextConfig(
        image_size=IMAGE_SIZE,
        num_stages=2,
        hidden_sizes=[WIDTH // 2, WIDTH],
        depths=[blocks - blocks // 2, blocks // 2],
        layer_scale_init_value=1.0,
        **WIDE,
    )


def _mobilenet_v2(blocks: int) -> PretrainedConfig:
    """The number of its blocks, 17, is not in its configuration."""
    from transformers import MobileNetV2Config

    return MobileNetV2Config(image_size=IMAGE_SIZE, depth_multiplier=0.1, finegrained_output=False, **WIDE)


def _timm_vgg(blocks: int) -> PretrainedConfig:
    """Its convolutions are as wide as published: 10 million weights in all."""
    from transformers import TimmWrapperConfig

    return TimmWrapperConfig(architecture="vgg11_bn", model_args={"mlp_ratio": 0.01})


def _timm_inception(blocks: int) -> PretrainedConfig:
    """As published: 22 million weights."""
    from transformers import TimmWrapperConfig

    return TimmWrapperConfig(architecture="inception_v3")


Maker = Callable[[int], "PretrainedConfig"]

TEXT: Mapping[str, Maker] = {
    "bert": _bert,
    "roberta": _roberta,
    "distilbert": _distilbert,
    "modernbert": _modernbert,
    "gpt2": _gpt2,
    "llama": _llama,
    "t5": _t5,
}
IMAGE: Mapping[str, Maker] = {
    "vit": _vit,
    "swin": _swin,
    "convnext": _convnext,
    "resnet": _resnet,
    "mobilenet_v2": _mobilenet_v2,
}
TIMM: Mapping[str, Maker] = {"timm-vgg": _timm_vgg, "timm-inception": _timm_inception}
"""Of timm, for which the extra `vision` is needed."""
IMAGE_SIZES = {"timm-vgg": 32, "timm-inception": 75}
"""Pixels of a side, where they are not IMAGE_SIZE: the least that the model can read."""
LANGUAGE_FAMILIES = ("gpt2-lm", "llama-lm", "qwen3-lm", "gemma-lm", "opt-lm", "t5-lm", "bart-lm")
FAMILIES = (*TEXT, *IMAGE, *TIMM, *LANGUAGE_FAMILIES)
"""Those of the support matrix."""
STACKS = {"t5": 2}
"""Stacks of blocks, where they are several: encoder and decoder."""


def make_model(config: PretrainedConfig, folder: Path, size: int = IMAGE_SIZE) -> None:
    """Writes a random model without output layer into the folder, as save_pretrained does, always with the same
    weights. What it keeps beside its weights (the running statistics of batch norm) has seen some rows."""
    import torch
    from transformers import AutoModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModel.from_config(config)
        if model.main_input_name == "pixel_values" and next(model.buffers(), None) is not None:
            if size != IMAGE_SIZE:  # deep nets of timm: with statistics of one step only, nothing comes out of them
                for norm in (module for module in model.modules() if hasattr(module, "running_mean")):
                    norm.momentum = None
            with torch.no_grad():
                model.train()(pixel_values=torch.rand(8, 3, size, size))
    model.save_pretrained(folder)


def make_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """A tokeniser with one token per word, that opens and closes texts as the kind does."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = SPECIAL[kind]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*special.values(), *WORDS]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    first, last = special.get("cls_token"), special.get("sep_token", special.get("eos_token"))
    if first:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}",
            pair=f"{first} $A {last} $B:1 {last}:1",
            special_tokens=[(first, vocabulary[first]), (last, vocabulary[last])],
        )
    elif kind == "t5":
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {last}", pair=f"$A $B:1 {last}", special_tokens=[(last, vocabulary[last])]
        )
    # As BERT's own tokeniser: it makes token types. Those of models without them are to be left out by the loader.
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=POSITIONS, model_input_names=inputs, **special
    )


def make_folder(family: str, folder: Path) -> Path:
    """The folder of a tiny model of the family, of 4 blocks in all, with its tokeniser where it reads text."""
    config = {**TEXT, **IMAGE, **TIMM}[family](BLOCKS // STACKS.get(family, 1))
    if family in TIMM:
        config.pretrained_cfg = {"input_size": [3, IMAGE_SIZES[family], IMAGE_SIZES[family]]}
    make_model(config, folder, IMAGE_SIZES.get(family, IMAGE_SIZE))
    if family in TEXT:
        make_tokenizer(SPECIAL_OF.get(family, "bert")).save_pretrained(folder)
    return folder
