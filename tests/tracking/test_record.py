from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from tunewise.commit import sealed
from tunewise.errors import CorruptError, DataError, StoreError
from tunewise.tracking.record import HandedOver, Problem, RunRecord, UsedData, UsedModel, read_record, write_record
from tunewise.types import Costs, Score


@pytest.fixture
def record() -> RunRecord:
    costs = Costs(1.5, 2.5, 10**9, 1e12, 2e12, 1200, 22_000_000, 5000, 0.25)
    return RunRecord(
        status="finished",
        method="lora(rank=16)",
        seed=3,
        recipe={"model": "m", "data": {"train": "tickets.csv", "label": "intent"}, "method": {"lora": {"rank": 16}}},
        model=UsedModel("m", "models/m", "ab" * 32),
        data=UsedData("cd" * 32, {"train": 80, "test": 20}, [{"name": "blank", "rows_in": 101, "rows_out": 100}]),
        environment={"python": "3.11"},
        tuned={"device": "cpu", "precision": "fp32", "threads": 2},
        plans=[{"step": 0, "rules": [{"pattern": "*", "lr_scale": 1.0}]}],
        scores={"test": {"f1_macro": Score(0.81, 0.77, 0.84)}},
        validation={"f1_macro": Score(0.8, 0.7, 0.9)},
        costs=costs,
        marginal=replace(costs, train_seconds=0.5),
        curve=[{"step": 10, "validation_loss": 0.4}],
        confusion={"test": [[9, 1], [2, 8]]},
        handover=HandedOver("peft", {"model": "model"}),
        notes=["hub id resolved to the installed package"],
        warnings=["3 rows were cut – Größe"],
    )


def test_round_trip(record: RunRecord, tmp_path: Path) -> None:
    path = write_record(tmp_path / "one", record)
    assert path == tmp_path / "one" / "record.json"
    assert read_record(tmp_path / "one") == record
    plain = json.loads(path.read_text())
    assert list(plain)[:4] == ["schema_version", "id", "created", "status"]
    assert plain["costs"]["train_seconds"] == 1.5 and plain["scores"]["test"]["f1_macro"]["low"] == 0.77
    assert datetime.fromisoformat(plain["created"]).utcoffset().total_seconds() == 0


def test_shortest_record_round_trip() -> None:
    record = RunRecord(status="running", method="head", seed=0, recipe={})
    assert RunRecord.from_json(record.to_json()) == record


def test_written_over(record: RunRecord, tmp_path: Path) -> None:
    write_record(tmp_path, replace(record, status="running"))
    write_record(tmp_path, record)
    assert read_record(tmp_path).status == "finished"
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_numbers_that_json_does_not_have_are_null(record: RunRecord) -> None:
    record = replace(
        record,
        scores={"test": {"roc_auc": Score(math.nan, -math.inf, math.inf)}},
        costs=replace(record.costs, predict_ms_per_example=math.nan),
        curve=[{"loss": math.nan, "points": (1.0, math.inf)}],
    )
    plain = json.loads(record.to_json(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert plain["scores"]["test"]["roc_auc"] == {"value": None, "low": None, "high": None}
    assert plain["curve"] == [{"loss": None, "points": [1.0, None]}]
    back = RunRecord.from_json(record.to_json())
    assert math.isnan(back.scores["test"]["roc_auc"].low) and math.isnan(back.costs.predict_ms_per_example)
    assert back.costs.train_seconds == 1.5 and back.curve == [{"loss": None, "points": [1.0, None]}]


def test_a_newer_version_is_refused_and_an_older_one_loads(record: RunRecord) -> None:
    newer = {**record.as_dict(), "schema_version": 2, "something_new": 1}
    with pytest.raises(StoreError, match="version 2, written by a newer tunewise") as caught:
        RunRecord.from_json(sealed(newer))
    assert not isinstance(caught.value, CorruptError) and caught.value.fix == "update tunewise"
    older = {key: value for key, value in record.as_dict().items() if key not in ("curve", "confusion", "notes")}
    back = RunRecord.from_json(sealed(older))
    assert back == replace(record, curve=[], confusion={}, notes=[])


def test_a_record_that_version_1_has_left(tmp_path: Path) -> None:
    """A file as tunewise 0.1 wrote it, kept as it was: every later version reads it."""
    shutil.copy(Path(__file__).parent / "records" / "version-1.json", tmp_path / "record.json")
    found = read_record(tmp_path)
    assert (found.schema_version, found.status, found.method, found.seed) == (1, "finished", "lora", 0)
    assert found.scores["test"]["accuracy"] == Score(0.7710526315789473, 0.7288815789473685, 0.8105263157894737)
    assert found.costs.train_seconds == 29.56493019298796 and found.handover.kind == "peft"
    assert found.data.rows == {"train": 634, "validation": 138, "test": 380}
    assert len(found.curve) == 3 and found.environment["packages"]["tunewise"] == "0.1.0"


@pytest.mark.parametrize("version", [0, -1, None, "1", 1.0, True])
def test_what_says_no_version_is_no_record(record: RunRecord, version: object) -> None:
    with pytest.raises(CorruptError, match="and versions go from 1"):
        RunRecord.from_json(sealed({**record.as_dict(), "schema_version": version}))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"scroes": {}}, "unknown key 'scroes'"),
        ({"status": "great"}, "status is 'great'"),
        ({"seed": "3"}, "'seed' is '3'"),
        ({"scores": [1]}, "'scores' is"),
        ({"scores": {"test": 3}}, "is not the record"),
        ({"scores": {"test": {"f1": {"value": "high", "low": 0, "high": 1}}}}, "'value' is 'high'"),
        ({"costs": {"train_seconds": 1}}, "is missing"),
        ({"model": 3}, "is not the record"),
    ],
)
def test_a_record_of_another_kind(record: RunRecord, change: dict, told: str) -> None:
    with pytest.raises(CorruptError, match=told):
        RunRecord.from_json(sealed({**record.as_dict(), **change}), Path("runs/one/record.json"))


def test_missing_keys_are_named(record: RunRecord) -> None:
    plain = record.as_dict()
    del plain["recipe"]
    with pytest.raises(CorruptError, match="'recipe' is missing"):
        RunRecord.from_json(sealed(plain))


def test_a_changed_number_is_found(record: RunRecord, tmp_path: Path) -> None:
    path = write_record(tmp_path, record)
    path.write_text(path.read_text().replace("0.81", "0.91"))
    with pytest.raises(CorruptError, match="changed or damaged") as caught:
        read_record(tmp_path)
    assert caught.value.where == str(path)


def test_no_record(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no run in .* expected a file record\.json"):
        read_record(tmp_path / "absent")


def test_problem_of_an_error() -> None:
    ours = DataError("column 'x' is missing", where="a.csv", fix="name another")
    assert Problem.of(ours) == Problem("column 'x' is missing", "a.csv", "name another")
    assert Problem.of(ZeroDivisionError("division by zero")) == Problem("ZeroDivisionError: division by zero")
    assert Problem.of(KeyboardInterrupt()) == Problem("KeyboardInterrupt")
