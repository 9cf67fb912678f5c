from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tunewise.engine.events import Evaluated, Finished, Planned, Started, Step
from tunewise.errors import StoreError
from tunewise.tracking.tensorboard import TensorBoard


def train(folder: Path, start: int, stop: int, loss: float) -> None:
    board = TensorBoard(folder)
    board.on_planned(Planned(0, 1200))
    board.on_started(Started(20, "lora", step=start))
    for step in range(start + 1, stop + 1):
        board.on_step(Step(step, step / 10, loss * step, 1e-4, 2.0, 300, 0.5, 4e9, 1e9 * step))
        if step % 5 == 0:
            board.on_evaluated(Evaluated(step, step / 10, "validation", loss, {"f1_macro": step / 100}))
    if stop == 20:
        board.on_finished(Finished("finished", 20))


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(entry.step, pytest.approx(entry.value)) for entry in events.Scalars(tag)] for tag in tags}


def test_reads_back(tmp_path: Path) -> None:
    train(tmp_path / "tensorboard", 0, 20, loss=0.5)
    scalars = read(tmp_path / "tensorboard")
    assert set(scalars) == {
        "train/trainable_parameters",
        "train/loss",
        "train/learning_rate",
        "train/grad_norm",
        "train/epoch",
        "train/seconds_per_step",
        "train/tokens_per_second",
        "train/forward_flops",
        "train/backward_flops",
        "validation/loss",
        "validation/f1_macro",
    }
    assert scalars["train/loss"] == [(step, 0.5 * step) for step in range(1, 21)]
    assert scalars["validation/f1_macro"] == [(5, 0.05), (10, 0.1), (15, 0.15), (20, 0.2)]
    assert scalars["train/tokens_per_second"][0] == (1, 600)
    assert scalars["train/backward_flops"][2] == (3, 3e9)
    assert scalars["train/trainable_parameters"] == [(0, 1200)]


def test_a_resumed_run_shows_each_step_once(tmp_path: Path) -> None:
    train(tmp_path, 0, 13, loss=0.5)  # killed at step 13: nothing is closed
    train(tmp_path, 10, 20, loss=2.0)
    scalars = read(tmp_path)
    assert scalars["train/loss"] == [(step, (0.5 if step <= 10 else 2.0) * step) for step in range(1, 21)]
    assert [step for step, _ in scalars["validation/loss"]] == [5, 10, 15, 20]
    assert scalars["train/trainable_parameters"] == [(0, 1200)]


def test_a_fresh_start_forgets_what_was_there(tmp_path: Path) -> None:
    train(tmp_path, 0, 20, loss=0.5)
    train(tmp_path, 0, 20, loss=2.0)
    assert read(tmp_path)["train/loss"] == [(step, 2.0 * step) for step in range(1, 21)]


def test_a_torn_last_record_does_not_hide_the_rest(tmp_path: Path) -> None:
    train(tmp_path, 0, 6, loss=0.5)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    train(tmp_path, 5, 20, loss=0.5)
    assert read(tmp_path)["train/loss"] == [(step, 0.5 * step) for step in range(1, 21)]


def test_a_full_disk_is_told_and_tears_no_record(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    board.on_started(Started(20, "lora"))
    board.on_step(Step(1, 0.1, 0.5, 1e-4, 2.0, 300, 0.5))
    (file,) = tmp_path.iterdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 20, hard))
    try:
        with pytest.raises(StoreError, match="bytes needed"):
            board.on_step(Step(2, 0.2, 0.4, 1e-4, 2.0, 300, 0.5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    board.on_step(Step(3, 0.3, 0.3, 1e-4, 2.0, 300, 0.5))
    board.on_finished(Finished("finished", 3))
    assert read(tmp_path)["train/loss"] == [(1, 0.5), (3, pytest.approx(0.3))]


def test_files_sort_in_the_order_of_writing_whatever_the_clock(tmp_path: Path, monkeypatch) -> None:
    from tunewise.tracking import tensorboard as module

    seconds = iter([1000.5, 400.0])
    monkeypatch.setattr(module.time, "time", lambda: next(seconds, 1.0))
    train(tmp_path, 0, 2, loss=0.5)
    monkeypatch.setattr(module.time, "time", lambda: 400.0)
    train(tmp_path, 1, 2, loss=0.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "events.out.tfevents.0000001000.tunewise",
        "events.out.tfevents.0000001001.tunewise",
    ]


def test_loads_neither_torch_nor_tensorflow(tmp_path: Path) -> None:
    code = f"""
import sys
from tunewise.engine.events import Started
from tunewise.tracking.tensorboard import TensorBoard
assert "tensorboard" not in sys.modules
TensorBoard({str(tmp_path)!r}).on_started(Started(1, "x"))
print([name for name in ("torch", "tensorflow", "transformers", "pandas") if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
