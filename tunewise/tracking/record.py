"""The record of a run: `record.json`, all that is kept of it beside the model. NaN and infinity are null there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

from tunewise.commit import sealed, unsealed, write_file
from tunewise.commit.files import explained
from tunewise.errors import CorruptError, StoreError, TunewiseError
from tunewise.types import Costs, Handover, Score, Status

RECORD = "record.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class UsedModel:
    """The pretrained model: its name in the recipe, the folder it was read from, and a sha256 of its files."""

    name: str
    path: str
    fingerprint: str


@dataclass(frozen=True)
class UsedData:
    """The data: fingerprint, rows per split, what was done to it (`types.DataStep`), `types.Schema` as plain data, and
    what was found in it before training (`Finding.told`)."""

    fingerprint: str
    rows: dict[str, int]
    steps: list[dict[str, Any]] = field(default_factory=list)
    schema: dict[str, Any] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class HandedOver:
    """The model handed over: the kind of folder, paths by what is there, relative to the run folder, and by which class
    of transformers a language model is loaded."""

    kind: Handover
    paths: dict[str, str] = field(default_factory=dict)
    loads_as: str | None = None


@dataclass(frozen=True)
class Problem:
    """Why a run has no result."""

    what: str
    where: str | None = None
    fix: str | None = None

    @classmethod
    def of(cls, error: BaseException) -> Problem:
        """An error of ours in its own words; another by its kind and message."""
        if isinstance(error, TunewiseError):
            return cls(error.what, error.where, error.fix)
        return cls(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        recipe: all that was asked for, in the form of a recipe file.
        method: its label, with options.
        environment: see `tracking.environment`.
        tuned: what was fitted to the machine; decided once, kept on resume.
        plans: what the method decided, one entry per phase.
        scores: by test set and metric, with intervals.
        validation: the metrics that choices are made by.
        costs: as if the run had been alone.
        marginal: what it cost beside the other runs of a comparison.
        curve: one entry per validation.
        confusion: per split, rows are true classes, columns predicted ones.
        texts: how a language model wrote for test rows: options, signatures of metrics, counts and tokens per second of
            each set, samples with prompt, reference, and texts before and after training; left out where there are none
        rounds: of a training that learns from what the model writes: its figures (`events.Wrote`) at the `last` step,
            and in `steps`, at most 200 of them; left out elsewhere
        forgetting: perplexity of a text of another domain before and after training; left out where none was named.
        soup: of the mean of several runs: its kind, the metric that greedy goes by, and the members with their metric
            on validation, that of the mean when each was tried, and which were taken; left out elsewhere.
        stacked: how many runs trained in one pass over the base; left out where it trained alone. Its seconds are then
            those of its own and its share of what was done for all, its memory is that of all.
        drawn: of image generation: FID, KID and Inception score of images drawn before and after training, with their
            difference, or why there are none; left out elsewhere.
        created: UTC, ISO 8601.
    """

    status: Status
    method: str
    seed: int
    recipe: dict[str, Any]
    model: UsedModel | None = None
    data: UsedData | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    tuned: dict[str, Any] = field(default_factory=dict)
    plans: list[dict[str, Any]] = field(default_factory=list)
    scores: dict[str, dict[str, Score]] = field(default_factory=dict)
    validation: dict[str, Score] = field(default_factory=dict)
    costs: Costs | None = None
    marginal: Costs | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)
    rounds: dict[str, Any] = field(default_factory=dict)
    confusion: dict[str, list[list[int]]] = field(default_factory=dict)
    texts: dict[str, Any] = field(default_factory=dict)
    forgetting: dict[str, Any] = field(default_factory=dict)
    soup: dict[str, Any] = field(default_factory=dict)
    drawn: dict[str, Any] = field(default_factory=dict)
    stacked: int = 0
    handover: HandedOver | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: Problem | None = None
    id: str = field(default_factory=lambda: uuid4().hex[:12])
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    schema_version: int = SCHEMA_VERSION

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data, `schema_version`, `id`, `created` and `status` first."""
        plain = _without_nan(asdict(self))
        for name in (
            "rounds",
            "texts",
            "forgetting",
            "soup",
            "drawn",
            "stacked",
        ):  # so that older programs read the records of other models
            if not plain[name]:
                del plain[name]
        first = ("schema_version", "id", "created", "status")
        return {name: plain[name] for name in first} | plain

    def to_json(self) -> str:
        return sealed(self.as_dict())

    @classmethod
    def from_json(cls, raw: bytes | str, path: Path = Path(RECORD)) -> RunRecord:
        """The record in a text made by `to_json`; `path` is named in errors.

        Raises:
            CorruptError: the text was changed, cut, or is no record.
            StoreError: a newer tunewise wrote it.
        """
        body = unsealed(raw.encode() if isinstance(raw, str) else raw, path)
        version = body.get("schema_version")
        if type(version) is not int or version < 1:
            raise CorruptError(
                f"{path.name} is not the record of a run: schema_version is {version!r}, and versions go from 1",
                where=str(path),
            )
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"this record has version {version}, written by a newer tunewise; this one reads {SCHEMA_VERSION}",
                where=str(path),
                fix="update tunewise",
            )
        try:
            return _record(body)
        except (TypeError, ValueError, AttributeError, KeyError) as exc:
            raise CorruptError(f"{path.name} is not the record of a run: {exc}", where=str(path)) from None


def write_record(run_folder: Path, record: RunRecord) -> Path:
    """Puts the record into a run folder, in the place of an earlier one; returns its path."""
    path = Path(run_folder) / RECORD
    write_file(path, record.to_json())
    return path


def read_record(run_folder: Path) -> RunRecord:
    """The record of a run folder.

    Raises:
        CorruptError: it is damaged.
        StoreError: there is none, it cannot be read, or a newer tunewise wrote it.
    """
    path = Path(run_folder) / RECORD
    if not path.is_file():
        raise StoreError(
            f"there is no run in {run_folder}: expected a file {RECORD}",
            where=str(run_folder),
            fix="name the folder that was given as --out to `tunewise train`; `tunewise runs` lists those there are",
        )
    with explained("read", path):
        return RunRecord.from_json(path.read_bytes(), path)


def _record(body: dict[str, Any]) -> RunRecord:
    plain = _checked(RunRecord, body)
    if plain["status"] not in get_args(Status):
        raise ValueError(f"status is '{plain['status']}'")
    built = {
        "model": _build(UsedModel, plain.get("model")),
        "data": _build(UsedData, plain.get("data")),
        "handover": _build(HandedOver, plain.get("handover")),
        "error": _build(Problem, plain.get("error")),
        "costs": _build(Costs, _with_nan(plain.get("costs"))),
        "marginal": _build(Costs, _with_nan(plain.get("marginal"))),
        "scores": {split: _scores(scores) for split, scores in plain.get("scores", {}).items()},
        "validation": _scores(plain.get("validation", {})),
    }
    return RunRecord(**{**plain, **built})


def _scores(plain: dict[str, Any]) -> dict[str, Score]:
    return {metric: _build(Score, _with_nan(score)) for metric, score in plain.items()}


def _build(kind: type, plain: dict[str, Any] | None) -> Any:
    return None if plain is None else kind(**_checked(kind, plain))


_KINDS = {"str": str, "int": int, "float": (int, float), "dict": dict, "list": list}


def _checked(kind: type, plain: dict[str, Any]) -> dict[str, Any]:
    """`plain`, where it has the keys of a dataclass and the containers, texts and numbers it declares."""
    known = _expected(kind)
    if unknown := plain.keys() - known.keys():
        raise ValueError(f"unknown key '{min(unknown)}'")
    for name, (kinds, declared, needed) in known.items():
        if name not in plain:
            if needed:
                raise ValueError(f"'{name}' is missing")
        elif kinds and not isinstance(plain[name], kinds):
            raise ValueError(f"'{name}' is {plain[name]!r}, not of the kind {declared}")
    return plain


@lru_cache
def _expected(kind: type) -> dict[str, tuple[Any, str, bool]]:
    """By field of a dataclass: the classes its value may have, its declared type, whether it must be there."""
    return {
        item.name: (
            _KINDS.get(item.type.partition("[")[0]),
            item.type,
            item.default is MISSING and item.default_factory is MISSING,
        )
        for item in fields(kind)
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _with_nan(plain: dict[str, Any] | None) -> dict[str, Any] | None:
    return plain and {name: math.nan if value is None else value for name, value in plain.items()}
