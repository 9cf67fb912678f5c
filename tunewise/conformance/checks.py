"""What a method must do with a model: every check of one pair."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from tunewise.conformance.bench import SEED, Bench, Watch
from tunewise.conformance.by_chance import change_by_chance
from tunewise.engine.apply import insert
from tunewise.engine.handover import handover_kind, load_model, save_model
from tunewise.engine.train import Trained
from tunewise.errors import MethodError, TunewiseError
from tunewise.methods import METHODS, Method
from tunewise.models.blocks import named_tensors, original_name
from tunewise.models.load import Net
from tunewise.models.masks import elements_of
from tunewise.recipe import load_recipe, recipe_from, write_recipe
from tunewise.types import Handover, Plan, Signals

# Of the largest logit. Low-rank updates that are set off against the weights they start from, or merged into them, are
# rounded once more.
TOLERANCE = 1e-5
MERGED_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Outcome:
    """What came of a pair. `reason`: why it is refused, or what went wrong in `check`; `instead`: the nearest method;
    `merge`: whether merging keeps the logits, or why there is none; None where the method has no such option."""

    method: str
    model: str
    status: Literal["works", "refused", "failed"]
    reason: str | None = None
    instead: str | None = None
    check: str | None = None
    merge: str | None = None
    seconds: float = 0.0


class Broken(Exception):
    """A check that a pair does not pass."""

    def __init__(self, check: str, reason: str):
        super().__init__(f"{check}: {reason}")
        self.check, self.reason = check, reason


@contextmanager
def _check(name: str) -> Iterator[None]:
    """Whatever goes wrong inside is this check's failure."""
    try:
        yield
    except Exception as problem:
        raise Broken(name, _told(problem)) from problem


def _told(problem: Exception) -> str:
    """On one line; the kind of error too where the reason is not our own."""
    reason = problem.what if isinstance(problem, TunewiseError) else " ".join(str(problem).split())
    return reason if type(problem) is ValueError else f"{type(problem).__name__}: {reason}"


def conform(kind: type[Method], bench: Bench, folder: Path) -> Outcome:
    """Every check of a method with a model, in a folder of their own."""
    start = time.perf_counter()
    told: dict[str, str | None]
    try:
        told = _Pair(kind, bench, folder).run()
    except Broken as problem:
        told = {"status": "failed", "check": problem.check, "reason": problem.reason}
    return Outcome(kind.name, bench.family, seconds=time.perf_counter() - start, **told)


