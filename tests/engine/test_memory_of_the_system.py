"""Memory that really runs out: a child process whose address space is limited (RLIMIT_AS), on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS as Linux has it")]

CHILD = """
import json, resource, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from training_bench import Recorder, set_up
from tunewise.engine.events import Step
from tunewise.types import DataBundle, Schema, Split

def split(name, rows, first):
    texts = tuple((" ".join(draw.choice(["great", "refund", "box", "late"], size=50)),) for _ in range(rows))
    return Split(name, texts, draw.integers(0, 3, size=rows), np.arange(first, first + rows), "big.csv")

draw, recorder, room = np.random.default_rng(0), Recorder(), int(sys.argv[4])
sizes = {"train": (2048, 1), "validation": (600, 3000), "test": (9, 4000)}
splits = {name: split(name, *size) for name, size in sizes.items()}
data = DataBundle(splits, Schema("classification", ("text",), "label", ("a", "b", "c")), (), "big")
setup = set_up(Path(sys.argv[2]), data, Path(sys.argv[3]), "full", batch_size=2048, max_steps=2, dropout=0.0,
               keep_best=False, observers=[recorder])
if room:
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + room * 2**20, resource.RLIM_INFINITY))
try:
    curve, error = setup.train().curve, None
except Exception as problem:
    curve, error = [], [type(problem).__name__, str(problem)]
print(json.dumps({"losses": [event.loss for event in recorder.of(Step)], "error": error,
                  "validation": [entry["validation_loss"] for entry in curve], "told": setup.job.observers.warnings}))
"""


def trained(model: Path, out: Path, room: int) -> dict[str, Any]:
    """What a training of 2,048 rows in a batch tells, with so many MB more than it has at its start (0: no limit)."""
    out.mkdir()
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", CHILD, here, str(model), str(out), str(room)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return json.loads(run.stdout.splitlines()[-1])


def test_a_training_goes_on_in_the_memory_there_is(tiny_bert: Path, tmp_path: Path) -> None:
    whole, tight = (trained(tiny_bert, tmp_path / str(room), room) for room in (0, 100))
    assert whole["error"] is None and whole["told"] == []
    assert tight["error"] is None and "with 2048 rows of up to 52 tokens in a batch" in tight["told"][0]
    assert tight["losses"] == pytest.approx(whole["losses"], rel=1e-5)
    assert tight["validation"] == pytest.approx(whole["validation"], rel=1e-5)


def test_where_no_row_fits_it_ends_with_an_error(tiny_bert: Path, tmp_path: Path) -> None:
    kind, said = trained(tiny_bert, tmp_path / "none", 2)["error"]
    assert kind == "OutOfMemoryError" and said.startswith("memory ran out at step 1") and "to do: " in said
