"""Numbers that are not finite: found before they do harm, and traced to the rows or weights that they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from tunewise.engine.gradients import Gradients
from tunewise.engine.prefix import undisturbed
from tunewise.engine.progress import Progress
from tunewise.errors import NonFiniteError
from tunewise.models.finite_values import all_finite
from tunewise.types import Split

MOST_NAMED = 20


def check_finite(tensors: Mapping[str, torch.Tensor], step: int, what: str = "weights") -> None:
    """Makes sure that tensors are finite; `step` is the last that changed them.

    It is done at each validation and save, which take seconds.

    Raises:
        NonFiniteError: names the first that is not.
    """
    for name, tensor in tensors.items():
        if not all_finite(tensor):
            raise NonFiniteError(
                f"the {what} hold NaN or infinity after step {step}: {name}; they were neither validated nor saved",
                fix="lower the learning rate, set train.max_grad_norm, or set train.precision to fp32",
            )


class Culprits:
    """The rows of a step whose loss or gradient is not finite by itself."""

    def __init__(self, gradients: Gradients, train: Split):
        self.gradients, self.train = gradients, train

    def told(self, progress: Progress, allowed: int, loss: float, norm: float) -> str:
        """What to tell of the step that comes next, whose loss or gradient is not finite, where it may be skipped.

        Raises:
            NonFiniteError: it may not: `allowed` were skipped before.
        """
        number, in_loss = progress.step + 1, not np.isfinite(loss)
        what = f"the loss of step {number} is {loss}" if in_loss else f"the gradient's norm of step {number} is {norm}"
        found = self._rows(progress.step, in_loss)
        where = self._where(self.gradients.course.rows(progress.step), found)
        if progress.skipped < allowed:
            return f"{what}: it was skipped ({progress.skipped + 1} of at most {allowed}); {where}"
        after = f", after {allowed} that were skipped" if allowed else ""
        look = "look at these rows for extreme targets" if found else "no row alone makes it so"
        raise NonFiniteError(
            f"{what}{after}; the weights were not updated",
            where=where,
            fix=f"{look}; lower the learning rate, or set train.precision to fp32; with train.skip_non_finite training "
            "goes on without some such steps",
        )

    def _where(self, rows: np.ndarray, found: list[int]) -> str:
        """The rows of a step, those at fault first."""
        others = [str(self.train.rows[row]) for row in rows if row not in set(found)][:MOST_NAMED]
        if not found:
            return f"rows {', '.join(others)} of {self.train.source}"
        numbers = ", ".join(str(self.train.rows[row]) for row in found)
        rest = f"; other rows of the step: {', '.join(others)}" if others else ""
        return f"row{'s' * (len(found) > 1)} {numbers} of {self.train.source}{rest}"

    def _rows(self, step: int, in_loss: bool) -> list[int]:
        is_finite = self._loss_is_finite if in_loss else self._gradient_is_finite
        found: list[int] = []
        with undisturbed(self.gradients.net.model):
            for batch in self.gradients.course.micro_batches(step):
                found += not_finite(batch, lambda rows: is_finite(step, rows), MOST_NAMED - len(found))
        self.gradients.clear()
        return found

    def _loss_is_finite(self, step: int, rows: np.ndarray) -> bool:
        with torch.no_grad():
            return bool(torch.isfinite(self._loss(step, rows)))

    def _gradient_is_finite(self, step: int, rows: np.ndarray) -> bool:
        self.gradients.clear()
        self._loss(step, rows).backward()
        gradients = [p.grad for p in self.gradients.net.model.parameters() if p.grad is not None]
        return all(map(all_finite, gradients))

    def _loss(self, step: int, rows: np.ndarray) -> torch.Tensor:
        gradients = self.gradients
        gradients.masks.begin(step, 2)  # the step itself, and measurements before it, draw others
        return gradients.loss(gradients.reading(step, rows), rows, gradients.tuned.autocast).total


def not_finite(rows: np.ndarray, is_finite: Callable[[np.ndarray], bool], most: int) -> list[int]:
    """The rows that are not finite by themselves, at most so many: the rows are halved as long as they are not finite
    together, so that one among n takes about 2 log2 n looks."""
    if most <= 0 or is_finite(rows):
        return []
    if len(rows) == 1:
        return [int(rows[0])]
    middle = len(rows) // 2
    found = not_finite(rows[:middle], is_finite, most)
    return found + not_finite(rows[middle:], is_finite, most - len(found))
