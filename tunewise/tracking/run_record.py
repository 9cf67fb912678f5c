"""From what a run has to its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from tunewise.methods import METHODS
from tunewise.tracking.environment import determinism, environment
from tunewise.tracking.record import HandedOver, RunRecord, UsedData, UsedModel
from tunewise.types import Costs, DataBundle, Handover

if TYPE_CHECKING:
    from tunewise.audit.finding import Finding
    from tunewise.engine.evaluation import Results
    from tunewise.engine.train import Trained
    from tunewise.models.located import LocatedModel
    from tunewise.recipe import Recipe


def used_data(data: DataBundle, findings: Sequence[Finding] = ()) -> UsedData:
    return UsedData(
        fingerprint=data.fingerprint,
        rows={name: len(split) for name, split in data.splits.items()},
        steps=[step.as_dict() for step in data.steps],
        schema=asdict(data.schema),
        findings=[finding.told() for finding in findings],
    )


def begin_record(
    recipe: Recipe,
    data: DataBundle,
    located: LocatedModel,
    tuned: dict[str, Any],
    earlier: RunRecord | None,
    findings: Sequence[Finding] = (),
) -> RunRecord:
    """The record of a run that begins, or that goes on: then with the id and date of the earlier one."""
    package = METHODS.package_of(recipe.method.name)
    record = RunRecord(
        status="running",
        method=recipe.method.label,
        seed=recipe.seed,
        recipe=recipe.as_dict(),
        model=UsedModel(located.name, str(located.path), located.fingerprint),
        data=used_data(data, findings),
        environment={
            **environment(more=[package[0]] if package else []),
            "determinism": determinism(tuned, recipe.train.cache),
        },
        tuned={**tuned, "recipe": recipe.fingerprint},
    )
    return replace(record, id=earlier.id, created=earlier.created) if earlier else record


def finish_record(
    record: RunRecord,
    trained: Trained,
    results: Results,
    kind: Handover,
    warnings: Sequence[str],
    *,
    seconds: float,
    shared_seconds: float,
    peak_memory: int,
    saved_bytes: int,
) -> RunRecord:
    """The record of a finished run. `seconds` is what it took here; alone it would have paid `shared_seconds` too
    (imports, reading the data), and what other runs have left in the cache for it."""
    here = Costs(
        train_seconds=trained.seconds,
        total_seconds=seconds,
        peak_memory_bytes=peak_memory,
        forward_flops=trained.forward_flops,
        backward_flops=trained.backward_flops,
        trainable_parameters=trained.trainable_parameters,
        total_parameters=trained.total_parameters,
        saved_bytes=saved_bytes,
        predict_ms_per_example=results.predict_ms_per_example,
    )
    alone = replace(
        here,
        train_seconds=here.train_seconds + trained.elsewhere_seconds,
        total_seconds=seconds + shared_seconds + trained.elsewhere_seconds + trained.reader.spent.elsewhere_seconds,
        forward_flops=here.forward_flops + trained.elsewhere_flops,
    )
    return replace(
        record,
        status="finished",
        plans=trained.plans,
        scores=results.scores,
        validation=results.validation,
        costs=alone,
        marginal=here,
        curve=trained.curve,
        rounds={name: trained.rounds[name] for name in ("last", "steps") if trained.rounds},
        confusion=results.confusion,
        texts=results.texts,
        forgetting=results.forgetting,
        drawn=results.drawn,
        stacked=trained.stacked if trained.stacked > 1 else 0,
        handover=HandedOver(kind, {"model": "model", "predictions": "predictions"}, trained.net.loads_as),
        notes=list(trained.net.notes),
        warnings=list(warnings),
    )
