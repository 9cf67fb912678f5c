"""`python -m benchmarks.images`: tunewise beside transformers.Trainer on images, in turns.

Both train the same model on the same images, for as many epochs, with equal batches, rate, schedule, clipping and
number format; rounds differ in their seed. Without `--model` it is a random ResNet of the shape of ResNet-18, without
`--data` images of stripes in four directions under noise. `ours` keeps the statistics of batch norm, as tunewise does
unless it is told otherwise; `ours, batch norm updated` computes what the trainer does. The last line: medians of
seconds over those of `ours` within a round, and mean accuracies.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.images import own, peers
from benchmarks.images.asked import METHODS, Asked, Found, Side
from benchmarks.images.material import count_images, take_images, write_images, write_model
from benchmarks.process import measure_in_process

MODULE = "benchmarks.images"
OURS = "ours"
SIDES: dict[str, Side] = {
    "defaults": partial(peers.run, tuned=False),
    "tuned": partial(peers.run, tuned=True),
    OURS: own.run,
    "ours, batch norm updated": partial(own.run, batch_norm="updated"),
}
RATES = {"head": 3e-3, "full": 1e-4}


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """What is to be measured."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("--method", choices=METHODS, default="head", help="what trains (head)")
    parser.add_argument("--model", type=Path, help="a model folder (a random ResNet-18)")
    parser.add_argument(
        "--data", type=Path, help="a folder with train and test (or val), a folder for each class there"
    )
    parser.add_argument("--rows", type=int, help="training images at most (all; 256 where they are made)")
    parser.add_argument("--test-rows", type=int, help="test images at most (all; 128 where they are made)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs (3)")
    parser.add_argument("--batch", type=int, default=16, help="images of a batch (16)")
    parser.add_argument(
        "--rate", type=float, help=f"learning rate ({', '.join(f'{k}: {v:g}' for k, v in RATES.items())})"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured, each with a seed (3)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of every side (1)")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of ours and of `tuned` (fp32)")
    parser.add_argument("--sides", nargs="+", choices=SIDES, metavar="SIDE", help=f"some of {list(SIDES)} (all)")
    given = parser.parse_args(arguments)
    given.rate, given.sides = given.rate or RATES[given.method], given.sides or list(SIDES)
    return given


def write_material(folder: Path, given: argparse.Namespace) -> None:
    """The model and the images that are asked for, into `folder`."""
    if given.data is None:
        write_images(folder / "images", given.rows or 256, given.test_rows or 128)
    else:
        take_images(given.data, folder / "images", given.rows, given.test_rows)
    if given.model is None:
        write_model(folder / "model")
    else:
        shutil.copytree(given.model, folder / "model", copy_function=shutil.copyfile)


def main(arguments: Sequence[str]) -> int:
    """Measures all sides in turns; prints a line of JSON for each, and one of all."""
    given = options(arguments)
    with tempfile.TemporaryDirectory(prefix="images-") as folder:
        write_material(Path(folder), given)
        same = {name: getattr(given, name) for name in ("method", "epochs", "batch", "rate", "threads", "precision")}
        asked = Asked(folder=folder, **same)
        rows = count_images(asked.images / "train")
        rounds: list[dict[str, Found]] = []
        for seed in range(given.rounds):
            rounds.append({})
            for side in given.sides:
                argument = {"side": side, "asked": asdict(replace(asked, seed=seed))}
                answer = measure_in_process(MODULE, argument)
                found = rounds[-1][side] = Found(**{field.name: answer[field.name] for field in fields(Found)})
                print(json.dumps({"side": side, "seed": seed, **line(found, rows * asked.epochs)}), flush=True)
    print(json.dumps(summary(rounds)))
    return 0


def line(found: Found, read: int) -> dict[str, Any]:
    """What is told of a side that has read so many images."""
    return {
        "images_per_second": round(read / found.seconds, 1),
        "seconds": round(found.seconds, 2),
        "whole_seconds": round(found.whole_seconds, 2),
        "above_mib": round((found.above_bytes or 0) / 2**20),
        "accuracy": round(found.accuracy, 4),
        "steps": found.steps,
        "trained": found.trained,
    }


def summary(rounds: Sequence[dict[str, Found]]) -> dict[str, Any]:
    """Of each side: mean accuracy, and median, least and greatest of its seconds over ours in the same round."""
    told: dict[str, Any] = {}
    for side in rounds[0]:
        told[side] = {"accuracy": round(statistics.fmean(found[side].accuracy for found in rounds), 4)}
        if OURS in rounds[0]:
            ratios = [found[side].seconds / found[OURS].seconds for found in rounds]
            told[side]["over_ours"] = [round(pick(ratios), 2) for pick in (statistics.median, min, max)]
    return told


def answer(argument: dict[str, Any]) -> str:
    """The line of JSON of the process that measures a side."""
    import torch

    asked = Asked(**argument["asked"])
    torch.set_num_threads(asked.threads)
    return json.dumps(asdict(SIDES[argument["side"]](asked)))


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        print(answer(json.loads(sys.argv[1])))
    else:
        sys.exit(main(sys.argv[1:]))
