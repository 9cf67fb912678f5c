"""What a row's label is judged by: the vector of a frozen model, and counts of words and of letters, made dense.

A pretrained model knows what words mean, the counts know which of them stand there; both together found more planted
errors than either. Shape legend: N rows, F width of the features, V words or runs of letters, K of them kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tunewise.audit.view import Progress, View

BATCH = 64
COUNTED = 20_000  # words, and runs of letters, that are told apart
KEPT = 256  # dimensions of each
COUNTS: tuple[Mapping[str, Any], ...] = (
    {"analyzer": "char_wb", "ngram_range": (2, 5), "min_df": 2},
    {"analyzer": "word", "ngram_range": (1, 2), "min_df": 2, "token_pattern": r"(?u)\b\w+\b"},
)


def label_features(view: View, progress: Progress) -> dict[str, np.ndarray]:
    """Features (N, F) of every split, float32: vectors of the recipe's first model, pooled as `features` does by itself
    and kept in the cache as runs keep them, then those of the counts, which know the words of train alone."""
    splits = view.data.splits
    parts = [_vectors(view, progress), *(_counted(view, options) for options in COUNTS)]
    return {name: np.concatenate([part[name] for part in parts if part], axis=1) for name in splits}


def _vectors(view: View, progress: Progress) -> dict[str, np.ndarray]:
    from contextlib import nullcontext

    import torch

    from tunewise.commit import default_cache
    from tunewise.engine.device import keep_few_kernels
    from tunewise.engine.features import Embedder
    from tunewise.engine.kept import Context
    from tunewise.models.load import load_net

    keep_few_kernels()
    splits = view.data.splits
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = load_net(view.located, view.data.schema).to(device)
    batches = sum(math.ceil(len(split) / BATCH) for split in splits.values()) * len(view.data.schema.text)
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        progress(min(1.0, done / batches))

    context = Context(default_cache(), nullcontext, "fp32", device, splits["train"].source)
    embed = Embedder(net, batch_size=BATCH, stop=one_more, context=context)
    return {name: embed(split.texts) for name, split in splits.items()}


def _counted(view: View, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """TF-IDF (1 + ln count, rows of length 1) in the space of its first singular vectors; none where train has no words
    that stand in two rows."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    splits = view.data.splits
    counter = TfidfVectorizer(sublinear_tf=True, max_features=COUNTED, dtype=np.float32, **options)
    try:
        counts_NV = counter.fit_transform([text for texts in splits["train"].texts for text in texts])
    except ValueError:
        return {}
    if min(counts_NV.shape) < 2:
        return {}
    kept = TruncatedSVD(min(KEPT, min(counts_NV.shape) - 1), random_state=0).fit(counts_NV)

    def dense(texts: Sequence[str]) -> np.ndarray:
        found_NK = kept.transform(counter.transform(texts))
        return (found_NK / np.maximum(np.linalg.norm(found_NK, axis=1, keepdims=True), 1e-9)).astype(np.float32)

    return {
        name: _row_features([dense(column) for column in zip(*split.texts, strict=True)])
        for name, split in splits.items()
    }


def _row_features(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Of pairs as `engine.features` has them: (u, v, |u - v|, u * v)."""
    if len(columns) == 1:
        return columns[0]
    first, second = columns
    return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)
