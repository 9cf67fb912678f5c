"""Class weights from the recipe."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import numpy as np

from tunewise.errors import RecipeError


def class_weights(
    wanted: str | Mapping[str, float] | None, labels: Sequence[str], counts: np.ndarray, beta: float = 0.999
) -> np.ndarray | None:
    """Weight of each class, float64 (C,), or None for equal weights.

    `balanced`: n / (C n_c), as scikit-learn's class_weight has it. `effective`: in proportion to 1 / E(n_c), where
    E(n) = (1 - beta^n) / (1 - beta) is the effective number of n rows (Cui et al. 2019, "Class-balanced loss based on
    effective number of samples", equation 2), with mean 1 over the classes that have rows; beta 0 gives equal weights,
    beta near 1 those of `balanced` but for a factor. A class without rows gets 0 by both. Of given weights, a class
    that is left out has 1.

    Raises:
        RecipeError: an unknown class name, a weight that is not above 0.
    """
    if wanted is None:
        return None
    counts = np.asarray(counts, dtype=np.float64)
    if wanted == "effective":
        return _effective(counts, beta)
    if isinstance(wanted, str):
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


def _effective(counts: np.ndarray, beta: float) -> np.ndarray:
    """Inverse effective numbers. 1 - beta^n as -expm1(n log beta): exact where beta^n is near 1."""
    present = counts > 0
    with np.errstate(divide="ignore"):  # the logarithm of beta 0 is -inf, and 1 - 0^n is 1
        inverse = (1 - beta) / -np.expm1(counts[present] * np.log(beta))
    weights = np.zeros(len(counts))
    weights[present] = inverse / inverse.mean()
    return weights
