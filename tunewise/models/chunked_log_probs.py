"""Log-probabilities of given tokens from hidden states and the weight of an output layer, chunk by chunk.

The logits of a chunk of places stand in one buffer, which the next chunk takes: (N, V) never exists. What the backward
pass needs is made in the forward pass where it does not depend on what comes after: with p the probabilities and z the
logits of a place, d ln p[label] / dz = onehot(label) - p, so that the gradient of a hidden state is known up to one
number per place. That of the weight is a sum over places, known up to one number where that number is the same for all
places (`even`: cross-entropy). Else d ln p / dz is kept for the backward pass where a batch has few places, and the
logits are computed again, where it has many. The idea is that of Liger Kernel (Hsu et al. 2024, arXiv:2410.10989).

Shape legend: N places, C places of a chunk, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

CHUNK_NUMBERS = 1 << 23
"""Logits of a chunk: 32 MiB in fp32."""
FEWEST, MOST = 64, 4096
KEPT_NUMBERS = 1 << 26
"""Gradients of logits that are kept for the backward pass at most: 256 MiB in fp32. In a Llama of 20M with 32,000
tokens the output layer is 60% of a step of dpo, a quarter of that being the logits computed again."""


@dataclass(frozen=True)
class After:
    """What a model does to the outputs of its output layer: z = cap tanh(scale z / cap) + bias. `cap` None: no tanh."""

    scale: float = 1.0
    cap: float | None = None
    bias_V: torch.Tensor | None = None

    def __call__(self, raw: torch.Tensor) -> torch.Tensor:
        """Logits (..., V) of outputs; with gradient."""
        logits = raw if self.scale == 1.0 else raw * self.scale
        logits = logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap
        return logits if self.bias_V is None else logits + self.bias_V

    def to(self, device: torch.device) -> After:
        """The same on another device."""
        return (
            self
            if self.bias_V is None or self.bias_V.device == device
            else replace(self, bias_V=self.bias_V.to(device))
        )

    def apply_(self, raw_CV: torch.Tensor) -> torch.Tensor | None:
        """In place. Returns the derivative (C, V) where it is not `scale` everywhere."""
        slope_CV = None
        if self.scale != 1.0:
            raw_CV.mul_(self.scale)
        if self.cap is not None:
            raw_CV.div_(self.cap).tanh_()
            slope_CV = raw_CV.square().neg_().add_(1.0)
            raw_CV.mul_(self.cap)
        if self.bias_V is not None:
            raw_CV.add_(self.bias_V)
        return slope_CV


@dataclass(frozen=True)
class Wanted:
    """How log-probabilities are to be computed: of logits divided by `temperature`; products in the number format
    `dtype`; `even`: the loss will weigh all places alike; `grad`: a backward pass will follow; `entropy`: that too."""

    after: After
    dtype: torch.dtype
    temperature: float = 1.0
    even: bool = False
    grad: bool = True
    entropy: bool = False


def chunk_size(vocabulary: int) -> int:
    """Places of a chunk."""
    return min(max(CHUNK_NUMBERS // vocabulary, FEWEST), MOST)


def kept_places(vocabulary: int) -> int:
    """Places of a batch whose logits the backward pass need not compute again."""
    return KEPT_NUMBERS // vocabulary


def later(weight_trains: bool, even: bool) -> bool:
    """Whether gradients are made in the backward pass: out of what was kept, or of logits computed once more."""
    return weight_trains and not even


class LinearLogProbs(torch.autograd.Function):
    """`apply(hidden_ND, weight_VD, bias_V, label_N, wanted)` -> log-probabilities (N,) in fp32, whether each label is
    the likeliest (N,), entropies (N,) or None."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        label_N: torch.Tensor,
        wanted: Wanted,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        needs_hidden, needs_weight, needs_bias = (wanted.grad and needed for needed in ctx.needs_input_grad[:3])
        in_backward = later(needs_weight or needs_bias, wanted.even)
        keeps = in_backward and len(label_N) <= kept_places(len(weight_VD))
        chunks = _Chunks(hidden_ND, weight_VD, bias_V, label_N, wanted, keeps)
        kept: list[torch.Tensor] = []
        log_probs_N = torch.empty(len(label_N), dtype=torch.float32, device=hidden_ND.device)
        right_N = torch.empty(len(label_N), dtype=torch.bool, device=hidden_ND.device)
        entropy_N = torch.empty_like(log_probs_N) if wanted.entropy else None
        made = _Gradients.of(hidden_ND, weight_VD, bias_V, needs_hidden, needs_weight, needs_bias, in_backward)
        for place in chunks.places():
            logits_CV, slope_CV = chunks.logits(place)
            label_C1 = label_N[place, None]
            most_C1, likeliest_C1 = logits_CV.max(dim=1, keepdim=True)
            right_N[place] = (likeliest_C1 == label_C1)[:, 0]
            own_C1 = logits_CV.gather(1, label_C1) - most_C1
            shifted_CV = logits_CV.sub_(most_C1)
            mean_C = None
            if entropy_N is not None:
                odds_CV = shifted_CV.exp()
                mean_C = (odds_CV * shifted_CV).sum(1) / odds_CV.sum(1)
                del odds_CV
            odds_CV = shifted_CV.exp_()
            sum_C1 = odds_CV.sum(dim=1, keepdim=True)
            log_probs_N[place] = (own_C1 - sum_C1.log())[:, 0]
            if entropy_N is not None:
                entropy_N[place] = sum_C1.log()[:, 0] - mean_C
            if made.any or keeps:
                towards_CV = _towards(odds_CV.div_(sum_C1), label_C1, slope_CV, wanted)
                if keeps:
                    kept.append(towards_CV)
                else:
                    made.add(chunks, place, towards_CV, None)
        ctx.made, ctx.later, ctx.wanted, ctx.kept = made, in_backward, wanted, kept
        ctx.save_for_backward(hidden_ND, weight_VD, bias_V, label_N)
        ctx.mark_non_differentiable(right_N, *([] if entropy_N is None else [entropy_N]))
        return log_probs_N, right_N, entropy_N

    @staticmethod
    def backward(ctx: Any, grad_N: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        hidden_ND, weight_VD, bias_V, label_N = ctx.saved_tensors
        made, ctx.made, kept, ctx.kept = ctx.made, None, ctx.kept, None
        alike = len(grad_N) == 0 or bool((grad_N == grad_N[0]).all())
        if ctx.later or made is None or not (alike or made.weight is made.bias is None):
            needs = ctx.needs_input_grad[:3]
            made = _Gradients.of(hidden_ND, weight_VD, bias_V, *needs, False)
            chunks = _Chunks(hidden_ND, weight_VD, bias_V, label_N, ctx.wanted)
            for number, place in enumerate(chunks.places()):
                towards_CV = kept[number] if kept else chunks.towards(place)
                made.add(chunks, place, towards_CV, grad_N[place, None])
        else:
            made.times(grad_N, alike)
        return made.hidden, made.weight, made.bias, None, None


def _towards(
    probs_CV: torch.Tensor, label_C1: torch.Tensor, slope_CV: torch.Tensor | None, wanted: Wanted
) -> torch.Tensor:
    """The gradient of the label's log-probability with regard to the layer's outputs, in place of the probabilities."""
    towards_CV = probs_CV.neg_()
    towards_CV.scatter_add_(1, label_C1, torch.ones_like(label_C1, dtype=probs_CV.dtype))
    factor = wanted.after.scale / wanted.temperature
    if factor != 1.0:
        towards_CV.mul_(factor)
    return towards_CV if slope_CV is None else towards_CV.mul_(slope_CV)


class _Chunks:
    """Logits of places in turns, all in the same buffer; with `apart`, each in a part of its own."""

    def __init__(
        self,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        label_N: torch.Tensor,
        wanted: Wanted,
        apart: bool = False,
    ):
        self.label_N = label_N
        self.apart = apart and wanted.dtype == torch.float32  # logits of other formats are in a copy
        self.hidden_ND, self.weight_VD = hidden_ND.to(wanted.dtype), weight_VD.to(wanted.dtype)
        self.bias_V = None if bias_V is None else bias_V.to(wanted.dtype)
        self.wanted, self.size = wanted, chunk_size(len(weight_VD))
        rows = len(label_N) if self.apart else min(self.size, len(label_N))
        self.buffer_CV = hidden_ND.new_empty((rows, len(weight_VD)), dtype=wanted.dtype)

    def places(self) -> Iterator[slice]:
        total = len(self.hidden_ND)
        return (slice(start, min(start + self.size, total)) for start in range(0, total, self.size))

    def logits(self, place: slice) -> tuple[torch.Tensor, torch.Tensor | None]:
        """fp32 (C, V), and the slope of what the model does after the layer."""
        raw_CV = self.buffer_CV[place] if self.apart else self.buffer_CV[: place.stop - place.start]
        if self.bias_V is None:
            torch.mm(self.hidden_ND[place], self.weight_VD.T, out=raw_CV)
        else:
            torch.addmm(self.bias_V, self.hidden_ND[place], self.weight_VD.T, out=raw_CV)
        logits_CV = raw_CV.float()
        slope_CV = self.wanted.after.apply_(logits_CV)
        if self.wanted.temperature != 1.0:
            logits_CV.div_(self.wanted.temperature)
        return logits_CV, slope_CV

    def towards(self, place: slice) -> torch.Tensor:
        """As `_towards`, of logits that are computed for it."""
        logits_CV, slope_CV = self.logits(place)
        probs_CV = torch.softmax(logits_CV, dim=1, out=logits_CV)
        return _towards(probs_CV, self.label_N[place, None], slope_CV, self.wanted)


@dataclass
class _Gradients:
    """Of hidden states, weight and bias, where they are wanted."""

    hidden: torch.Tensor | None
    weight: torch.Tensor | None
    bias: torch.Tensor | None

    @classmethod
    def of(
        cls,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        needs_hidden: bool,
        needs_weight: bool,
        needs_bias: bool,
        later: bool,
    ) -> _Gradients:
        """Zeros; nothing at all where they are made `later`."""
        return cls(
            torch.zeros_like(hidden_ND) if needs_hidden and not later else None,
            torch.zeros_like(weight_VD) if needs_weight and not later else None,
            torch.zeros_like(bias_V) if needs_bias and not later else None,
        )

    @property
    def any(self) -> bool:
        return not (self.hidden is self.weight is self.bias is None)

    def add(self, chunks: _Chunks, place: slice, towards_CV: torch.Tensor, grad_C1: torch.Tensor | None) -> None:
        if grad_C1 is not None:
            towards_CV = towards_CV.mul_(grad_C1)
        if self.bias is not None:
            self.bias += towards_CV.sum(0)
        towards_CV = towards_CV.to(chunks.hidden_ND.dtype)
        if self.hidden is not None:
            self.hidden[place] = towards_CV @ chunks.weight_VD
        if self.weight is not None and self.weight.dtype == towards_CV.dtype:
            self.weight.addmm_(towards_CV.T, chunks.hidden_ND[place])
        elif self.weight is not None:
            self.weight += towards_CV.T @ chunks.hidden_ND[place]

    def times(self, grad_N: torch.Tensor, alike: bool) -> None:
        """With what the loss weighs each place by; weight and bias only where that is `alike` for all."""
        if self.hidden is not None:
            self.hidden.mul_(grad_N[:, None])
        for total in (self.weight, self.bias):
            if total is not None and alike and len(grad_N):
                total.mul_(grad_N[0])
