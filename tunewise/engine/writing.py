"""What a language model needs beside its weights to write as it learnt to: where to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunewise.chat.templates import end_ids
from tunewise.models.wrapped import plain_model

if TYPE_CHECKING:
    from tunewise.models.load import Net


def settle_writing(net: Net) -> list[str]:
    """Makes the model's generation settings such that it stops where it learnt to, whoever lets it write, and that they
    can be saved. Done again, it changes nothing.

    Returns:
        Lines for the log: what was changed.
    """
    tokenizer = net.tokenizer
    notes = []
    config = plain_model(net.model).generation_config
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
