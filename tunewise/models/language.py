"""Which models can give the next token, and what such a model needs to write and to be saved."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tunewise.chat.templates import end_ids
from tunewise.errors import ModelError
from tunewise.models.locate import LocatedModel

if TYPE_CHECKING:
    from torch import nn

# They read a text from both sides: each token would be told from itself. By `model_type`, as transformers lists them
# for masked tokens; those of encoders with a decoder are not among them.
_BOTH_WAYS = """
    albert bert big_bird camembert convbert data2vec-text deberta deberta-v2 distilbert electra ernie esm eurobert
    flaubert fnet funnel gte ibert layoutlm longformer luke megatron-bert mobilebert modernbert mpnet mra nomic_bert
    nystromformer perceiver rembert roberta roberta-prelayernorm roc_bert roformer squeezebert tapas xlm xlm-roberta
    xlm-roberta-xl xmod yoso
"""


def check_gives_next_token(located: LocatedModel) -> None:
    """Refuses encoders, before weights load.

    Raises:
        ModelError: the model reads texts from both sides.
    """
    if located.family in _BOTH_WAYS.split() and located.config.get("is_decoder") is not True:
        raise ModelError(
            f"a '{located.family}' model reads a text from both sides, so that it cannot learn to write the next token",
            where=located.name,
            fix="take a decoder (GPT-2, Llama, Qwen, Gemma, ...) or an encoder with a decoder (T5, BART, ...)",
        )


def check_output_layer(model: nn.Module, missing: Iterable[str], located: LocatedModel) -> None:
    """The output layer over the vocabulary has to come with the weights: nothing that trains on little text could
    learn it anew.

    Args:
        missing: names of tensors that the checkpoint does not hold, or in another shape.

    Raises:
        ModelError: it does not.
    """
    output, missing = model.get_output_embeddings(), set(missing)
    names = [name for name, parameter in model.named_parameters() if output is not None and parameter is output.weight]
    if output is None or missing.intersection(names):
        raise ModelError(
            "the checkpoint holds no output layer over the vocabulary, so that the model cannot write",
            where=str(located.path),
            fix="take the checkpoint with its language-model head (saved from AutoModelForCausalLM or "
            "AutoModelForSeq2SeqLM), not the bare model",
        )


def settle_writing(model: nn.Module, tokenizer: Any) -> list[str]:
    """Makes the model's own generation settings such that it stops where it learnt to, whoever lets it write, and that
    they can be saved.

    Returns:
        Lines for the log: what was changed.
    """
    config, notes = model.generation_config, []
    named = config.eos_token_id
    ends = list(named) if isinstance(named, (list, tuple)) else [] if named is None else [named]
    if new := [number for number in end_ids(tokenizer) if number not in ends]:
        ends += new
        config.eos_token_id = ends if len(ends) > 1 else ends[0]
        if named is not None:
            told = " and ".join(f"'{token}'" for token in tokenizer.convert_ids_to_tokens(new))
            notes.append(f"the model stops at {told} too, which its answers end with")
    config.pad_token_id = tokenizer.pad_token_id
    if _draws_unasked(config):
        config.do_sample = True
        notes.append("generation_config.json says how to draw tokens and not that they are drawn; saved, it says so")
    return notes


def _draws_unasked(config: Any) -> bool:
    """Whether transformers would refuse to save the settings, and would not where tokens are drawn."""
    if config.do_sample:
        return False
    try:
        config.validate(strict=True)
    except ValueError:
        config.do_sample = True
        try:
            config.validate(strict=True)
        except ValueError:
            return False
        finally:
            config.do_sample = False
        return True
    return False
