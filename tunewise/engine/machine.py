"""What is chosen by measurement: asked once of each machine, and kept for every later run on it.

A stop-watch alone would let the same recipe compute otherwise on a busy day. So the first answer stands, in
`machine.json` of the user's cache folder, until the machine or torch is another one; and whoever is not decisively
faster, in two rounds that agree, does not take the place of the default.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from tunewise.commit import cache_root, sealed, unsealed, write_file
from tunewise.commit.lock import turn
from tunewise.engine.cores import cpu_flags, cpu_name, physical_cores
from tunewise.errors import StoreError, TunewiseWarning

FILE, LOCK = "machine.json", "machine.lock"
FORMAT = 1
SECONDS_PER_ROUND = 0.04
FEWEST, MOST = 2, 20
"""Repeats of every candidate in a round."""

Work = Callable[[], None]


@dataclass(frozen=True)
class Question:
    """What to choose. `default` stays unless another candidate is `margin` times as fast.

    `work` makes what each candidate does once, by name; it is called only where the machine was not asked before.
    """

    name: str
    default: str
    margin: float
    work: Callable[[], Mapping[str, Work]]


@dataclass(frozen=True)
class Answer:
    """`seconds` are the least of each candidate, `why` is in words."""

    choice: str
    why: str
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """The answers of this machine.

    Args:
        folder: where `machine.json` is.
        identity: what makes it this machine, as plain JSON data.
        clock: seconds that only grow.
    """

    folder: Path
    identity: Mapping[str, Any]
    clock: Callable[[], float] = time.perf_counter

    def ask(self, question: Question) -> Answer:
        """The answer that is kept, or a new one, which is kept from now on."""
        with turn(self.folder / LOCK, lambda: None):
            kept = self._read()
            answers = kept.setdefault(self._key, {"machine": dict(self.identity), "answers": {}})["answers"]
            if question.name in answers:
                return Answer(**answers[question.name])
            found = measure(question, self.clock)
            answers[question.name] = asdict(found)
            self._write(kept)
        return found

    @property
    def _key(self) -> str:
        return sha256(json.dumps(dict(self.identity), sort_keys=True).encode()).hexdigest()[:16]

    def _read(self) -> dict[str, Any]:
        """Answers by machine: the folder may be shared by several. A damaged file counts as none."""
        path = self.folder / FILE
        if not path.is_file():
            return {}
        try:
            content = unsealed(path.read_bytes(), path)
        except (StoreError, OSError) as problem:
            _warn(f"{path} cannot be read, so that this machine is measured again: {problem}")
            return {}
        return content["machines"] if content.get("format") == FORMAT else {}

    def _write(self, machines: dict[str, Any]) -> None:
        try:
            write_file(self.folder / FILE, sealed({"format": FORMAT, "machines": machines}))
        except StoreError as problem:
            _warn(f"what was measured of this machine cannot be kept, and may turn out otherwise next time: {problem}")


def this_machine() -> Machine:
    """The machine that this process runs on, with the cores that it may use."""
    import torch

    identity = {
        "cpu": cpu_name(),
        "flags": sha256(" ".join(sorted(cpu_flags())).encode()).hexdigest()[:16],
        "cores": physical_cores(),
        "torch": torch.__version__,
    }
    return Machine(cache_root(), identity)


def measure(question: Question, clock: Callable[[], float] = time.perf_counter) -> Answer:
    """Times the candidates in turns, in two rounds, and once more where those disagree."""
    work = question.work()
    for carry_out in work.values():
        carry_out()
    for _ in range(2):
        rounds = [_round(work, clock), _round(work, clock)]
        seconds = {name: min(times[name] for times in rounds) for name in work}
        chosen = {_decisive(times, question) for times in rounds}
        if len(chosen) == 1:
            (choice,) = chosen
            return Answer(choice, _words(choice, question, seconds), seconds)
    return Answer(question.default, "two rounds of measurements disagreed, twice; this is the default", seconds)


def _round(work: Mapping[str, Work], clock: Callable[[], float]) -> dict[str, float]:
    """The least seconds of each candidate; they take turns, so that what disturbs one disturbs all."""
    least = dict.fromkeys(work, float("inf"))
    begun = clock()
    for repeat in range(MOST):
        if repeat >= FEWEST and clock() - begun >= SECONDS_PER_ROUND:
            break
        for name, carry_out in work.items():
            start = clock()
            carry_out()
            least[name] = min(least[name], clock() - start)
    return least


def _decisive(seconds: Mapping[str, float], question: Question) -> str:
    fastest = min(seconds, key=lambda name: seconds[name])
    return fastest if seconds[question.default] >= question.margin * seconds[fastest] else question.default


def _words(choice: str, question: Question, seconds: Mapping[str, float]) -> str:
    if choice == question.default:
        return f"the default; nothing else was {question.margin:g} times as fast"
    return f"{seconds[question.default] / seconds[choice]:.2f} times as fast as {question.default}"


def _warn(message: str) -> None:
    warnings.warn(message, TunewiseWarning, stacklevel=4)
