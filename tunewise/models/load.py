"""From a located model to a trainable net: model, tokeniser and map."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from tunewise.chat.templates import settle_template
from tunewise.config.reading import Chunks, Reading, kept_word
from tunewise.errors import MethodError, ModelError
from tunewise.models.blocks import map_model
from tunewise.models.diffusion import load_denoiser
from tunewise.models.from_files import choose_attention, from_weights, read_config, told_as
from tunewise.models.image_parts import image_shape
from tunewise.models.language import check_gives_next_token, check_output_layer
from tunewise.models.loaded_weights import check_loaded
from tunewise.models.located import LocatedModel
from tunewise.models.noise_schedule import NoiseSchedule
from tunewise.models.processor import Processor, check_reads, load_processor
from tunewise.models.windows import WindowOutputs
from tunewise.models.words import WordOutputs
from tunewise.types import IMAGE_GENERATION, Kept, ModelMap, Schema

PROBLEM_TYPES = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
DROPOUT = re.compile(r"dropout|_pdrop$")
UNLIMITED = 1_000_000
SHORTEST = 4  # tokens of a text: opening, a word of each of two texts, end


@dataclass
class Net:
    """A model ready to train. `map` describes it as it was before anything was inserted; `notes` are lines for the
    log; `prompt` are the virtual token ids that an insert has given vectors, part of every input; `positions` is how
    many tokens, text and virtual, the model can number; `adapter_start` is an adapter as it began, where it was taken
    out of the weights; `by_word` is whether it answers for each word of a text; `kept` is what it reads of a
    text that is too long; `loads_as` is by which class of transformers a language model is loaded; `judges` is the
    schema of the preferences that a reward model, whose rows are a prompt and an answer, learns from;
    `updates_batch_norm` is whether trained batch norms move their running statistics. A model for images has no
    tokeniser, but a `processor`. `noise`: how noise is added, of a model that draws images (`models.diffusion`)."""

    model: nn.Module
    tokenizer: Any
    map: ModelMap
    located: LocatedModel
    max_length: int
    notes: tuple[str, ...] = ()
    prompt: tuple[int, ...] = ()
    adapter_start: dict[str, torch.Tensor] = field(default_factory=dict)
    positions: int = UNLIMITED
    by_word: bool = False
    kept: Reading = "head"
    loads_as: str | None = None
    judges: Schema | None = None
    updates_batch_norm: bool = False
    processor: Processor | None = None
    noise: NoiseSchedule | None = None

    def make_room(self, tokens: int) -> None:
        """Shortens texts where the model could not number them and so many virtual tokens.

        Raises:
            MethodError: hardly a text would fit.
        """
        if self.positions - tokens < SHORTEST:
            raise MethodError(
                f"{tokens} virtual tokens leave no room for a text: the model has {self.positions} positions",
                where="the method's option `tokens`",
                fix=f"take at most {self.positions - SHORTEST}",
            )
        self.max_length = min(self.max_length, self.positions - tokens)

    def note(self, line: str) -> None:
        """Adds a line for the log, once."""
        self.notes = tuple(dict.fromkeys((*self.notes, line)))

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
    kept: Reading | None = None,
    language: bool = False,
) -> Net:
    """Loads model and tokeniser in fp32, with an output layer for the schema; `seed` decides its first values. A schema
    without text columns takes a model for images, which has no tokeniser. `attention` is an implementation of
    transformers; None, or one that the family does not have, leaves the choice to it. `kept`: what to read of long
    texts; None for what the tokeniser's own files say. `language`: the model is to give the next token, by the output
    layer that it was pretrained with.

    Raises:
        ModelError: transformers cannot make a classifier of it, weights of other shapes, NaN in the weights.
    """
    if schema.task == IMAGE_GENERATION:
        made = load_denoiser(located, schema, seed, dropout)
        parts = {"processor": made.processor, "noise": made.noise}
        return Net(made.model, None, made.map, located, 1, made.notes, **parts)
    if language:
        check_gives_next_token(located)
    config, tokenizer, notes, kept = _prepared(located, schema, dropout, attention, kept, language)
    torch.manual_seed(seed)
    with told_as(lambda said: _not_made(said, schema, located, language)):
        kind = _model_class(schema, config, language)
        model, report = from_weights(kind, located, config, ignore_mismatched_sizes=True)
    missing = set(report["missing_keys"]) | _mismatched(report)
    model_map = replace(map_model(model, missing), language=language)
    check_loaded(model, model_map, located)
    notes += _new_output_layer(report, model.config.num_labels)
    if language:
        check_output_layer(model, missing, located)
    if tokenizer is None:
        processor, more = load_processor(located, config)
        if model_map.modality != "image" or processor.shape != image_shape(config):  # else it read one to be mapped
            check_reads(model, processor.shape, located)
        return Net(model, None, model_map, located, 1, (*notes, *more), processor=processor)
    net = _reading(model, tokenizer, model_map, located, max_length, notes)
    net.by_word, net.kept = schema.task == "token_classification", kept
    net.loads_as = _model_class(schema, config, language).__name__ if language else None
    net.judges = schema if schema.task == "preference" and not language else None
    if net.by_word:
        _check_finds_words(tokenizer, located)
        WordOutputs(model.config.label2id.get("O", 0)).watch(model)
    if isinstance(kept, Chunks):
        WindowOutputs(kept.pooling).watch(model)
    return net


def load_reader(
    located: LocatedModel,
    schema: Schema,
    *,
    max_length: int | None = None,
    kept: Reading | None = None,
    language: bool = False,
) -> Net:
    """A net that reads texts as one of `load_net` does, and cannot answer: its tensors have shapes but no values
    (torch's `meta` device), so that no weights are read.

    Raises:
        ModelError: the tokeniser cannot be loaded or does not belong to the model, or transformers knows no such model.
    """
    config, tokenizer, notes, kept = _prepared(located, schema, None, None, kept, language)
    with told_as(lambda said: _not_made(said, schema, located, language)), torch.device("meta"):
        model = _model_class(schema, config, language).from_config(config, trust_remote_code=False)
    model_map = replace(map_model(model, set()), language=language)
    net = _reading(model, tokenizer, model_map, located, max_length, notes)
    net.by_word, net.kept = schema.task == "token_classification", kept
    if net.by_word:
        _check_finds_words(tokenizer, located)
    return net


def _prepared(
    located: LocatedModel,
    schema: Schema,
    dropout: float | None,
    attention: str | None,
    kept: Reading | None,
    language: bool = False,
) -> tuple[Any, Any, list[str], Reading]:
    """Configuration, tokeniser (None for images), lines for the log, and which end of long texts is read."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    config = make_config(located, schema, dropout, language)
    notes = [located.note] if located.note else []
    tokenizer = None
    if schema.text:
        tokenizer = load_tokenizer(located)
        if note := _settle_padding(tokenizer, located, finds_end=config.is_encoder_decoder):
            notes.append(note)
        tokenizer.padding_side = "right"
        if schema.form == "chat" and (note := settle_template(tokenizer)):
            notes.append(note)
        kept, note = _settle_cut(tokenizer, schema, located, kept)
        notes += note
        config.pad_token_id = tokenizer.pad_token_id
    choose_attention(config, attention)
    return config, tokenizer, notes, kept or "head"


def _reading(
    model: nn.Module, tokenizer: Any, model_map: ModelMap, located: LocatedModel, wanted: int | None, notes: list[str]
) -> Net:
    """The net of a model for text, with the length of what it reads; `wanted` is the recipe's."""
    check_vocabulary(model, tokenizer, located)
    drop_unread_inputs(model, tokenizer)
    positions = _positions(model)
    length = longest_text(tokenizer, wanted, positions)
    return Net(model, tokenizer, model_map, located, length, tuple(notes), positions=positions)


def _not_made(said: str, schema: Schema, located: LocatedModel, language: bool) -> ModelError:
    if language:
        return ModelError(
            f"transformers cannot make a language model of this model: {said}",
            where=str(located.path),
            fix="take a decoder (GPT-2, Llama, ...) or an encoder with a decoder (T5, BART, ...)",
        )
    kind = "a text" if schema.text else "an image"
    return ModelError(
        f"transformers cannot make {kind} classifier of this model: {said}",
        where=str(located.path),
        fix="take an encoder or decoder for text" if schema.text else "take a model for images",
    )


def _check_finds_words(tokenizer: Any, located: LocatedModel) -> None:
    if not tokenizer.is_fast:
        raise ModelError(
            "the tokeniser does not tell where in a text its tokens stand, so that none can be found for a word",
            where=str(located.path),
            fix="take a model with a tokenizer.json",
        )


def _model_class(schema: Schema, config: Any, language: bool) -> Any:
    if language:
        return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    if schema.task == "token_classification":
        return AutoModelForTokenClassification
    return AutoModelForSequenceClassification if schema.text else AutoModelForImageClassification


def make_config(located: LocatedModel, schema: Schema, dropout: float | None, language: bool = False) -> Any:
    """The model's configuration with the task's labels and the recipe's dropout."""

    def unknown(said: str) -> ModelError:
        return ModelError(
            f"transformers does not know this model: {said}",
            where=str(located.path),
            fix="take a model whose architecture is part of transformers",
        )

    with told_as(unknown):
        config = read_config(located)
    if not language:
        names = schema.labels or ("score",)
        config.id2label = dict(enumerate(names))
        config.label2id = {name: number for number, name in enumerate(names)}
        config.problem_type = PROBLEM_TYPES.get(schema.task)
    config.use_cache, config.return_dict = False, True
    if dropout is not None:
        for key, value in config.to_dict().items():
            if DROPOUT.search(key) and type(value) in (float, int, type(None)):
                setattr(config, key, dropout)
    return config


def load_tokenizer(located: LocatedModel) -> Any:
    """The tokeniser of a located model.

    Raises:
        ModelError: transformers cannot load it, or what it loads is none.
    """

    def unsound(said: str) -> ModelError:
        return ModelError(
            f"the tokeniser cannot be loaded: {said}",
            where=str(located.path),
            fix="take the tokeniser files that were published with the model",
        )

    with told_as(unsound):
        tokenizer = AutoTokenizer.from_pretrained(located.path, local_files_only=True, trust_remote_code=False)
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise TypeError(f"it is a {type(tokenizer).__name__}")
    return tokenizer


def fresh_model(net: Net, seed: int) -> nn.Module:
    """The same architecture with random weights."""
    torch.manual_seed(seed)
    return type(net.model)(net.model.config)


def _settle_padding(tokenizer: Any, located: LocatedModel, finds_end: bool) -> str | None:
    """Gives the tokeniser a token to pad with, where it has none that can, and returns a line for the log. The end of
    text comes first: unlike the unknown token it is in no text, and decoders look for the last token that is not
    padding. What may be attended to follows from the lengths of texts, never from the token, so that a real end of text
    stays visible.

    Args:
        finds_end: the model looks for the end of text itself (T5, BART), which therefore cannot pad.
    """
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    taken = finds_end and pad is not None and pad == end
    if pad is not None and not taken:
        return None
    choices = [tokenizer.unk_token] if finds_end else [tokenizer.eos_token, tokenizer.unk_token]
    tokenizer.pad_token = next((token for token in choices if token), None)
    if tokenizer.pad_token_id is None or (finds_end and tokenizer.pad_token_id == end):
        raise ModelError(
            "the tokeniser has no token to pad with (pad, eos or unk)",
            where=str(located.path),
            fix="set pad_token in its tokenizer_config.json",
        )
    why = "has no padding token" if not taken else "pads with the end of text, which this model looks for"
    return f"the tokeniser {why}; '{tokenizer.pad_token}' pads, with the attention mask set"


def _settle_cut(
    tokenizer: Any, schema: Schema, located: LocatedModel, kept: Reading | None
) -> tuple[Reading, list[str]]:
    """What is read of long texts, and a line for the log where the tokeniser said otherwise. It keeps in its own
    files the side at which it cuts, so that other programs cut there too; of both ends it knows nothing."""
    own: Kept = "tail" if tokenizer.truncation_side == "left" else "head"
    kept = kept or own
    if (kept == "both" or isinstance(kept, Chunks)) and len(schema.text) > 1 and not tokenizer.is_fast:
        what = "both ends of each cannot be kept" if kept == "both" else "the longer cannot be read in windows"
        raise ModelError(
            f"the tokeniser does not tell which of two texts a token is of, so that {what}",
            where=str(located.path),
            fix="set train.cut to head or tail, or take a model with a tokenizer.json",
        )
    side = "left" if kept == "tail" else "right"
    if tokenizer.truncation_side != side:  # saved is what it was made with
        tokenizer.truncation_side = tokenizer.init_kwargs["truncation_side"] = side
    if own == "tail" and kept != own:
        return kept, [f"the tokeniser keeps the end of long texts; train.cut is {kept_word(kept)}, and goes before it"]
    return kept, []


def drop_unread_inputs(model: nn.Module, tokenizer: Any) -> None:
    """Token types only where the model was pretrained with them: DistilBERT takes none, RoBERTa knows one type only,
    GPT-2 would add the embedding of the token whose id is the type. XLNet has no table of types, but reads them."""
    types = getattr(model.config, "type_vocab_size", 2 if model.config.model_type == "xlnet" else 0)
    if types < 2 or "token_type_ids" not in inspect.signature(model.forward).parameters:
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]


