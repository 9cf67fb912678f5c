"""A batch of texts that a model reads once and then goes on with, token by token, by keys and values that are kept.

Shape legend: B rows of a batch, T tokens read, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tunewise.models.wrapped import plain_model

TOLERANCE = 1e-3
"""Relative to the largest logit: rounding is below 1e-5 of it in fp32, a mistake far above; bf16 is in between."""
PROBED = 6  # tokens


class Continuation:
    """Rows that are being continued. With a cache, rows are padded on the left and each token is read once; without,
    they are padded on the right, as in training, and everything is read again for each token."""

    def __init__(self, model: nn.Module, prompts: Sequence[Sequence[int]], pad: int, cached: bool):
        self.model, self.pad, self.cached = plain_model(model), pad, cached
        self.both = self.model.config.is_encoder_decoder
        self.device = next(model.parameters()).device
        self.parameters = inspect.signature(self.model.forward).parameters
        self.prompts = [list(prompt) for prompt in prompts]
        self.read = [[self._starts()] for _ in prompts] if self.both else [list(prompt) for prompt in prompts]
        self.cache: Any = None
        self.encoded: dict[str, Any] = {}
        self.mask_BT: torch.Tensor | None = None

    def start(self) -> torch.Tensor:
        """Reads the prompts; what the model gives for the next token of each (B, V)."""
        if self.both:
            ids_BS, mask_BS = self._padded(self.prompts, left=False)
            encoder = self.model.get_encoder()
            self.encoded = {"encoder_outputs": encoder(ids_BS, attention_mask=mask_BS), "attention_mask": mask_BS}
        elif self.cached:
            _, self.mask_BT = self._padded(self.read, left=True)
        return self._next()

    def go_on(self, tokens: Sequence[int], keep: Sequence[int]) -> torch.Tensor:
        """Reads one more token of each row that is kept, and forgets the others.

        Args:
            tokens: of each row that is kept.
            keep: its place among those before.

        Returns:
            (B, V) of the rows that are kept.
        """
        if len(keep) < len(self.read):
            self._drop(torch.tensor(keep, device=self.device))
            self.read = [self.read[place] for place in keep]
        for ids, token in zip(self.read, tokens, strict=True):
            ids.append(token)
        if self.mask_BT is not None:
            self.mask_BT = torch.cat([self.mask_BT, self.mask_BT.new_ones(len(tokens), 1)], dim=1)
        return self._next()

    def _next(self) -> torch.Tensor:
        if self.both:
            return self._next_of_decoder()
        return self._next_cached() if self.cached else self._next_whole()

    def _next_whole(self) -> torch.Tensor:
        ids_BT, mask_BT = self._padded(self.read, left=False)
        logits_BTV = self.model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).logits
        return logits_BTV[torch.arange(len(ids_BT)), mask_BT.sum(1) - 1]

    def _next_cached(self) -> torch.Tensor:
        last = None if self.cache is None else 1
        ids_BT = self._padded(self.read, left=True)[0] if last is None else self._last()
        arguments = {"input_ids": ids_BT, "attention_mask": self.mask_BT, "past_key_values": self.cache}
        if "position_ids" in self.parameters:
            place_BT = (self.mask_BT.cumsum(1) - 1).clamp(min=0)
            arguments["position_ids"] = place_BT if last is None else place_BT[:, -1:]
        if "logits_to_keep" in self.parameters:
            arguments["logits_to_keep"] = 1
        output = self.model(**arguments, use_cache=True)
        self.cache = output.past_key_values
        return output.logits[:, -1]

    def _next_of_decoder(self) -> torch.Tensor:
        ids_BT = self._last() if self.cache is not None else torch.tensor(self.read, device=self.device)
        output = self.model(**self.encoded, decoder_input_ids=ids_BT, past_key_values=self.cache, use_cache=self.cached)
        self.cache = output.past_key_values if self.cached else None
        return output.logits[:, -1]

    def _drop(self, keep_B: torch.Tensor) -> None:
        if self.cache is not None:
            self.cache.batch_select_indices(keep_B)
        if self.mask_BT is not None:
            self.mask_BT = self.mask_BT[keep_B]
        if self.encoded:
            outputs = self.encoded["encoder_outputs"]
            outputs.last_hidden_state = outputs.last_hidden_state[keep_B]
            self.encoded["attention_mask"] = self.encoded["attention_mask"][keep_B]

    def _last(self) -> torch.Tensor:
        return torch.tensor([[ids[-1]] for ids in self.read], device=self.device)

    def _padded(self, rows: Sequence[Sequence[int]], left: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask, int64 (B, T)."""
        longest = max(map(len, rows))
        ids_BT = torch.full((len(rows), longest), self.pad, dtype=torch.int64)
        mask_BT = torch.zeros_like(ids_BT)
        for row, ids in enumerate(rows):
            place = slice(longest - len(ids), None) if left else slice(len(ids))
            ids_BT[row, place], mask_BT[row, place] = torch.tensor(ids), 1
        return ids_BT.to(self.device), mask_BT.to(self.device)

    def _starts(self) -> int:
        start = self.model.config.decoder_start_token_id
        return self.model.generation_config.decoder_start_token_id if start is None else start


def cache_serves(model: nn.Module, prompt: Sequence[int], pad: int) -> bool:
    """Whether the model gives the same logits token by token, with kept keys and values, padding on the left and rows
    dropped, as when it reads everything at once: proved on a few tokens of a prompt. What is inserted into a model may
    look at other places of the text than a cache keeps, and a family may have no cache."""
    ids = (list(prompt) * PROBED)[:PROBED]
    tokens = [number if number < plain_model(model).get_input_embeddings().weight.shape[0] else pad for number in ids]
    try:
        given = [_probe(model, ids, tokens, pad, cached) for cached in (True, False)]
    except (TypeError, ValueError, AttributeError, RuntimeError, IndexError, NotImplementedError, KeyError):
        return False
    kept, whole = (torch.stack(found) for found in given)
    return bool((kept - whole).abs().max() <= TOLERANCE * whole.abs().max())


def _probe(model: nn.Module, ids: list[int], tokens: list[int], pad: int, cached: bool) -> list[torch.Tensor]:
    """Logits (V,) of a row that is padded and goes on while the other is dropped."""
    going = Continuation(model, [ids, ids[:-2]], pad, cached)
    found = [going.start()[1], going.go_on(tokens[:2], [0, 1])[1]]
    return [logits_V.float() for logits_V in [*found, going.go_on(tokens[:1], [1])[0]]]
