"""What happens in a run, as events, and who watches. Events are frozen: an observer cannot change training."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from tunewise.types import Status

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Started:
    """The run begins, or goes on after optimiser step `step`. `run` is its label for people."""

    total_steps: int
    run: str
    step: int = 0


@dataclass(frozen=True)
class Prepared:
    """So many (`done`) of all are ready, of what takes a while before the first step."""

    what: str
    done: int
    total: int
    step: int | None = None


@dataclass(frozen=True)
class Planned:
    """The method has decided what trains from here on; `phase` counts its plans from 0. `measuring_flops`: what its
    measurements have taken so far."""

    step: int
    trainable_parameters: int
    phase: int = 0
    measuring_flops: float = 0.0


@dataclass(frozen=True)
class Step:
    """One optimiser step. `loss` is the mean over its rows, `tokens` those it read, `seconds` what it took;
    `grad_norm` is that before clipping; FLOPs are those of its forward and backward passes."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    seconds: float
    forward_flops: float = 0.0
    backward_flops: float = 0.0


@dataclass(frozen=True)
class Wrote:
    """What the model wrote itself for an optimiser step, in figures: means over its answers or their tokens, such as
    reward, kl (nats per answer), entropy (nats per token), clip_fraction, length (tokens), silent_groups. `samples`:
    some answers, each with prompt, text and reward, at the first step that learns from them."""

    step: int
    figures: Mapping[str, float]
    samples: tuple[Mapping[str, str | float], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "figures", MappingProxyType(dict(self.figures)))

    def __reduce__(self):
        return Wrote, (self.step, dict(self.figures), tuple(map(dict, self.samples)))


@dataclass(frozen=True)
class Evaluated:
    """A split was evaluated after optimiser step `step`."""

    step: int
    epoch: float
    split: str
    loss: float
    scores: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", MappingProxyType(dict(self.scores)))

    def __reduce__(self):
        return Evaluated, (self.step, self.epoch, self.split, self.loss, dict(self.scores))


@dataclass(frozen=True)
class Saved:
    """A checkpoint was committed and verified."""

    step: int
    path: str


@dataclass(frozen=True)
class Warned:
    """Something the user should know, in a sentence. Without a step, it is about the last one that was told of."""

    message: str
    step: int | None = None


@dataclass(frozen=True)
class Finished:
    """The run ends, in whatever way; the last event. Without a step, it is at the last one that was told of."""

    status: Status
    step: int | None = None


PhaseName = Literal["loading", "training", "validating", "saving", "evaluating", "exporting"]


@dataclass(frozen=True)
class Phase:
    """What the run does from here on. Saving is that of a checkpoint, exporting that of the model handed over."""

    name: PhaseName
    step: int | None = None


Event = Started | Prepared | Planned | Step | Wrote | Evaluated | Saved | Warned | Phase | Finished


class Observer:
    """Watches a run. A subclass overrides what it cares for."""

    def on_started(self, event: Started) -> None: ...

    def on_prepared(self, event: Prepared) -> None: ...

    def on_planned(self, event: Planned) -> None: ...

    def on_step(self, event: Step) -> None: ...

    def on_wrote(self, event: Wrote) -> None: ...

    def on_evaluated(self, event: Evaluated) -> None: ...

    def on_saved(self, event: Saved) -> None: ...

    def on_warned(self, event: Warned) -> None: ...

    def on_phase(self, event: Phase) -> None: ...

    def on_finished(self, event: Finished) -> None: ...


class Observers(Observer):
    """Tells every observer of every event. One that raises is dropped, with a warning; training goes on.

    Attributes:
        warnings: the messages of all warnings so far, each once.
    """

    def __init__(self, observers: Iterable[Observer] = ()):
        self._watching = list(observers)
        self._step = 0
        self.warnings: list[str] = []

    def recall(self, warnings: Iterable[str]) -> None:
        """Takes up the warnings of the session that a resumed run goes on from."""
        self.warnings = list(dict.fromkeys([*warnings, *self.warnings]))

    def emit(self, event: Event) -> None:
        if event.step is None:
            event = replace(event, step=self._step)
        self._step = event.step
        if isinstance(event, Warned) and event.message not in self.warnings:
            self.warnings.append(event.message)
        problems = [self._tell(observer, event) for observer in tuple(self._watching)]
        for problem in filter(None, problems):
            self.emit(Warned(problem))

    on_started = on_prepared = on_planned = on_step = on_wrote = on_evaluated = on_saved = emit
    on_warned = on_phase = on_finished = emit

    def _tell(self, observer: Observer, event: Event) -> str | None:
        """Why the observer was dropped, or None."""
        try:
            getattr(observer, f"on_{type(event).__name__.lower()}")(event)
        except Exception as exc:  # whatever an observer does wrong, training is worth more
            if observer in self._watching:
                self._watching.remove(observer)
            name = type(observer).__name__
            _log.debug("%s was dropped", name, exc_info=True)
            return f"{name} stopped at step {event.step}, and the run goes on without it: {type(exc).__name__}: {exc}"
        return None
