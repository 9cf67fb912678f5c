"""From a located model to a trainable net: model, tokeniser and map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from tunewise.errors import ModelError
from tunewise.models.blocks import map_model, named_tensors
from tunewise.models.locate import LocatedModel
from tunewise.types import ModelMap, Schema

PROBLEM_TYPES = {"classification": "single_label_classification", "multilabel": "multi_label_classification",
                 "regression": "regression"}  # fmt: skip
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "dropout", "attention_dropout",
            "activation_dropout", "embd_pdrop", "resid_pdrop", "attn_pdrop", "seq_classif_dropout", "summary_first_dropout",
            "embedding_dropout", "mlp_dropout", "pooler_dropout", "dropout_rate", "hidden_dropout")  # fmt: skip
UNLIMITED = 1_000_000


@dataclass
class Net:
    """A model ready to train. `map` describes it as it was before anything was inserted; `notes` are lines for the
    log."""

    model: nn.Module
    tokenizer: Any
    map: ModelMap
    located: LocatedModel
    max_length: int
    notes: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Net:
        self.model.to(device)
        return self


def load_net(
    located: LocatedModel,
    schema: Schema,
    *,
    seed: int = 0,
    dropout: float | None = None,
    max_length: int | None = None,
    attention: str | None = None,
) -> Net:
    """Loads model and tokeniser in fp32, with an output layer for the schema; `seed` decides its first values.

    Raises:
        ModelError: transformers cannot make a classifier of it, weights of other shapes, NaN in the weights.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    config = make_config(located, schema, dropout)
    tokenizer = load_tokenizer(located)
    notes = [located.note] if located.note else []
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
        notes.append(f"the tokeniser has no padding token; '{tokenizer.pad_token}' pads, with the attention mask set")
    tokenizer.padding_side = "right"
    config.pad_token_id = tokenizer.pad_token_id

    torch.manual_seed(seed)
    options = {"attn_implementation": attention} if attention else {}
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            located.path, config=config, dtype=torch.float32, use_safetensors=True, local_files_only=True,
            ignore_mismatched_sizes=True, output_loading_info=True, **options,
        )  # fmt: skip
    except (ValueError, OSError, RuntimeError, KeyError) as problem:
        raise ModelError(f"transformers cannot make a text classifier of this model: {_first_line(problem)}",
                         where=str(located.path), fix="take an encoder or decoder for text") from None  # fmt: skip
    missing = set(report["missing_keys"]) | _mismatched(report)
    model_map = map_model(model, missing)
    _check_weights(model, model_map, located)
    if any(not tensor.pretrained for tensor in model_map.head):
        notes.append("new, random output layers: " + ", ".join(t.name for t in model_map.head if not t.pretrained))
    return Net(model, tokenizer, model_map, located, _max_length(config, tokenizer, max_length), tuple(notes))


def make_config(located: LocatedModel, schema: Schema, dropout: float | None) -> Any:
    """The model's configuration with the task's labels and the recipe's dropout."""
    try:
        config = AutoConfig.from_pretrained(located.path, local_files_only=True)
    except (ValueError, KeyError, OSError) as problem:
        raise ModelError(f"transformers does not know this model: {_first_line(problem)}", where=str(located.path),
                         fix="take a model whose architecture is part of transformers") from None  # fmt: skip
    names = schema.labels or ("score",)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}
    config.problem_type = PROBLEM_TYPES[schema.task]
    config.use_cache = False
    if dropout is not None:
        for key in DROPOUTS:
            if hasattr(config, key):
                setattr(config, key, dropout)
    return config


def load_tokenizer(located: LocatedModel) -> Any:
    try:
        return AutoTokenizer.from_pretrained(located.path, local_files_only=True)
    except (ValueError, KeyError, OSError, TypeError) as problem:
        raise ModelError(f"the tokeniser cannot be loaded: {_first_line(problem)}", where=str(located.path),
                         fix="take the tokeniser files that were published with the model") from None  # fmt: skip


def fresh_model(net: Net, seed: int) -> nn.Module:
    """The same architecture with random weights."""
    torch.manual_seed(seed)
    return AutoModelForSequenceClassification.from_config(net.model.config)


def _max_length(config: Any, tokenizer: Any, wanted: int | None) -> int:
    """The smallest of what the recipe wants, what the tokeniser says, and the positions that the model has."""
    limits = [wanted or UNLIMITED, min(int(tokenizer.model_max_length), UNLIMITED)]
    if positions := getattr(config, "max_position_embeddings", None):
        # RoBERTa and its kin number positions from pad_token_id + 1 on.
        offset = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet") else 0
        limits.append(positions - offset)
    return min(limits)


def _mismatched(report: dict[str, Any]) -> set[str]:
    """Names of output-layer tensors that the checkpoint holds for another number of labels."""
    return {entry[0] if isinstance(entry, (tuple, list)) else str(entry) for entry in report["mismatched_keys"]}


def _check_weights(model: nn.Module, model_map: ModelMap, located: LocatedModel) -> None:
    body = [tensor for group in model_map.groups[:-1] for tensor in group]
    if lost := [tensor.name for tensor in body if not tensor.pretrained]:
        raise ModelError(f"the weights of {len(lost)} tensors are missing or have other shapes: {', '.join(lost[:3])}",
                         where=str(located.path), fix="check that config.json and weights belong together")  # fmt: skip
    for name, parameter in named_tensors(model).items():
        if not torch.isfinite(parameter).all():
            raise ModelError(f"the weights hold NaN or infinity in {name}", where=str(located.path),
                             fix="download the model again, or take another checkpoint")  # fmt: skip


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]
