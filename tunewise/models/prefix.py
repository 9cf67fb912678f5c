"""The part of a model below its first trained block: what it gives can be kept, and given back instead of computed.

The embedding and the blocks of the prefix do not run then: whatever is called returns the kept states, and all that is
above, masks and positions too, is made by the model itself. Whether that changes anything is for `same_outputs` to
prove, on rows of the run.

Shape legend: B rows of a batch, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tunewise.models.batch_norm import statistics_kept
from tunewise.models.memory_format import lies_channels_last
from tunewise.models.wrapped import hidden_of

STATES = "prefix_states"
"""The argument by which a watched model takes kept states."""

LABELS = "labels"
"""Of a batch of a language model, what its loss reads: the model itself does not."""

Batch = Mapping[str, torch.Tensor]
Wanted = Callable[[nn.Module, Batch], torch.Tensor]


class _Reached(Exception):
    """Ends a forward pass where the prefix ends."""


@dataclass
class Prefix:
    """The modules of a prefix in `model`: `before` the blocks, and its `blocks`.

    `skips_embedding`: `before` does not run either where states are given back.
    """

    model: nn.Module
    before: Sequence[nn.Module]
    blocks: Sequence[nn.Module]
    skips_embedding: bool = True
    _extras: list[int | None] = field(default_factory=list, init=False)
    _channels_last: bool = field(default=False, init=False)
    _skipped: list[nn.Module] = field(default_factory=list, init=False)

    def capture(self, batch: Batch) -> torch.Tensor:
        """What the last block of the prefix gives, (B, T, D) for texts; nothing above it runs."""
        found: list[torch.Tensor] = []

        def keep(_: nn.Module, args: Any, output: Any) -> None:
            found.append(hidden_of(output))
            raise _Reached

        handle = self.blocks[-1].register_forward_hook(keep)
        try:
            self.model(**batch)
        except _Reached:
            pass
        finally:
            handle.remove()
        return found[0]

    def learn(self, batch: Batch) -> torch.Tensor:
        """The same, and notes what each block returns beside its hidden states: that many values are missing when
        states are given back, in the order in memory in which they came."""
        self._extras = [None] * len(self.blocks)

        def note(number: int) -> Callable[..., None]:
            def noted(_: nn.Module, args: Any, output: Any) -> None:
                self._extras[number] = None if isinstance(output, torch.Tensor) else len(output) - 1

            return noted

        handles = [block.register_forward_hook(note(number)) for number, block in enumerate(self.blocks)]
        try:
            states = self.capture(batch)
        finally:
            for handle in handles:
                handle.remove()
        self._channels_last = lies_channels_last(states)
        return states

    def watch(self) -> Callable[[], None]:
        """Makes the model take kept states as the argument `prefix_states` of its forward pass, until the function that
        is returned is called."""
        enter = self.model.register_forward_pre_hook(self._enter, with_kwargs=True)
        leave = self.model.register_forward_hook(self._leave, always_call=True)

        def remove() -> None:
            enter.remove()
            leave.remove()

        return remove

    def _enter(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        if STATES not in kwargs:
            return None
        states = kwargs[STATES]
        if self._channels_last:
            states = states.contiguous(memory_format=torch.channels_last)
        for block, extras in zip(self.blocks, self._extras, strict=True):
            self._give(block, states if extras is None else (states, *[None] * extras))
        if self.skips_embedding:
            for module in self.before:
                self._give(module, states)
        return args, {key: value for key, value in kwargs.items() if key != STATES}

    def _give(self, module: nn.Module, value: Any) -> None:
        """An attribute of the instance, in the place of its class's forward: names, hooks and what others read stay."""
        module.forward = lambda *args, **kwargs: value
        self._skipped.append(module)

    def _leave(self, *_: Any) -> None:
        for module in self._skipped:
            del module.forward
        self._skipped.clear()


def read_by_the_model(batch: Batch) -> dict[str, torch.Tensor]:
    """A batch without labels."""
    return {name: values for name, values in batch.items() if name != LABELS}


def narrowed(batch: Batch, place_B: torch.Tensor) -> dict[str, torch.Tensor]:
    """The arguments of a forward pass over one position of each row: (B, 1) of what is (B, T)."""
    shape, rows = batch["input_ids"].shape, torch.arange(len(place_B))
    return {key: value[rows, place_B, None] if value.shape == shape else value for key, value in batch.items()}


def logits_of(model: nn.Module, batch: Batch) -> torch.Tensor:
    """What a model gives for a batch."""
    return model(**batch).logits


def same_outputs(
    model: nn.Module,
    plain: Batch,
    other: Batch,
    autocast: Callable[[], AbstractContextManager[Any]],
    tolerance: float = 0.0,
    wanted: Wanted = logits_of,
) -> bool:
    """Whether the model gives the same for both batches, in the modes it is in and with the same random numbers: its
    outputs, and the gradients of all that trains. Outputs alone would not do: what starts at zero does not show in
    them; and where dropout stands above the prefix, it has to drop the same.

    Args:
        tolerance: difference allowed, as a share of the largest value of a tensor; 0: not one bit.
        wanted: the outputs that training reads.
    """
    first, second = (_outputs(model, batch, autocast, wanted) for batch in (plain, other))
    return all(_same(one, two, tolerance) for one, two in zip(first, second, strict=True))


def _outputs(
    model: nn.Module, batch: Batch, autocast: Callable[[], AbstractContextManager[Any]], wanted: Wanted
) -> list[torch.Tensor | None]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    torch.manual_seed(0)
    with torch.enable_grad(), statistics_kept(model):
        with autocast():
            outputs = wanted(model, batch)
        flat = outputs.float().nan_to_num().flatten()  # NaN where a row has no such word
        weights = torch.arange(1, len(flat) + 1, device=flat.device).cos()
        gradients = torch.autograd.grad((flat * weights).sum(), trained, allow_unused=True) if trained else ()
    return [flat.detach(), *gradients]


def _same(one: torch.Tensor | None, two: torch.Tensor | None, tolerance: float) -> bool:
    if one is None or two is None:
        return one is two
    if tolerance == 0.0 or one.shape != two.shape:
        return torch.equal(one, two)
    return bool((one - two).abs().max() <= tolerance * one.abs().max())
