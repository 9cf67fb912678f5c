"""Class weights from the recipe."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import numpy as np

from tunewise.errors import RecipeError


def class_weights(
    wanted: str | Mapping[str, float] | None, labels: Sequence[str], counts: np.ndarray
) -> np.ndarray | None:
    """Weight of each class, float64 (C,), or None for equal weights.

    `balanced`: n / (C n_c), as scikit-learn's class_weight has it; a class without rows gets 0. Of given weights, a
    class that is left out has 1.

    Raises:
        RecipeError: an unknown class name, a weight that is not above 0.
    """
    if wanted is None:
        return None
    if isinstance(wanted, str):
        counts = np.asarray(counts, dtype=np.float64)
        return np.divide(counts.sum(), len(labels) * counts, out=np.zeros(len(labels)), where=counts > 0)
    for name, weight in wanted.items():
        if name not in labels:
            near = difflib.get_close_matches(name, labels, n=1)
            fix = f"did you mean '{near[0]}'?" if near else f"the classes are: {', '.join(labels[:20])}"
            raise RecipeError(f"there is no class '{name}'", where="objective.class_weights", fix=fix)
        if weight <= 0:  # rows of weight 0 alone would make a batch whose mean loss is 0 / 0
            raise RecipeError(
                f"the weight of class '{name}' is {weight:g}; weights are above 0",
                where="objective.class_weights",
                fix="give a positive number",
            )
    return np.array([wanted.get(name, 1.0) for name in labels], dtype=np.float64)
