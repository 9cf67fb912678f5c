"""`python -m benchmarks.language_models`: tunewise beside trl's trainers, in turns.

A random Llama of 20M parameters with 32,000 tokens learns from rows of random words, whose lengths are spread as those
of instruction data are. Every optimiser step reads all rows, so that the losses of all sides can be compared step by
step. `defaults` is the trainer as it comes; `tuned` is what an expert would set on a CPU: no checkpointing, bf16 only
where the machine is faster in it, and what the file of the objective says.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from benchmarks.language_models.asked import Asked, Found, Measured
from benchmarks.language_models.dpo import DPO
from benchmarks.language_models.grpo import GRPO
from benchmarks.language_models.material import write_model, write_rows
from benchmarks.language_models.sft import SFT
from benchmarks.process import measure_in_process

OBJECTIVES: dict[str, Measured] = {"sft": SFT, "dpo": DPO, "grpo": GRPO}
MODULE = "benchmarks.language_models"


def measure(objective: str, side: str, asked: Asked) -> Found:
    """One side, in this process."""
    import torch

    torch.set_num_threads(asked.threads)
    return OBJECTIVES[objective].sides[side](asked)


def options(arguments: Sequence[str]) -> tuple[str, list[str], int, dict[str, Any]]:
    """The objective, the sides to measure, how often, and what each is asked for (all of `Asked` but the folder)."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("--objective", choices=OBJECTIVES, default="sft", help="what is learnt (sft)")
    parser.add_argument("--rows", type=int, help=f"rows, all of which a step reads ({_defaults('rows')})")
    parser.add_argument("--batch", type=int, help=f"rows of a batch ({_defaults('batch')})")
    parser.add_argument("--steps", type=int, help=f"optimiser steps ({_defaults('steps')})")
    parser.add_argument("--rate", type=float, help=f"learning rate ({_defaults('rate')})")
    parser.add_argument("--rounds", type=int, default=2, help="how often each side is measured (2)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of every side (1)")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of ours and of `tuned` (fp32)")
    parser.add_argument("--samples", type=int, default=8, help="grpo: answers to each prompt (8)")
    parser.add_argument("--new-tokens", type=int, default=64, help="grpo: tokens of an answer at most (64)")
    parser.add_argument(
        "--ends", type=int, default=0, help="grpo: tokens of an answer on average; 0 for as many as it may have (0)"
    )
    parser.add_argument("--sides", nargs="+", metavar="SIDE", help="some of those of the objective (all)")
    given = vars(parser.parse_args(arguments))
    objective, rounds = given.pop("objective"), given.pop("rounds")
    measured = OBJECTIVES[objective]
    sides = given.pop("sides") or list(measured.sides)
    if unknown := [side for side in sides if side not in measured.sides]:
        parser.error(f"{objective} has no side {unknown[0]!r}: {', '.join(map(repr, measured.sides))}")
    asked = {name: measured.defaults.get(name) if value is None else value for name, value in given.items()}
    if asked["rows"] % asked["batch"]:
        parser.error(f"--rows {asked['rows']} is not a multiple of --batch {asked['batch']}: a step reads all rows")
    if asked["ends"] < 0 or asked["ends"] == 1:
        parser.error("--ends is 0, or 2 and more")
    return objective, sides, rounds, asked


def _defaults(name: str) -> str:
    return ", ".join(f"{objective}: {measured.defaults[name]:g}" for objective, measured in OBJECTIVES.items())


def main(arguments: Sequence[str]) -> int:
    """Measures all sides in turns and prints a line of JSON for each."""
    objective, sides, rounds, given = options(arguments)
    measured = OBJECTIVES[objective]
    with tempfile.TemporaryDirectory(prefix="language-models-") as folder:
        write_rows(Path(folder), measured.columns, given["rows"], measured.others)
        write_model(Path(folder) / "model", given["ends"] if measured.ends else None)
        asked = Asked(folder=folder, **given)
        for _ in range(rounds):
            for side in sides:
                argument = {"objective": objective, "side": side, "asked": asdict(asked)}
                answer = measure_in_process(MODULE, argument)
                found = Found(**{field.name: answer[field.name] for field in fields(Found)})
                print(json.dumps({"side": side, **measured.line(asked, found)}), flush=True)
    return 0


def answer(argument: dict[str, Any]) -> str:
    """The line of JSON of the process that measures a side."""
    return json.dumps(asdict(measure(argument["objective"], argument["side"], Asked(**argument["asked"]))))


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        print(answer(json.loads(sys.argv[1])))
    else:
        sys.exit(main(sys.argv[1:]))