class _Pair:
    """A method with its default options and a model."""

    def __init__(self, kind: type[Method], bench: Bench, folder: Path):
        self.kind, self.bench, self.folder = kind, bench, folder

    def run(self) -> dict[str, str | None]:
        with _check("it trains, or says why not"):
            watch = Watch()
            try:
                trained = self._trained(watch)
            except MethodError as problem:
                if watch.started:
                    raise
                return self._refused(problem)
            base, start = self.bench.net(), self.bench.net()
            plans = [Plan.from_dict(entry) for entry in trained.plans]
            if self.kind.descends:
                insert(plans[0], start, SEED)
        before = self.bench.logits(start) if self.kind.descends else None
        with _check("its plans are plain data, and every rule matches a tensor"):
            self._plans_fit(plans, trained)
        with _check("what no plan names stays bit for bit"):
            self._rest_stays(plans, start, trained.net)
        with _check("it starts from the base model's output"):
            self._starts(before)
        after = self._logits(trained)
        with _check("the loss falls"):
            self._learns(before, after)
            if self.kind.descends and self.bench.chance is not None:
                self._beats_chance(start, trained, after)
        with _check("the same seed gives the same losses and outputs"):
            self._repeats(watch.losses, after)
        with _check("the model handed over gives the same outputs"):
            self._survives(trained, self.kind.handover, after, TOLERANCE)
        with _check("the merged model gives the same outputs, or merging is refused"):
            merge = self._merges(trained, base, after)
        with _check("a recipe with it survives being written and read"):
            self._recipe_survives()
        return {"status": "works", "merge": merge}

    def _method(self, **options: bool) -> Method:
        return self.kind(self.kind.Config(**options))

    def _trained(self, watch: Watch) -> Trained:
        return self.bench.train(self._method(), self.folder, watch)

    def _logits(self, trained: Trained) -> np.ndarray:
        return self.bench.logits(trained.net, trained.plan, trained.head)

    def _refused(self, problem: MethodError) -> dict[str, str | None]:
        instead = problem.instead or self.kind.instead
        if instead not in METHODS or instead == self.kind.name:
            raise ValueError(f"it refuses the model and names '{instead}' as the nearest method, which is none")
        return {"status": "refused", "reason": _reason(problem, self.kind), "instead": instead}

    def _plans_fit(self, plans: list[Plan], trained: Trained) -> None:
        if Plan.from_dict(json.loads(json.dumps(trained.plan.as_dict()))) != trained.plan:
            raise ValueError("a plan that was written as JSON reads back as another")
        names = list(named_tensors(trained.net.model))
        for plan in plans:
            if idle := [rule.pattern for rule in plan.rules if not any(rule.matches(name) for name in names)]:
                raise ValueError(f"no tensor has a name like {', '.join(idle[:3])}")
            if self.kind.descends and not plan.rules:
                raise ValueError("a plan trains nothing")

    def _rest_stays(self, plans: list[Plan], start: Net, net: Net) -> None:
        now, then = named_tensors(net.model), named_tensors(start.model)
        planned = {name for name in then if any(plan.rule_for(name) for plan in plans)}
        for name, tensor in then.items():
            if name not in planned and not torch.equal(now[name], tensor):
                raise ValueError(f"{name} is in no plan, yet it changed")
        for name in {mask.name for plan in plans for mask in plan.masks}:
            still = ~_ever_trained(name, then[name], plans)
            if not torch.equal(now[name][still], then[name][still]):
                raise ValueError(f"elements of {name} that no mask lets train changed")
        if self.kind.descends and all(torch.equal(now[name], then[name]) for name in planned):
            raise ValueError("nothing that the plans name has changed")
        kept = {original_name(name): buffer for name, buffer in start.model.named_buffers()}
        for name, buffer in net.model.named_buffers():
            if not torch.equal(buffer, kept[original_name(name)]):
                raise ValueError(f"the buffer {original_name(name)} changed")

    def _starts(self, before: np.ndarray | None) -> None:
        if before is not None and self.kind.starts_unchanged:
            _same(before, self.bench.base_logits, TOLERANCE)

    def _learns(self, before: np.ndarray | None, after: np.ndarray) -> None:
        loss = self.bench.loss(np.zeros_like(after) if before is None else before)
        if not self.bench.loss(after) < self.bench.learned * loss:
            raise ValueError(f"it was {loss:.4f} before the training and is {self.bench.loss(after):.4f} after it")

    def _beats_chance(self, start: Net, trained: Trained, after: np.ndarray) -> None:
        def loss(net: Net) -> float:
            return self.bench.loss(self.bench.logits(net, trained.plan))

        fall, chance = loss(start) - self.bench.loss(after), change_by_chance(start, trained.net, loss, SEED)
        if not fall > self.bench.chance * chance:
            raise ValueError(f"it fell by {fall:.4f}; updates of the same size change it by {chance:.4f} by chance")

    def _repeats(self, losses: list[float], after: np.ndarray) -> None:
        watch = Watch()
        again = self._logits(self._trained(watch))
        if watch.losses != losses:
            step = next(n for n, pair in enumerate(zip(watch.losses, losses, strict=True)) if pair[0] != pair[1])
            raise ValueError(f"step {step + 1} had a loss of {losses[step]} and then of {watch.losses[step]}")
        if not np.array_equal(again, after):
            raise ValueError("the outputs differ")

    def _survives(self, trained: Trained, kind: Handover, after: np.ndarray, tolerance: float) -> None:
        folder = self.folder / f"model-{kind}"
        decision = {"threshold": None, "positive": None}
        schema, language = self.bench.data.schema, self.bench.language
        save_model(trained, kind, folder, schema, decision, lambda size: "", language=language)
        net, plan, head, _ = load_model(folder, torch.device("cpu"))
        _same(self.bench.logits(net, plan, head), after, tolerance)

    def _merges(self, trained: Trained, base: Net, after: np.ndarray) -> str | None:
        """Comes last: merging changes the model."""
        if "merge" not in self.kind.Config.model_fields:
            return None
        method = self._method(merge=True)
        try:
            method.plan(base.map, Signals())
        except MethodError as problem:
            return _reason(problem, self.kind)
        kind = handover_kind(self.kind.handover, method.merged)
        if kind == self.kind.handover:
            raise ValueError("the option merge changes nothing of what is handed over")
        self._survives(trained, kind, after, MERGED_TOLERANCE)
        return "equal"

    def _recipe_survives(self) -> None:
        options = self._method().config.model_dump(mode="json", exclude_none=True)
        for choice in (self.kind.name, {self.kind.name: options}):
            recipe = recipe_from({"model": "tiny", "data": {"train": "toy.csv", "label": "label"}, "method": choice})
            file = self.folder / "recipe.yaml"
            file.write_text(write_recipe(recipe), encoding="utf-8")
            if load_recipe(file) != recipe:
                raise ValueError(f"with {choice} it reads back as another")


def _same(logits_NC: np.ndarray, wanted_NC: np.ndarray, tolerance: float) -> None:
    """Raises where two outputs differ by more than a share of the largest."""
    largest = float(np.abs(wanted_NC).max())
    difference = float(np.abs(logits_NC - wanted_NC).max())
    if not difference <= tolerance * max(1.0, largest):
        raise ValueError(f"the outputs differ by {difference:.3g}, the largest being {largest:.3g}")


def _ever_trained(name: str, tensor: torch.Tensor, plans: list[Plan]) -> torch.Tensor:
    """Which elements of a tensor train under any of the plans."""
    trains = np.zeros(tuple(tensor.shape), dtype=bool)
    for plan in plans:
        if plan.rule_for(name):
            mask = next((mask for mask in plan.masks if mask.name == name), None)
            trains |= True if mask is None else elements_of(mask, tuple(tensor.shape))
    return torch.from_numpy(trains)


def _reason(problem: MethodError, kind: type[Method]) -> str:
    return problem.what.removeprefix(f"{kind.name}: ")
