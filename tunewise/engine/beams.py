"""Beam search, by transformers' own `generate`.

Shape legend: B rows of a batch, T tokens of the longest prompt, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from tunewise.engine.sampling import penalised
from tunewise.evaluate.generation_settings import GenerationConfig
from tunewise.models.wrapped import plain_model


def beam_search(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    ends: tuple[int, ...],
    most: int,
    cached: bool,
    stop: Callable[[], None],
) -> list[list[int]]:
    """The likeliest new tokens of each prompt that `config.beams` beams find, of equal weight per token (length penalty
    1); see `engine.generation.generate`.

    Args:
        most: how many tokens each may be.
        cached: keys and values may be kept; without, prompts are continued one by one, without padding.
    """
    if not cached and len(prompts) > 1:
        return [beam_search(model, tokenizer, [one], config, ends, most, cached, stop)[0] for one in prompts]
    plain, device = plain_model(model), next(model.parameters()).device
    both, pad = plain.config.is_encoder_decoder, tokenizer.pad_token_id
    ids_BT, mask_BT = _padded(prompts, pad, left=not both)
    options = _options(config, ends, pad, most, cached, tokenizer)
    given = plain.generate(
        input_ids=ids_BT.to(device),
        attention_mask=mask_BT.to(device),
        logits_processor=_Each(stop, config.repetition_penalty, None if both else mask_BT, config.beams),
        **options,
    )
    begins = 1 if both else ids_BT.shape[1]
    return [_trimmed(row, ends, pad) for row in given[:, begins:].tolist()]


def _options(
    config: GenerationConfig, ends: tuple[int, ...], pad: int, most: int, cached: bool, tokenizer: Any
) -> dict[str, Any]:
    """Told as arguments, they go before what the model's generation_config.json says."""
    options = {
        "num_beams": config.beams,
        "do_sample": False,
        "temperature": None,
        "top_k": None,
        "top_p": None,
        "repetition_penalty": 1.0,
        "length_penalty": 1.0,
        "early_stopping": False,
        "max_new_tokens": most,
        "max_length": None,
        "use_cache": cached,
        "pad_token_id": pad,
        "eos_token_id": list(ends),
        "num_return_sequences": 1,
    }
    if config.stop:
        options |= {"stop_strings": list(config.stop), "tokenizer": tokenizer}
    return options


class _Each(list):
    """What transformers calls for each token: lets the user stop, and applies our penalty, which knows padding from
    text and virtual tokens from words."""

    def __init__(self, stop: Callable[[], None], penalty: float, mask_BT: torch.Tensor | None, beams: int):
        super().__init__([self.step])
        self.stop, self.penalty, self.beams = stop, penalty, beams
        self.padding = [] if mask_BT is None else (mask_BT == 0).sum(1).tolist()

    def step(self, ids_BT: torch.Tensor, scores_BV: torch.Tensor) -> torch.Tensor:
        self.stop()
        if self.penalty == 1.0:
            return scores_BV
        padding = [count for count in self.padding for _ in range(self.beams)] or [0] * len(ids_BT)
        read = [row[count:] for row, count in zip(ids_BT.tolist(), padding, strict=True)]
        return penalised(scores_BV, read, self.penalty)


def _padded(prompts: Sequence[Sequence[int]], pad: int, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, prompts))
    ids = [[*[pad] * (longest - len(row)), *row] if left else [*row, *[pad] * (longest - len(row))] for row in prompts]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in prompts]
    return torch.tensor(ids), torch.tensor(mask if left else [row[::-1] for row in mask])


def _trimmed(ids: list[int], ends: tuple[int, ...], pad: int) -> list[int]:
    """Up to the token that ends the text, that one included, without padding."""
    for place, token in enumerate(ids):
        if token in ends:
            return ids[: place + 1]
    while ids and ids[-1] == pad:
        ids = ids[:-1]
    return ids
