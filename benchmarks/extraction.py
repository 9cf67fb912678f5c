"""Features of many rows, in a process of its own: their seconds beside those of a bare forward pass, and memory."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

ROWS_TIMED, MOST_REPEATS = 20_000, 5  # small data is read several times, and the least time is taken


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Reads the data as a recipe has it and embeds the training rows.

    With `bare`, the same batches go through the encoder alone too, in turns with the product.
    """
    import numpy as np
    import sklearn.linear_model  # noqa: F401 - before memory is counted
    import torch
    import transformers.models.bert.modeling_bert
    import transformers.models.bert.tokenization_bert  # noqa: F401

    import tunewise.run  # noqa: F401
    from benchmarks.memory import Memory
    from tunewise.check import check
    from tunewise.engine.device import tune
    from tunewise.engine.features import Embedder
    from tunewise.models.load import load_net
    from tunewise.recipe import recipe_from

    memory = Memory()
    recipe = recipe_from(asked["recipe"])
    checked = check(recipe, Path.cwd(), recipe.all_methods, False)
    tuned = tune(recipe.train)
    tuned.apply()
    net = load_net(checked.models[recipe.model], checked.data.schema, attention=tuned.attention)
    texts = checked.data.splits["train"].texts
    embed = Embedder(net, autocast=tuned.autocast)
    repeats = max(1, min(MOST_REPEATS, ROWS_TIMED // len(texts)))
    bare = _Bare(net, texts, embed.batch_size, tuned.autocast) if asked["bare"] else None
    ours, plain = [], []
    with tuned.keeping_memory():  # as a run does
        for _ in range(repeats):
            started = time.perf_counter()
            features_NF = embed(texts)
            ours.append(time.perf_counter() - started)
            if bare:
                with torch.inference_mode():
                    plain.append(bare.seconds())
    found = {"seconds": min(ours), "rows": len(texts), "above_bytes": memory.above()}
    if not np.isfinite(features_NF).all():
        raise ValueError("the features are not finite")
    return {**found, "bare_seconds": min(plain)} if bare else found


class _Bare:
    """Nothing but the encoder's forward pass, over batches made before."""

    def __init__(self, net: Any, texts: Any, batch_size: int, autocast: Any):
        from tunewise.data.batches import pass_batches
        from tunewise.engine.encode import encode

        tokens = encode(texts, net)
        self.encoder, self.autocast = net.model.base_model.eval(), autocast
        self.batches = [tokens.batch(rows) for rows in pass_batches(tokens, batch_size, "cpu")]

    def seconds(self) -> float:
        started = time.perf_counter()
        for batch in self.batches:
            with self.autocast():
                self.encoder(**batch)
        return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
