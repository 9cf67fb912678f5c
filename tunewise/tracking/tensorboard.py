"""TensorBoard event files of a run. After a resume, steps that were trained twice show once.

Written with tensorboard's own record writer over a file that only grows: 0.3 s to import, where torch.utils.tensorboard
takes torch, and no thread, so that nothing is lost in a queue when the process is killed. The writer gives each record
checksums, by which readers leave out what is damaged.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewise.commit import AppendedFile
from tunewise.engine.events import Evaluated, Finished, Observer, Planned, Started, Step, Wrote

if TYPE_CHECKING:
    from tensorboard.summary.writer.record_writer import RecordWriter


class TensorBoard(Observer):
    """Writes scalars: `train/...` for each step (`rollouts/...` of what the model wrote for it), `<split>/loss` and
    `<split>/<metric>` for each evaluation."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self._writer: RecordWriter | None = None
        self._resumed_at = -1
        self._early: list[tuple[int, dict[str, float]]] = []

    def on_started(self, event: Started) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._writer = RecordWriter(AppendedFile(self._next_file(), new=True))
        self._record(file_version="brain.Event:2")
        self._resumed_at = event.step or -1
        # TensorBoard forgets what it has read of this and later steps.
        self._record(step=self._resumed_at + 1, session_log=SessionLog(status=SessionLog.START))
        for step, values in self._early:
            self._scalars(step, values)

    def on_planned(self, event: Planned) -> None:
        self._scalars(event.step, {"train/trainable_parameters": event.trainable_parameters})

    def on_step(self, event: Step) -> None:
        values = {
            "train/loss": event.loss,
            "train/learning_rate": event.learning_rate,
            "train/grad_norm": event.grad_norm,
            "train/epoch": event.epoch,
            "train/seconds_per_step": event.seconds,
            "train/forward_flops": event.forward_flops,
            "train/backward_flops": event.backward_flops,
        }
        if event.seconds > 0:
            values["train/tokens_per_second"] = event.tokens / event.seconds
        self._scalars(event.step, values)

    def on_wrote(self, event: Wrote) -> None:
        self._scalars(event.step, {f"rollouts/{name}": value for name, value in event.figures.items()})

    def on_evaluated(self, event: Evaluated) -> None:
        scores = {f"{event.split}/{name}": value for name, value in event.scores.items()}
        self._scalars(event.step, {f"{event.split}/loss": event.loss, **scores})

    def on_finished(self, event: Finished) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None

    def _next_file(self) -> Path:
        """A name that sorts behind those there, whatever the clock says: TensorBoard reads the files in that order."""
        last = max(
            (int(path.name.split(".")[3]) for path in self.folder.glob("events.out.tfevents.*.tunewise")), default=0
        )
        return self.folder / f"events.out.tfevents.{max(int(time.time()), last + 1):010d}.tunewise"

    def _scalars(self, step: int, values: dict[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        if not self._writer:  # the run is still being made ready
            self._early.append((step, values))
        elif step > self._resumed_at:
            tags = [Summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()]
            self._record(step=step, summary=Summary(value=tags))

    def _record(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time.time(), **content).SerializeToString())
