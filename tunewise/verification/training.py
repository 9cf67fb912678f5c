"""A run that tells its parent process at each moment where it is, and what its training ends with."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from multiprocessing.connection import Connection

from tunewise.engine.checkpoint import random_state
from tunewise.engine.events import Evaluated, Observer, Phase, Saved, Started, Step
from tunewise.engine.loop import Training
from tunewise.engine.prefix_key import digest_of
from tunewise.models.blocks import named_tensors
from tunewise.verification.moments import Begun, EndState, Moment, Read

COUNTED = {
    *("seconds", "elapsed", "forward_flops", "backward_flops", "measuring_flops"),
    *("elsewhere_seconds", "elsewhere_flops", "spared_flops"),
}
"""What a training's progress tells of its costs; a resumed one reads from the cache what it has put there before."""


class Teller(Observer):
    """Sends the moment at which each phase begins."""

    def __init__(self, pipe: Connection):
        self.pipe, self.step = pipe, 0
        self.tell("loading")

    def tell(self, phase: str) -> None:
        self.pipe.send(Moment(phase, self.step, time.monotonic()))

    def on_started(self, event: Started) -> None:
        self.step = event.step
        self.pipe.send(Begun(event.step, event.total_steps))
        self.tell("training")

    def on_step(self, event: Step) -> None:
        self.step = event.step
        self.tell("training")

    def on_phase(self, event: Phase) -> None:
        if event.name != "loading":
            self.tell(event.name)

    def on_saved(self, event: Saved) -> None:
        self.tell("training")

    def on_evaluated(self, event: Evaluated) -> None:
        self.tell("training")


class WatchedTraining(Training):
    """Tells the rows of each step, and the state after the last one. `pipe` is set before it runs."""

    pipe: Connection

    def _step(self) -> None:
        step = self.progress.step
        rows = tuple(int(row) for row in self.course.rows(step))
        again = self.course.rows_per_epoch - len(self.train)
        self.pipe.send(Read(step, int(self.course.epoch_of(step)), rows, len(self.train), again))
        super()._step()

    def _take_best(self) -> None:
        self.pipe.send(EndState(state_digests(self)))
        super()._take_best()


def state_digests(training: Training) -> dict[str, str]:
    """sha256 of all that a checkpoint would hold now, and of the last step's learning rates."""
    optimizer, names = training.optimizer, named_tensors(training.net.model)
    progress = {key: value for key, value in asdict(training.progress).items() if key not in COUNTED}
    optimizer.set_rates(training.progress.step - 1)  # which a training resumed after its last step has not done
    rates = [group["lr"] for group in optimizer.adamw.param_groups]
    tensors = {
        "weights": training._trained(),
        "best": training.best or {},
        "optimizer": optimizer.state(names),
        "random numbers": random_state(),
    }
    plain = {"schedule": rates, "progress": progress, "scaler": training.scaler.state_dict()}
    return {name: digest_of(sorted(found.items())) for name, found in tensors.items()} | {
        name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest() for name, value in plain.items()
    }
