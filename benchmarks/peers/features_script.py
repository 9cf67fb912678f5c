"""Frozen features and logistic regression with sentence-transformers and scikit-learn, in a process of its own.

As the guides print it, `encode` with its defaults; with `expert`, in bf16 and with the best number of threads
(`encode` sorts texts by length itself).
Where sentence-transformers is not installed, transformers with the same pooling stands in, and the result says so.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.peers.single_script import Script, read_rows

LIBRARY = "sentence_transformers"
STRENGTH = 10.0  # the C of logistic regression, the same on all sides
GUIDE_BATCH, EXPERT_BATCH = 32, 64


def run(script: Script) -> dict[str, Any]:
    """Embeds, fits and tests; the seconds are those of embedding the training rows and of the fit."""
    import torch
    from sklearn.linear_model import LogisticRegression

    with_library = importlib.util.find_spec(LIBRARY) is not None
    if with_library:
        import sentence_transformers  # noqa: F401 - before memory is counted
    from benchmarks.memory import Memory

    memory = Memory()
    if script.threads:
        torch.set_num_threads(script.threads)
    encode = (_library if with_library else _plain)(script)
    (texts, labels), (test_texts, test_labels) = (
        zip(*read_rows(part), strict=True) for part in (script.train, script.test)
    )
    started = time.perf_counter()
    model = LogisticRegression(C=STRENGTH, max_iter=1000).fit(encode(texts), labels)
    seconds = time.perf_counter() - started
    accuracy = float((model.predict(encode(test_texts)) == np.array(test_labels)).mean())
    return {
        "train_seconds": seconds,
        "above_bytes": memory.above(),
        "accuracy": accuracy,
        "encoder": "sentence-transformers" if with_library else "transformers with the same pooling",
    }


def _library(script: Script) -> Callable[[Sequence[str]], np.ndarray]:
    """`encode` of sentence-transformers: mean of the tokens, scaled to length 1."""
    import torch
    from sentence_transformers import SentenceTransformer

    # A plain folder of transformers gets a mean over its tokens.
    model = SentenceTransformer(script.model, device="cpu")
    options = {"normalize_embeddings": True, "show_progress_bar": False, "convert_to_tensor": True}
    if script.expert:
        model, options = model.to(torch.bfloat16), {**options, "batch_size": EXPERT_BATCH}
    return lambda texts: model.encode(list(texts), **options).float().cpu().numpy()


def _plain(script: Script) -> Callable[[Sequence[str]], np.ndarray]:
    """The same with transformers alone."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(script.model)
    model = AutoModel.from_pretrained(script.model).eval()
    batch_size = EXPERT_BATCH if script.expert else GUIDE_BATCH
    if script.expert:
        model = model.to(torch.bfloat16)

    @torch.inference_mode()
    def encode(texts: Sequence[str]) -> np.ndarray:
        order = np.argsort([-len(text) for text in texts], kind="stable")
        found = []
        for start in range(0, len(texts), batch_size):
            part = [texts[place] for place in order[start : start + batch_size]]
            batch = tokenizer(part, padding=True, truncation=True, return_tensors="pt")
            hidden = model(**batch).last_hidden_state.float()
            mask = batch["attention_mask"].unsqueeze(-1).float()
            found.append(torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1).numpy())
        return np.concatenate(found)[np.argsort(order)]

    return encode


if __name__ == "__main__":
    print(json.dumps(run(Script(**json.loads(sys.argv[1])))))