def longest_text(tokenizer: Any, wanted: int | None, positions: int) -> int:
    """The smallest of what the recipe wants, what the tokeniser says, and the positions that the model has. Tokenisers
    that nobody gave a limit say 1e30."""
    said = tokenizer.model_max_length
    known = isinstance(said, (int, float)) and math.isfinite(said) and said >= SHORTEST
    return min(wanted or UNLIMITED, int(said) if known else UNLIMITED, positions)


def _positions(model: nn.Module) -> int:
    positions = getattr(model.config, "max_position_embeddings", None)
    return positions - _unused_positions(model) if positions else UNLIMITED


def _unused_positions(model: nn.Module) -> int:
    """RoBERTa and its kin number positions from pad_token_id + 1 on: so many rows of their table are never read."""
    tables = [module for name, module in model.named_modules() if name.endswith("position_embeddings")]
    padding = [getattr(table, "padding_idx", None) for table in tables]
    return max((index + 1 for index in padding if index is not None), default=0)


def _new_output_layer(report: dict[str, Any], labels: int) -> list[str]:
    """A line for the log where the checkpoint's own output layer was left out."""
    shapes = [tuple(entry[1]) for entry in report["mismatched_keys"] if isinstance(entry, (tuple, list))]
    if not shapes:
        return []
    return [f"the output layer of the checkpoint, for {shapes[0][0]:,} labels, gave way to a new one for {labels:,}"]


def _mismatched(report: dict[str, Any]) -> set[str]:
    """Names of output-layer tensors that the checkpoint holds for another number of labels."""
    return {entry[0] if isinstance(entry, (tuple, list)) else str(entry) for entry in report["mismatched_keys"]}


def check_vocabulary(model: nn.Module, tokenizer: Any, located: LocatedModel) -> None:
    """For tokenisers whose files cannot be checked before they are loaded."""
    largest, size = max(tokenizer.get_vocab().values(), default=0), model.get_input_embeddings().weight.shape[0]
    if largest >= size:
        raise ModelError(
            f"the tokeniser has ids up to {largest}, but the model embeds {size} tokens",
            where=str(located.path),
            fix="take the tokeniser that belongs to this model",
        )
