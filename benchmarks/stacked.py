"""LoRA with several rates, in one process: one run after the other, or all in one pass over the base."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SCALES = (0.3, 1.0, 3.0, 10.0)
ONE_BY_ONE, ONE_PASS = "one by one", "one pass"


def measure(asked: Mapping[str, Any]) -> dict[str, Any]:
    """`train_seconds` are those of all runs; `accuracies` on test, in the order of the rates."""
    from benchmarks.launch import import_all
    from benchmarks.memory import Memory

    import_all(asked["recipe"])
    from tunewise.engine.stack import ALONE, Alone, Member, Stack
    from tunewise.engine.stop import Stop, Told
    from tunewise.recipe import recipe_from
    from tunewise.run import run

    (name,), (options,) = asked["recipe"]["method"], asked["recipe"]["method"].values()
    memory, records = Memory(), {}
    with tempfile.TemporaryDirectory() as folder:

        def train(scale: float, stack: Alone, stop: Stop) -> None:
            described = asked["recipe"] | {"method": {name: {**options, "rate_scale": scale}}}
            out = Path(folder) / f"{scale:g}"
            records[scale] = run(recipe_from(described), out, folder=Path.cwd(), stack=stack, stop=stop)

        def in_turn(scale: float) -> Callable[[Member], None]:
            return lambda member: train(scale, member, Told(Stop()))

        started = time.perf_counter()
        if asked["side"] == ONE_PASS:
            problems = Stack(len(SCALES)).run([in_turn(scale) for scale in SCALES])
            for problem in problems:
                raise problem
        else:
            for scale in SCALES:
                train(scale, ALONE, Stop())
        seconds = time.perf_counter() - started
    runs = [records[scale] for scale in SCALES]
    return {
        "train_seconds": sum(record.costs.train_seconds for record in runs),
        "work_seconds": seconds,
        "above_bytes": memory.above(),
        "accuracies": [record.scores["test"]["accuracy"].value for record in runs],
        "stacked": max(record.stacked for record in runs),
        "threads": runs[0].tuned["threads"],
    }


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
