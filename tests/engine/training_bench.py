"""Makes small trainings for the tests of the engine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tunewise.commit import Series
from tunewise.conformance.bench import CONFIG, Bench, Watch
from tunewise.data.augment_settings import AugmentConfig
from tunewise.engine.device import Tuned
from tunewise.engine.events import Finished, Observer, Observers
from tunewise.engine.settings import TrainConfig
from tunewise.engine.stop import Stop
from tunewise.engine.train import Job, Trained, descend, train
from tunewise.errors import Interrupted
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.metrics import default_metric
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.methods.base import Method
from tunewise.models.blocks import named_tensors
from tunewise.models.load import Net, load_net
from tunewise.models.locate import locate
from tunewise.objectives import ObjectiveConfig, make_objective
from tunewise.recipe import MethodChoice
from tunewise.tracking.jsonl_log import JsonlLog, read_log
from tunewise.types import DataBundle


class At(Observer):
    """Calls `act` once, after optimiser step `step`."""

    def __init__(self, step: int, act: Callable[[], None]):
        self.step, self.act = step, act

    def on_step(self, event: Any) -> None:
        if event.step == self.step:
            self.act()


class Recorder(Observer):
    """Keeps every event."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def _keep(self, event: Any) -> None:
        self.seen.append(event)

    on_started = on_planned = on_step = on_wrote = on_evaluated = on_saved = on_warned = _keep

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.seen if isinstance(event, kind)]


@dataclass
class Setup:
    """A net, a method and a job, ready to train."""

    net: Net
    method: Method
    job: Job
    folder: Path

    def train(self) -> Trained:
        status = "failed"
        try:
            trained = train(self.net, self.method, self.job)
            status = "finished"
            return trained
        except Interrupted:
            status = "interrupted"
            raise
        finally:
            self.job.observers.emit(Finished(status))

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return {name: tensor.detach().clone() for name, tensor in named_tensors(self.net.model).items()}

    @property
    def digest(self) -> str:
        """sha256 of all weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.weights.items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()

    def log(self) -> list[dict[str, Any]]:
        """The rows of the log without what depends on the clock."""
        return [
            {key: value for key, value in row.items() if key != "time"} for row in read_log(self.folder / "log.jsonl")
        ]

    def checkpoint(self) -> dict[str, str]:
        """sha256 of the tensors of the newest checkpoint, by file and name."""
        folder = self.job.checkpoints.latest()
        return {
            f"{file.stem}/{name}": hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
            for file in folder.glob("*.safetensors")
            for name, tensor in load_file(file).items()
        }


PLAIN = Tuned("cpu", "fp32", 1)


@dataclass(frozen=True)
class Configured(Bench):
    """A tiny model and its toy data, with a configuration of their own, on a machine for which `tuned` was chosen."""

    given: TrainConfig = CONFIG
    tuned: Tuned = PLAIN

    @property
    def config(self) -> TrainConfig:
        return self.given

    def net(self) -> Net:
        net = super().net()
        self.tuned.lay_out(net)
        return net

    def job(self, method: Method, folder: Path, watch: Watch) -> Job:
        return replace(super().job(method, folder, watch), tuned=self.tuned)


def check_resumes(bench: Configured, method: Method, folder: Path) -> None:
    """A training that is stopped at step 7 and goes on gives the losses and the weights of one that is not."""
    watch, second, stop = Watch(), Watch(), Stop()
    whole = bench.train(method, folder / "whole", watch).net.model.state_dict()
    job = bench.job(method, folder / "cut", Watch())
    cut = replace(job, stop=stop, observers=Observers([At(7, lambda: setattr(stop, "requested", True))]))
    with pytest.raises(Interrupted):
        descend(bench.net(), method, cut, bench.images)
    resumed = bench.train(method, folder / "cut", second).net.model.state_dict()
    assert second.losses == watch.losses[-len(second.losses) :] and 0 < len(second.losses) < len(watch.losses)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in resumed.items())


def with_counts(data: DataBundle, *counts: int) -> DataBundle:
    """The same data with so many training rows of each class; all where none are given."""
    if not counts:
        return data
    train = data.splits["train"]
    places = np.sort(np.concatenate([np.flatnonzero(train.targets == c)[:n] for c, n in enumerate(counts)]))
    texts = tuple(train.texts[place] for place in places)
    fewer = replace(train, texts=texts, targets=train.targets[places], rows=train.rows[places])
    return replace(data, splits={**data.splits, "train": fewer})


def set_up(
    model: Path,
    data: DataBundle,
    folder: Path,
    method: str = "full",
    *,
    options: dict[str, Any] | None = None,
    seed: int = 0,
    dropout: float | None = None,
    max_length: int | None = None,
    metric: str | None = None,
    objective: dict[str, Any] | None = None,
    evaluate: dict[str, Any] | None = None,
    augment: dict[str, Any] | None = None,
    observers: Iterable[Observer] = (),
    stop: Stop | None = None,
    precision: str = "fp32",
    **settings: Any,
) -> Setup:
    """A training of `method` in `folder`; `settings` are those of the `train` section."""
    torch.set_num_threads(1)
    schema = data.schema
    length = {} if "max_steps" in settings else {"epochs": 2}
    size = {} if "batch_tokens" in settings else {"batch_size": 8}
    config = TrainConfig(**{"learning_rate": 2e-3, **size, **length, **settings})
    read = {"max_length": max_length, "kept": config.kept if "cut" in settings else None}
    aim = make_objective(ObjectiveConfig.model_validate(objective or {}), data)
    language = aim.answers == "language"
    located = locate(str(model), folder, reads_text=not schema.image)
    net = load_net(located, schema, seed=seed, dropout=dropout, language=language, **read)
    choice = MethodChoice(name=method, options=options or {})
    job = Job(
        objective=aim,
        data=data,
        evaluator=Evaluator(schema, EvaluateConfig(**(evaluate or {})), folder),
        metric=metric or default_metric(schema.task),
        config=config,
        tuned=Tuned("cpu", precision, 1),
        seed=seed,
        observers=Observers([JsonlLog(folder / "log.jsonl"), *observers]),
        label=choice.label,
        checkpoints=Series(folder / "checkpoints"),
        stop=stop or Stop(),
        fingerprint="test",
        augment=AugmentConfig(**(augment or {})),
    )
    return Setup(net, choice.build(config.learning_rate), job, folder)
