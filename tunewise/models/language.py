"""Which models can give the next token."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tunewise.errors import ModelError
from tunewise.models.located import LocatedModel

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
