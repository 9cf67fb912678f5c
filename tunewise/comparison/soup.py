"""A soup: one model whose weights are the mean of those of several runs, as a run of its own.

Uniform: the mean of all. Greedy: the runs from the best on validation down; each is added where the metric of the mean
on validation does not fall. The test rows have no say. Source: Wortsman et al. (2022), Model soups.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from tunewise.check import Checked, check
from tunewise.cleaning.texts import text_steps
from tunewise.commit import lock, sweep
from tunewise.comparison.soup_members import Member, check_members, read_members
from tunewise.data.tokenise import with_prompt
from tunewise.engine.averaging import check_holds, pour
from tunewise.engine.device import Tuned
from tunewise.engine.encode import encode
from tunewise.engine.evaluation import Results, evaluate
from tunewise.engine.feed import Reader
from tunewise.engine.handover import load_model, save_model
from tunewise.engine.looked_at import look
from tunewise.engine.soup_settings import SoupKind
from tunewise.engine.stop import Stop
from tunewise.engine.train import Trained
from tunewise.errors import Interrupted, NonFiniteError, RecipeError, StoreError
from tunewise.evaluate.decide import choose_threshold, to_predictions
from tunewise.evaluate.predict import predict_logits
from tunewise.models.attention import use_attention
from tunewise.models.load import Net
from tunewise.models.memory import memory_told
from tunewise.recipe import recipe_from
from tunewise.report.card import model_card
from tunewise.tracking.environment import determinism, environment
from tunewise.tracking.peak_memory import peak_memory_bytes
from tunewise.tracking.predictions import write_predictions
from tunewise.tracking.record import RECORD, Problem, RunRecord, read_record, write_record
from tunewise.tracking.run_folder import MODEL, earlier_record
from tunewise.tracking.run_record import finish_record, used_data
from tunewise.tracking.shown import LOOKED_AT
from tunewise.types import Costs, Plan


def make_soup(
    folders: Sequence[Path],
    out: Path,
    kind: SoupKind,
    *,
    metric: str | None = None,
    allow_code: bool = False,
    checked: Checked | None = None,
    label: str | None = None,
    warnings: Sequence[str] = (),
    replace_earlier: bool = False,
    stop: Stop | None = None,
) -> RunRecord:
    """Averages the models of finished runs, and leaves in `out` what a run leaves: model, predictions, record. A soup
    of the same runs that is there already is left as it is.

    Scores are computed as the first run's recipe says. The costs are those of all its members and its own (`marginal`
    is its own alone).

    Args:
        folders: of runs of one base model on the same rows.
        out: new, or with the same soup.
        metric: what greedy goes by, on validation; where left out, that of the first run.
        allow_code: whether the recipe's own metric functions may run.
        checked: data and model of the first run's recipe, where they were read before.
        label: what stands for a method in the record.
        warnings: are part of the record.
        replace_earlier: takes the place of a soup of other runs.

    Raises:
        RecipeError, StoreError, ModelError: the runs cannot be averaged; nothing is written.
    """
    begun = time.perf_counter()
    members = read_members(folders)
    recipe = recipe_from(members[0].record.recipe)
    checked = checked or check(recipe, Path.cwd(), recipe.all_methods, allow_code)
    metric = metric or checked.metric
    checked.evaluator.check_choice(metric)
    check_members(members, checked.models[recipe.model])
    _check_data(members[0], checked)
    work = _Soup(members, out, kind, metric, checked, list(warnings), begun)
    record = work.begin(label or f"soup({kind})")
    with lock(out), stop or Stop(fix="run the same command again") as stop:
        if replace_earlier and not _is_of(out, work.fingerprint):
            sweep(out)
        else:
            earlier = earlier_record(out, work.fingerprint, resume=True)
            if earlier and earlier.status == "finished":
                return earlier
        write_record(out, record)
        try:
            with stop.at_once():
                record = work.carry_out(record, stop)
        except BaseException as problem:
            status = "interrupted" if isinstance(problem, (Interrupted, KeyboardInterrupt)) else "failed"
            with suppress(StoreError):
                write_record(out, replace(record, status=status, error=Problem.of(problem)))
            raise
    return record


def fingerprint_of(members: Sequence[Member], kind: SoupKind, metric: str) -> str:
    """sha256 of what decides a soup: its kind, what it goes by, and the files of its members' models, in order."""
    return hashlib.sha256(json.dumps([kind, metric, [member.digest for member in members]]).encode()).hexdigest()


