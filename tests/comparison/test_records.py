"""The records of a comparison's runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tunewise.comparison import records
from tunewise.comparison.records import Records
from tunewise.errors import CorruptError
from tunewise.tracking.record import RECORD, RunRecord, read_record, write_record


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders whose record was read from disk, in order."""
    done: list[Path] = []
    monkeypatch.setattr(records, "read_record", lambda folder: done.append(folder) or read_record(folder))
    return done


def record(status: str) -> RunRecord:
    return RunRecord(status=status, method="head", seed=0, recipe={})


def test_a_finished_record_is_read_once(tmp_path: Path, reads: list[Path]) -> None:
    write_record(tmp_path, record("finished"))
    known = Records()
    first = known.read(tmp_path)
    assert first is not None and known.read(tmp_path) is first is known.finished(tmp_path)
    assert reads == [tmp_path] and first == read_record(tmp_path)


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_what_has_not_finished_is_read_again(tmp_path: Path, reads: list[Path], status: str) -> None:
    known = Records()
    assert known.read(tmp_path) is None and known.finished(tmp_path) is None and reads == []
    write_record(tmp_path, begun := record(status))
    assert known.read(tmp_path) == begun and known.finished(tmp_path) is None
    write_record(tmp_path, done := replace(begun, status="finished"))
    assert known.finished(tmp_path) == done == known.read(tmp_path) and len(reads) == 3


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    write_record(tmp_path, record("finished"))
    (tmp_path / RECORD).write_text((tmp_path / RECORD).read_text().replace("head", "full"))
    with pytest.raises(CorruptError):
        Records().read(tmp_path)
