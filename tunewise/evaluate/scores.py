"""Model outputs -> probabilities or values."""

from __future__ import annotations

import numpy as np

from tunewise.types import ROW_NUMBERS, Task


def to_scores(task: Task, logits_NC: np.ndarray) -> np.ndarray:
    """Softmax for classification (n, C) and for words (n, W, C), a sigmoid per label for multi-label (n, C), the values
    (n,) for regression, the numbers of each row (n, K) for the tasks of `types.ROW_NUMBERS`; float64, as
    in `types.Predictions`."""
    logits_NC = logits_NC.astype(np.float64)
    if task in ROW_NUMBERS:
        return logits_NC
    if task == "regression":
        return logits_NC.reshape(-1)
    if task == "multilabel":
        return 0.5 * (1.0 + np.tanh(0.5 * logits_NC))
    weights_NC = np.exp(logits_NC - logits_NC.max(axis=-1, keepdims=True))
    return weights_NC / weights_NC.sum(axis=-1, keepdims=True)
