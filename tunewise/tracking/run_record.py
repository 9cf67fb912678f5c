"""From what a run has to its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from tunewise.methods import METHODS
from tunewise.tracking.environment import environment
from tunewise.tracking.record import HandedOver, RunRecord, UsedData, UsedModel
from tunewise.types import Costs, DataBundle, Handover

if TYPE_CHECKING:
    from tunewise.engine.evaluation import Results
    from tunewise.engine.train import Trained
    from tunewise.models.locate import LocatedModel
    from tunewise.recipe import Recipe


def used_data(data: DataBundle) -> UsedData:
    return UsedData(
        fingerprint=data.fingerprint,
        rows={name: len(split) for name, split in data.splits.items()},
        steps=[asdict(step) for step in data.steps],
        schema=asdict(data.schema),
    )


def begin_record(
    recipe: Recipe, data: DataBundle, located: LocatedModel, tuned: dict[str, Any], earlier: RunRecord | None
) -> RunRecord:
    """The record of a run that begins, or that goes on: then with the id and date of the earlier one."""
    package = METHODS.package_of(recipe.method.name)
    record = RunRecord(
        status="running",
        method=recipe.method.label,
        seed=recipe.seed,
        recipe=recipe.as_dict(),
        model=UsedModel(located.name, str(located.path), located.fingerprint),
        data=used_data(data),
        environment=environment(more=[package[0]] if package else []),
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
    import_seconds: float,
    peak_memory: int,
    saved_bytes: int,
) -> RunRecord:
    """The record of a finished run. `seconds` is what it took here; alone it would have paid its imports too."""
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
    return replace(
        record,
        status="finished",
        plans=trained.plans,
        scores=results.scores,
        validation=results.validation,
        costs=replace(here, total_seconds=seconds + import_seconds),
        marginal=here,
        curve=trained.curve,
        confusion=results.confusion,
        handover=HandedOver(kind, {"model": "model", "predictions": "predictions"}),
        notes=list(trained.net.notes),
        warnings=list(warnings),
    )
