"""How well a label follows from one other value of its row, measured on rows that were held out.

Shape legend: n rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FOLDS = 5
LEAVES, LEAF_ROWS = 64, 5  # of the tree that cuts numbers into ranges
_MOST_ROWS = 20_000  # that are looked at: enough to tell a half


def error_taken_away(values: Sequence[str] | np.ndarray, targets: np.ndarray) -> float:
    """1 - error / error of the best constant, over rows of five folds, each foretold from the other four.

    Errors are wrong classes (targets int64 (n,)), or squares (targets of floats). Words foretell the most frequent
    class, or the mean, of their rows, and what no other row has the constant; numbers do so by ranges, which a decision
    tree cuts (scikit-learn; up to 64, of at least 5 rows). Of more than 20,000 rows, as many are drawn. 0 where the
    constant is never wrong.

    Args:
        values: words, or numbers float64 (n,), NaN where there is none.
    """
    generator = np.random.default_rng(0)
    rows = generator.permutation(len(targets))[:_MOST_ROWS]
    targets = targets[rows]
    folds = np.arange(len(rows)) % FOLDS
    if isinstance(values, np.ndarray):
        groups, foretell = values[rows], _by_ranges
    else:
        number = {word: place for place, word in enumerate(dict.fromkeys(values))}
        groups, foretell = np.array([number[values[row]] for row in rows]), _by_words
    wrong = constant_wrong = 0.0
    for fold in range(FOLDS):
        held, rest = folds == fold, folds != fold
        constant = _constant(targets[rest])
        found = foretell(groups[rest], targets[rest], groups[held], constant)
        wrong += _error(targets[held], found)
        constant_wrong += _error(targets[held], np.full(held.sum(), constant))
    return 1 - wrong / constant_wrong if constant_wrong else 0.0


def order_effect(targets: np.ndarray) -> float:
    """How much more alike neighbours are than rows drawn at random, 0 to 1 (below 0: less alike).

    Classes: (share of neighbours of one class - that of any two rows) / (1 - that of any two rows); numbers: the
    correlation of each with the next.

    Args:
        targets: in the order of the file.
    """
    first, second = targets[:-1], targets[1:]
    if np.issubdtype(targets.dtype, np.floating):
        spread = float(first.std() * second.std())
        return float(((first - first.mean()) * (second - second.mean())).mean() / spread) if spread else 0.0
    shares = np.unique(targets, return_counts=True)[1] / len(targets)
    chance = float((shares**2).sum())
    return (float((first == second).mean()) - chance) / (1 - chance) if chance < 1 else 0.0


def _constant(targets: np.ndarray) -> float:
    if np.issubdtype(targets.dtype, np.floating):
        return float(targets.mean())
    classes, counts = np.unique(targets, return_counts=True)
    return int(classes[counts.argmax()])


def _error(targets: np.ndarray, found: np.ndarray) -> float:
    if np.issubdtype(targets.dtype, np.floating):
        return float(((targets - found) ** 2).sum())
    return float((targets != found).sum())


def _by_words(words: np.ndarray, targets: np.ndarray, asked: np.ndarray, constant: float) -> np.ndarray:
    order = np.argsort(words, kind="stable")
    known, starts = np.unique(words[order], return_index=True)
    best = {
        word: _constant(part) for word, part in zip(known.tolist(), np.split(targets[order], starts[1:]), strict=True)
    }
    return np.array([best.get(word, constant) for word in asked.tolist()])


def _by_ranges(numbers: np.ndarray, targets: np.ndarray, asked: np.ndarray, constant: float) -> np.ndarray:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeRegressor if np.issubdtype(targets.dtype, np.floating) else DecisionTreeClassifier
    tree = kind(max_leaf_nodes=LEAVES, min_samples_leaf=LEAF_ROWS, random_state=0)
    return tree.fit(numbers[:, None], targets).predict(asked[:, None])
