"""AdamW over the trained tensors, and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from tunewise.engine.apply import TrainedTensor
from tunewise.engine.settings import TrainConfig
from tunewise.models.memory_format import as_in
from tunewise.types import Schedule


class Optimizer:
    """AdamW whose tensors may change between phases of a plan; moments of those that stay are kept.

    Each tensor trains at `learning_rate x lr_scale x schedule(step)`. Elements that a mask keeps get no gradient and no
    moments, and have their bits back after each step, whatever the weight decay.
    """

    def __init__(
        self,
        tensors: Sequence[TrainedTensor],
        learning_rate: float,
        config: TrainConfig,
        total_steps: int,
        schedule: Schedule | None = None,
    ):
        self.config, self.total_steps, self.schedule = config, total_steps, schedule or config.schedule
        # Rounded first: 0.07 x 100 is 7.000000000000001.
        share = math.ceil(round(config.warmup * total_steps, 9))
        self.warmup_steps = share if config.warmup < 1 else int(config.warmup)
        self._too_long = 1.0
        # Fused AdamW on CPU: one pass over memory instead of several (1.3x faster steps for a 22M-parameter model).
        self.fused = tensors[0].parameter.device.type in ("cpu", "cuda")
        self.adamw = torch.optim.AdamW(self._groups(tensors, learning_rate), fused=self.fused)
        self._train(tensors)

    def regroup(self, tensors: Sequence[TrainedTensor], learning_rate: float, schedule: Schedule | None = None) -> None:
        """Trains other tensors from now on."""
        self.adamw.param_groups.clear()  # the moments are kept apart from the groups, by tensor
        for group in self._groups(tensors, learning_rate):
            self.adamw.add_param_group(group)
        self.schedule = schedule or self.config.schedule
        self._train(tensors)

    def _train(self, tensors: Sequence[TrainedTensor]) -> None:
        self.tensors: tuple[TrainedTensor, ...] = tuple(tensors)
        self._kept = [(one, one.parameter.detach()[one.kept]) for one in tensors if one.kept is not None]

    def _gradients(self) -> list[torch.Tensor]:
        gradients = (tensor.parameter.grad for tensor in self.tensors)
        return [gradient for gradient in gradients if gradient is not None]

    def _groups(self, tensors: Sequence[TrainedTensor], learning_rate: float) -> list[dict]:
        groups: dict[tuple[float, float], list] = {}
        for tensor in tensors:
            decay = tensor.weight_decay
            if decay is None:
                decay = self.config.weight_decay if tensor.parameter.ndim > 1 else 0.0
            groups.setdefault((tensor.lr_scale, decay), []).append(tensor.parameter)
        return [
            {"params": parameters, "lr": learning_rate * scale, "peak": learning_rate * scale, "weight_decay": decay}
            for (scale, decay), parameters in groups.items()
        ]

    def set_rates(self, step: int) -> float:
        """Sets the rates of optimiser step `step` (the first is 0) and returns the highest."""
        factor = self.factor(step)
        for group in self.adamw.param_groups:
            group["lr"] = group["peak"] * factor
        return max(group["lr"] for group in self.adamw.param_groups)

    def factor(self, step: int) -> float:
        """What the peak rates are multiplied by at optimiser step `step`."""
        return schedule_factor(step, self.total_steps, self.warmup_steps, self.schedule)

    def clip(self) -> float:
        """Clears the gradients of elements that a mask keeps, has the next step scale the others down to the recipe's
        global norm, and returns the norm before."""
        for tensor, _ in self._kept:
            tensor.parameter.grad.masked_fill_(tensor.kept, 0.0)
        norm = float(torch.nn.utils.get_total_norm(self._gradients()))
        limit = self.config.max_grad_norm or math.inf
        self._too_long = max(1.0, (norm + 1e-6) / limit)  # the 1e-6 as in torch's clip_grad_norm_
        return norm

    def step(self, scaler: torch.amp.GradScaler | None = None) -> None:
        """One step of AdamW, which a scaler may skip for infinite gradients."""
        scales = scaler is not None and scaler.is_enabled()
        if self.fused and not scales:
            # The fused step divides gradients by it while it reads them; a pass of its own over the gradients of 23M
            # parameters took a twentieth of a step at batch size 8. It writes them back, so where none is too long it
            # is not given.
            too_long = torch.tensor(self._too_long, device=self.tensors[0].parameter.device)
            self.adamw.grad_scale = too_long if self._too_long > 1.0 else None
        elif self._too_long > 1.0:
            torch._foreach_div_(self._gradients(), self._too_long)
        if scales:
            scaler.step(self.adamw)
        else:
            self.adamw.step()
        self._too_long = 1.0
        with torch.no_grad():
            for tensor, values in self._kept:
                tensor.parameter[tensor.kept] = values

    def state(self, names: Mapping[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
        """Moments and step counts as `tensor name|key`, for a checkpoint; also of tensors that no longer train."""
        return {
            f"{name}|{key}": value
            for name, parameter in names.items()
            for key, value in self.adamw.state.get(parameter, {}).items()
        }

    def load_state(self, state: Mapping[str, torch.Tensor], names: Mapping[str, torch.nn.Parameter]) -> None:
        for entry, value in state.items():
            name, _, key = entry.rpartition("|")
            # The copy is owned by torch: a view of the file's memory would have another alignment, and other rounding.
            # It has the parameter's order in memory: the fused step reads both element by element as they lie there.
            parameter = names[name]
            moment = value.shape == parameter.shape
            kept = as_in(value, parameter) if moment else value.to(parameter.device, copy=True)
            self.adamw.state[parameter][key] = kept


def schedule_factor(step: int, total_steps: int, warmup_steps: int, schedule: Schedule) -> float:
    """What the peak rate is multiplied by at step `step` = 0, 1, ..., total_steps - 1.

    Warm-up: (step + 1) / warmup_steps, so that no step is spent at rate 0. Then, with p from 0 to (almost) 1 over the
    rest: linear 1 - p, cosine (1 + cos(pi p)) / 2, constant 1. slanted_triangular has a rise of its own instead.
    """
    if schedule == "slanted_triangular":
        return _slanted_triangular(step, total_steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    if schedule == "linear":
        return 1.0 - progress
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0


def _slanted_triangular(step: int, total_steps: int, cut_share: float = 0.1, ratio: float = 32.0) -> float:
    """(1 + p (ratio - 1)) / ratio, where p rises from 0 to 1 over the first tenth of the steps and falls to 0 over the
    rest (Howard and Ruder 2018, section 3.2).

    The paper divides the fall by cut (1 / cut_share - 1), the rest of the steps where cut is not rounded; where it is,
    that would end below 0 (in 19 steps: at -1), so here the rest is divided by itself.
    """
    cut = math.floor(round(cut_share * total_steps, 9))
    p = step / cut if step < cut else 1.0 - (step - cut) / (total_steps - cut)
    return (1.0 + p * (ratio - 1.0)) / ratio
