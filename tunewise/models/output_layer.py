"""A language model's output layer, taken out of its forward pass: it then reads the places that are wanted alone.

Shape legend: B rows, T tokens, D width, V vocabulary, N places.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tunewise.errors import TunewiseWarning
from tunewise.models.chunked_log_probs import After, LinearLogProbs, Wanted, chunk_size, kept_places, later
from tunewise.models.output_call import OutputCall, begin_call, end_call, uncounted

PLACES_OF_A_PROOF = 4


@dataclass(frozen=True, eq=False)
class OutputLayer:
    """The module, and what the model does to its outputs."""

    module: nn.Module
    after: After

    @property
    def plain(self) -> bool:
        """A linear layer with nothing inserted or changed about it."""
        return type(self.module) is nn.Linear

    def call(self, even: bool) -> OutputCall:
        """How its FLOPs are counted, and whether the backward pass computes logits again."""
        if self.plain:
            trains = any(tensor.requires_grad for tensor in self.module.parameters())
            return OutputCall(counts=True, again=later(trains, even), beyond=kept_places(len(self.module.weight)))
        return OutputCall(counts=True, again=not _draws(self.module))

    def log_probs(
        self, hidden_ND: torch.Tensor, label_N: torch.Tensor, *, temperature: float, entropy: bool, even: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Log-probabilities (N,) of the labels in fp32, whether each is the likeliest, and entropies where wanted."""
        if self.plain:
            device = hidden_ND.device.type
            dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_ND.dtype
            grad = torch.is_grad_enabled()
            wanted = Wanted(self.after, dtype, temperature, even=even, grad=grad, entropy=entropy)
            with torch.autocast(device, enabled=False):
                return LinearLogProbs.apply(hidden_ND, self.module.weight, self.module.bias, label_N, wanted)
        return self._through_module(hidden_ND, label_N, temperature, entropy)

    def _through_module(
        self, hidden_ND: torch.Tensor, label_N: torch.Tensor, temperature: float, entropy: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        def of_chunk(hidden_CD: torch.Tensor, label_C: torch.Tensor) -> tuple[torch.Tensor, ...]:
            with uncounted():
                logits_CV = self.after(self.module(hidden_CD[None])[0].float()) / temperature
            return numbers_of(logits_CV, label_C, entropy)

        size = chunk_size(self._vocabulary(hidden_ND))
        parts = []
        for start in range(0, max(len(label_N), 1), size):
            part = hidden_ND[start : start + size], label_N[start : start + size]
            # What is drawn at random would be drawn anew.
            parts.append(of_chunk(*part) if _draws(self.module) else checkpoint(of_chunk, *part, use_reentrant=False))
        log_probs, right, entropies = zip(*parts, strict=True)
        return torch.cat(log_probs), torch.cat(right), torch.cat(entropies) if entropy else None

    def _vocabulary(self, hidden_ND: torch.Tensor) -> int:
        weight = getattr(self.module, "weight", None)
        return len(weight) if isinstance(weight, torch.Tensor) and weight.ndim == 2 else hidden_ND.shape[-1]


def numbers_of(
    logits_NV: torch.Tensor, label_N: torch.Tensor, entropy: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As `OutputLayer.log_probs`, from logits in fp32; entropies are empty where not wanted."""
    all_NV = logits_NV.log_softmax(-1)
    with torch.no_grad():
        right_N = logits_NV.argmax(-1) == label_N
        entropy_N = -(all_NV.exp() * all_NV).sum(-1) if entropy else all_NV.new_empty(0)
    return all_NV.gather(1, label_N[:, None])[:, 0], right_N, entropy_N


def last_hidden(
    model: nn.Module, inputs: Mapping[str, torch.Tensor], even: bool
) -> tuple[OutputLayer, torch.Tensor] | None:
    """Runs the model without its output layer: the layer, and what it would have read, (B, T, D).

    The model itself goes on with a place or a few. What it makes of the outputs there is compared with what we make of
    them, once per model and output layer; None, once and for all, where that differs, and a warning says so.
    """
    module = _module_of(model)
    if (proven := model in _KNOWN and _KNOWN[model][0] is module) and _KNOWN[model][1] is None:
        return None
    if module is None:
        _settle(model, None, None)
        return None
    layer = OutputLayer(module, _KNOWN[model][1].to(next(module.parameters()).device) if proven else _after(model))
    with _taking(layer, even, 1 if proven else PLACES_OF_A_PROOF) as taken:
        logits = model(**inputs).logits
    if not proven and not _settle(model, module, layer.after if _agrees(layer, taken, logits) else None):
        return None
    return layer, taken["hidden"]


_KNOWN: WeakKeyDictionary[nn.Module, tuple[nn.Module | None, After | None]] = WeakKeyDictionary()


def _settle(model: nn.Module, module: nn.Module | None, after: After | None) -> bool:
    _KNOWN[model] = (module, after)
    if after is None:
        kind = getattr(model.config, "model_type", type(model).__name__)
        told = (
            f"the output layer of this {kind} model cannot be taken out of it: it is computed at all places of a text, "
            "also where nothing is to be learnt, which takes more time and memory"
        )
        warnings.warn(told, TunewiseWarning, stacklevel=3)
    return after is not None


def _module_of(model: nn.Module) -> nn.Module | None:
    found = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return found if isinstance(found, nn.Module) else None


def _after(model: nn.Module) -> After:
    """What transformers' models say they do after their output layers: Cohere's scale, Granite's, Gemma's cap, the bias
    of BART's kind."""
    config = model.config.get_text_config(decoder=True)
    scale, divided = getattr(config, "logit_scale", None), getattr(config, "logits_scaling", None)
    bias = dict(model.named_buffers(remove_duplicate=False))
    found = next((tensor for name, tensor in bias.items() if name.rpartition(".")[2] == "final_logits_bias"), None)
    return After(
        scale=float(scale or 1.0) / float(divided or 1.0),
        cap=getattr(config, "final_logit_softcapping", None),
        bias_V=None if found is None or not bool(found.any()) else found.reshape(-1),
    )


@contextmanager
def _taking(layer: OutputLayer, even: bool, places: int) -> Iterator[dict[str, Any]]:
    """Inside, the layer gives its outputs at the first `places` places of the first row alone."""
    taken: dict[str, Any] = {}
    call = layer.call(even)

    def before(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        taken["hidden"] = args[0]
        begin_call(call)
        return (args[0][:1, :places], *args[1:])

    def after(module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        taken["outputs"] = output
        end_call()

    handles = [
        layer.module.register_forward_pre_hook(before, prepend=True),  # who counts FLOPs sees what is left
        layer.module.register_forward_hook(after),
    ]
    try:
        yield taken
    finally:
        end_call()
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _agrees(layer: OutputLayer, taken: Mapping[str, Any], logits: torch.Tensor) -> bool:
    """Whether the model's own logits at the places it was left with are what we make of them."""
    hidden, outputs = taken.get("hidden"), taken.get("outputs")
    if hidden is None or hidden.ndim != 3 or outputs is None or logits.shape != outputs.shape:
        return False
    close = 1e-5 if outputs.dtype == torch.float32 else 2e-2
    if layer.plain:
        with uncounted():
            again_ = layer.module(hidden[:1, : outputs.shape[1]])
        if not _close(again_, outputs, close):
            return False
    return _close(layer.after(outputs.float()), logits.float(), close)


def _close(ours: torch.Tensor, theirs: torch.Tensor, share: float) -> bool:
    # NaN on both sides is not ours to judge: the loop stops there with a word of its own.
    return bool(torch.allclose(ours.float(), theirs.float(), rtol=share, atol=share, equal_nan=True))


def _draws(module: nn.Module) -> bool:
    """Whether it draws at random: dropout, in training."""
    return any(isinstance(part, nn.Dropout) and part.training and part.p > 0 for part in module.modules())
