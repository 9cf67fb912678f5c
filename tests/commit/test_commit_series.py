from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tunewise.commit import Series, read_manifest
from tunewise.errors import CorruptError


def words(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "weights.bin").write_text(text)


@pytest.fixture
def series(tmp_path: Path) -> Series:
    return Series(tmp_path / "checkpoints", keep=2)


def steps(series: Series) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in series.parent.glob("step-*"))


def test_no_checkpoints(series: Series) -> None:
    assert series.latest() is None and series.warnings == []


def test_newest_is_current_and_older_go(series: Series) -> None:
    for step in (10, 20, 30):
        saved = series.save(step, words(str(step)), {"recipe": "abc"})
        assert series.latest() == saved
    assert steps(series) == [20, 30]
    assert saved.name.startswith("step-00000030-") and len(saved.name) == len("step-00000030-") + 8
    assert read_manifest(saved)["about"] == {"recipe": "abc", "step": 30}
    assert series.warnings == []


def test_keep_one(tmp_path: Path) -> None:
    series = Series(tmp_path, keep=1)
    for step in (1, 2, 3):
        series.save(step, words("x"), {})
    assert steps(series) == [3] and series.latest()


def test_falls_back_loudly(series: Series, caplog: pytest.LogCaptureFixture) -> None:
    older = series.save(10, words("old"), {})
    newer = series.save(20, words("new"), {})
    (newer / "weights.bin").write_text("neW")
    with caplog.at_level(logging.WARNING):
        assert series.latest() == older
    assert f"{newer / 'weights.bin'}" in series.warnings[0] and "falling back" in series.warnings[1]
    assert [record.message for record in caplog.records] == series.warnings


def test_after_a_fall_back_the_bad_one_goes_and_the_good_one_stays(series: Series) -> None:
    older = series.save(10, words("old"), {})
    newer = series.save(20, words("new"), {})
    (newer / "weights.bin").write_text("neW")
    series.latest()
    again = series.save(20, words("again"), {})
    assert {path for path in series.parent.glob("step-*")} == {older, again}
    assert series.latest() == again


def test_checkpoints_of_a_lost_future_go(series: Series) -> None:
    older = series.save(10, words("old"), {})
    (series.save(30, words("new"), {}) / "weights.bin").unlink()
    assert series.latest() == older
    fresh = Series(series.parent)  # a resumed process that saves at a smaller step
    fresh.save(20, words("x"), {})
    assert steps(fresh) == [10, 20]


def test_damaged_or_missing_pointer(series: Series) -> None:
    series.save(10, words("old"), {})
    newer = series.save(20, words("new"), {})
    for text in ("../../etc", "step-00000099-0123abcd\n", ""):
        (series.parent / "current").write_text(text)
        series.warnings.clear()
        assert series.latest() == newer and series.warnings
    (series.parent / "current").unlink()
    assert series.latest() == newer


def test_pointer_counts_more_than_the_number(series: Series) -> None:
    older = series.save(10, words("old"), {})
    series.save(20, words("new"), {})
    (series.parent / "current").write_text(older.name + "\n")
    assert series.latest() == older


def test_all_bad_is_an_error_not_a_fresh_start(series: Series) -> None:
    for step in (10, 20):
        (series.save(step, words("x"), {}) / "weights.bin").write_text("y")
    with pytest.raises(CorruptError, match="none of them can be used") as caught:
        series.latest()
    assert "step-00000010" in caught.value.what and "step-00000020" in caught.value.what
    for folder in series.parent.glob("step-*"):
        shutil.rmtree(folder)
    with pytest.raises(CorruptError, match="the current checkpoint is missing"):
        Series(series.parent).latest()


def test_what_fails_on_the_way_to_the_disk_does_not_become_current(
    series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = series.save(10, words("old"), {})
    from tunewise.commit import series as module

    real = module.commit_folder

    def commit(target: Path, *args, **options) -> dict:
        manifest = real(target, *args, **options)
        (target / "weights.bin").write_text("torn")
        return manifest

    monkeypatch.setattr(module, "commit_folder", commit)
    with pytest.raises(CorruptError, match=r"weights\.bin"):
        series.save(20, words("new"), {})
    assert series.latest() == older and steps(series) == [10]


def test_a_kill_before_the_first_checkpoint_was_named_is_nothing_to_warn_of(series: Series) -> None:
    """Else the log of the run that goes on would not be that of one that was never killed."""
    first = series.save(3, words("first"), {})
    (series.parent / "current").unlink()
    again = Series(series.parent)
    assert again.latest() == first and again.warnings == []