def _is_of(out: Path, fingerprint: str) -> bool:
    """Whether the folder holds the same soup, finished or not."""
    record = read_record(out) if (out / RECORD).is_file() else None
    return record is not None and record.tuned.get("recipe") == fingerprint


def _check_data(first: Member, checked: Checked) -> None:
    if first.record.data is None or first.record.data.fingerprint != checked.data.fingerprint:
        raise StoreError(
            "the data has changed since the runs were trained",
            where=str(first.folder),
            fix="put the data back, or train the runs again",
        )


@dataclass
class _Soup:
    """What the steps share. `tried`: by what greedy has tried, in its order, the metric on validation of the mean with
    it."""

    members: list[Member]
    out: Path
    kind: SoupKind
    metric: str
    checked: Checked
    warnings: list[str]
    begun: float
    tried: dict[int, float] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.members, self.kind, self.metric)

    @property
    def first(self) -> RunRecord:
        return self.members[0].record

    def begin(self, label: str) -> RunRecord:
        recipe, tuned = recipe_from(self.first.recipe), self._tuned().as_dict()
        return RunRecord(
            status="running",
            method=label,
            seed=recipe.seed,
            recipe=self.first.recipe,
            model=self.first.model,
            data=used_data(self.checked.data, self.checked.found.audit.findings),
            environment={**environment(), "determinism": determinism(tuned, False)},
            tuned={**tuned, "recipe": self.fingerprint},
            soup={"kind": self.kind, "metric": self.metric, "members": self._told(())},
        )

    def carry_out(self, record: RunRecord, stop: Stop) -> RunRecord:
        """Loads, chooses, averages, evaluates, hands over."""
        tuned, checked = self._tuned(), self.checked
        device = tuned.apply()
        places = [member.place for member in self.members]
        with memory_told("averaging the models"):
            net = self._load(places, device, tuned)
            start = time.perf_counter()
            score = self._scorer(net, stop)
            taken = self._greedy(net, score) if self.kind == "greedy" else list(range(len(places)))
            pour(net.model, [places[place] for place in taken])
            seconds = time.perf_counter() - start
            trained = _as_trained(net, seconds, self.first.costs)
            results = evaluate(trained, checked.data, checked.evaluator, stop.check, self.warnings.append, self.metric)
            main = results.predictions[next(iter(checked.data.tests))]
            seen = look(trained, checked.data, main, checked.evaluator.config, stop.check)
        write_predictions(self.out, results.predictions)
        LOOKED_AT.write(self.out, seen)
        record = replace(record, soup={**record.soup, "members": self._told(taken)})
        return self._hand_over(record, trained, results, device, stop)

    def _load(self, places: Sequence[Path], device: torch.device, tuned: Tuned) -> Net:
        """The first member's model, ready to take other weights; attention is computed as when that was evaluated."""
        net, *_ = load_model(places[0], torch.device("cpu"))
        check_holds(net.model, places[0])
        net.located = self.checked.models[recipe_from(self.first.recipe).model]
        wanted, own = tuned.attention_prediction or tuned.attention, net.model.config._attn_implementation
        if wanted and wanted != own:
            use_attention(net.model, wanted, instead_of=own)
        tuned.lay_out(net)
        return net.to(device)

    def _scorer(self, net: Net, stop: Stop) -> Callable[[], float]:
        """Tells the metric on validation of the weights that the net has then; NaN where outputs are not finite."""
        evaluator, validation = self.checked.evaluator, self.checked.data.splits["validation"]
        read = with_prompt(encode(validation.texts, net, None), net.prompt) if self.kind == "greedy" else None

        def score() -> float:
            logits_NC = predict_logits(net.model, read, evaluator.config.batch_size, stop=stop.check)
            threshold = None
            try:
                said = to_predictions(logits_NC, validation, evaluator)
                if evaluator.config.threshold:
                    threshold = choose_threshold(evaluator.config.threshold, said, evaluator)
                    said = to_predictions(logits_NC, validation, evaluator, threshold)
                return evaluator.score_one(self.metric, said)
            except NonFiniteError:
                return math.nan

        return score

    def _greedy(self, net: Net, score: Callable[[], float]) -> list[int]:
        """The members to take, in their order. Of equals on validation the one that is named first comes first."""
        sign = 1 if self.checked.evaluator.greater_is_better(self.metric) else -1
        places = [member.place for member in self.members]
        taken: list[int] = []
        best = -math.inf
        for number in sorted(range(len(places)), key=lambda number: (-sign * self._validation(number), number)):
            trial = sorted([*taken, number])
            pour(net.model, [places[place] for place in trial])
            value = self.tried[number] = score()
            if not taken or sign * value >= best:
                taken, best = trial, sign * value
        return taken

    def _validation(self, number: int) -> float:
        """The metric of a member on validation, the worst possible where it is undefined."""
        member = self.members[number]
        if self.metric not in member.record.validation:
            raise RecipeError(
                f"the run does not tell the metric '{self.metric}' on validation",
                where=str(member.folder),
                fix="name another by --metric, or train it with the same `evaluate` section as the others",
            )
        value = member.record.validation[self.metric].value
        worst = -math.inf if self.checked.evaluator.greater_is_better(self.metric) else math.inf
        return value if math.isfinite(value) else worst

    def _told(self, taken: Sequence[int]) -> list[dict[str, Any]]:
        """The members as plain data: `validation` alone, `tried` of the mean with it, where greedy tried that."""
        return [
            {
                "id": member.record.id,
                "method": member.record.method,
                "seed": member.record.seed,
                "folder": Path(os.path.relpath(member.folder, self.out)).as_posix(),
                "model": member.digest,
                "validation": self._validation(number),
                "tried": self.tried.get(number),
                "taken": number in taken,
            }
            for number, member in enumerate(self.members)
        ]

    def _tuned(self) -> Tuned:
        """As the first member computed, so that a soup of equals gives what it gave."""
        return Tuned.from_dict({key: value for key, value in self.first.tuned.items() if key != "recipe"})

    def _hand_over(
        self, record: RunRecord, trained: Trained, results: Results, device: torch.device, stop: Stop
    ) -> RunRecord:
        recipe = recipe_from(self.first.recipe)

        def finished(saved_bytes: int) -> RunRecord:
            seconds, peak = time.perf_counter() - self.begun, peak_memory_bytes(device.type)
            told = finish_record(
                record,
                trained,
                results,
                "transformers",
                self.warnings,
                seconds=seconds,
                shared_seconds=0.0,
                peak_memory=peak,
                saved_bytes=saved_bytes,
            )
            return replace(told, costs=_with_members(told.costs, [member.record.costs for member in self.members]))

        saved_bytes = save_model(
            trained,
            "transformers",
            self.out / MODEL,
            self.checked.data.schema,
            {"threshold": results.threshold, "positive": recipe.evaluate.positive},
            card=lambda size: model_card(finished(size).as_dict()),
            clean=text_steps(recipe.data.clean),
        )
        done = finished(saved_bytes)
        with stop.deferred():
            write_record(self.out, done)
        return done


def _as_trained(net: Net, seconds: float, costs: Costs) -> Trained:
    """The net as what a training gives; it took no steps."""
    plan = Plan(rules=(), learning_rate=0.0)
    return Trained(
        net=net,
        plan=plan,
        plans=[],
        seconds=seconds,
        forward_flops=0.0,
        backward_flops=0.0,
        trainable_parameters=0,
        total_parameters=costs.total_parameters,
        reader=Reader(net, plan, (), None),
    )


def _with_members(own: Costs, members: Sequence[Costs]) -> Costs:
    """What the soup has taken in all: its own and that of every run that was offered, taken or not. Memory is the
    most that one of them needed, trained parameters those of the member that trained the most."""
    everyone = [own, *members]
    sums = ("train_seconds", "total_seconds", "forward_flops", "backward_flops")
    most = ("peak_memory_bytes", "trainable_parameters")
    return replace(
        own,
        **{name: sum(getattr(costs, name) for costs in everyone) for name in sums},
        **{name: max(getattr(costs, name) for costs in everyone) for name in most},
    )
