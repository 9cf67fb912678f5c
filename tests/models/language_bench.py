"""Tiny random language models of several families, rows to learn, and the plain computation to compare with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tunewise.config.reading import UNLABELLED
from tunewise.data.labelled import LabelledTokens
from tunewise.data.ragged import Ragged

VOCABULARY, WIDTH = 97, 32
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
HEAD = {"head_dim": 8}
SHORT_WINDOW = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
BART = {
    "vocab_size": VOCABULARY,
    "d_model": WIDTH,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 128,
    "init_std": 0.3,
    "dropout": 0.0,
}
DECODERS = ("llama", "llama_tied", "gpt2", "qwen3", "gemma2", "gemma3", "cohere", "granite", "opt", "phi")
BOTH = ("t5", "bart")


def _config(family: str) -> Any:
    import transformers as t

    return {
        "llama": lambda: t.LlamaConfig(**SIZES),
        "llama_tied": lambda: t.LlamaConfig(**SIZES, tie_word_embeddings=True),
        "gpt2": lambda: t.GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=WIDTH,
            n_layer=2,
            n_head=4,
            n_positions=128,
            initializer_range=0.3,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        ),
        "qwen3": lambda: t.Qwen3Config(**SIZES, **HEAD),
        "gemma2": lambda: t.Gemma2Config(**SIZES, **HEAD, **SHORT_WINDOW, final_logit_softcapping=3.0),
        "gemma3": lambda: t.Gemma3TextConfig(**SIZES, **HEAD, **SHORT_WINDOW),
        "cohere": lambda: t.CohereConfig(**SIZES, logit_scale=0.25),
        "granite": lambda: t.GraniteConfig(**SIZES, logits_scaling=4.0),
        "phi": lambda: t.PhiConfig(**SIZES, resid_pdrop=0.0),
        "opt": lambda: t.OPTConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            word_embed_proj_dim=WIDTH,
            ffn_dim=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=128,
            dropout=0.0,
            init_std=0.3,
        ),
        "t5": lambda: t.T5Config(
            vocab_size=VOCABULARY, d_model=WIDTH, d_kv=8, d_ff=48, num_layers=2, num_heads=4, dropout_rate=0.0
        ),
        "bart": lambda: t.BartConfig(**BART),
    }[family]()


def language_model(family: str) -> Any:
    """A random model of the family that gives the next token, in training mode without dropout."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    config = _config(family)
    config.use_cache = False
    if family in BOTH:
        config.decoder_start_token_id = 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = (AutoModelForSeq2SeqLM if family in BOTH else AutoModelForCausalLM).from_config(config)
        if family == "bart":
            model.final_logits_bias = torch.randn(1, VOCABULARY)
        if family == "phi":
            torch.nn.init.normal_(model.lm_head.bias)
    return model.train()


def rows(count: int = 6, seed: int = 0, longest: int = 14, sources: bool = False) -> LabelledTokens:
    """Random rows: a prompt, which is not learnt, and an answer, which is."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(4, longest, count)
    ids = [draw.integers(3, VOCABULARY, length) for length in lengths]
    learnt = [(np.arange(length) >= draw.integers(1, length)).astype(np.int8) for length in lengths]
    read = [draw.integers(3, VOCABULARY, length) for length in draw.integers(2, longest, count)]
    return LabelledTokens(
        Ragged.of(ids, np.int32),
        Ragged.of([np.ones_like(row) for row in learnt] if sources else learnt, np.int8),
        0,
        Ragged.of(read, np.int32) if sources else None,
    )


def plain(model: Any, batch: dict[str, torch.Tensor], temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the labels (N,), with gradient, and entropies, by the model's own logits at all places."""
    labels, inputs = batch["labels"], {name: values for name, values in batch.items() if name != "labels"}
    if model.config.is_encoder_decoder:
        logits = model(**inputs, labels=labels).logits
    else:
        logits, labels = model(**inputs).logits[:, :-1], labels[:, 1:]
    all_ = (logits.float() / temperature).log_softmax(-1)
    held = labels != UNLABELLED
    entropies = torch.distributions.Categorical(logits=logits.float() / temperature).entropy()
    return all_[held].gather(1, labels[held][:, None])[:, 0], entropies[held].detach()


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of all tensors that have one."""
    model.zero_grad()
    loss.backward()
    return {name: tensor.grad.clone() for name, tensor in model.named_parameters() if tensor.grad is not None}


def assert_equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], share: float = 1e-5) -> None:
    """The same tensors, each to a share of the largest gradient."""
    assert ours.keys() == theirs.keys()
    scale = max(float(gradient.abs().max()) for gradient in theirs.values())
    for name, gradient in theirs.items():
        assert float((ours[name] - gradient).abs().max()) <= share * max(1.0, scale), name
