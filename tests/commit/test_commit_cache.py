"""The store of what can be computed again: entries, limits, damage, and many processes at once."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tunewise.commit import Cache, cache_root, default_cache
from tunewise.commit import cache as module
from tunewise.commit.cache import parse_size
from tunewise.commit.leftovers import ABANDONED_SECONDS
from tunewise.errors import Interrupted, RecipeError, StoreError, TunewiseWarning


def key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def holding(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "data.txt").write_text(text) and None


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, told: list[str]) -> Cache:
    """Of 1,000 bytes."""
    return Cache(tmp_path / "cache", 1000, told.append)


def aged(cache: Cache, name: str, seconds: float) -> None:
    """Makes an entry look as if it had been used so long ago."""
    then = time.time() - seconds
    os.utime(cache.root / key(name) / "manifest.json", (then, then))


def test_an_entry_is_found_again_by_its_key(cache: Cache) -> None:
    assert cache.get(key("a")) is None
    folder = cache.put(key("a"), holding("hello"), {"kind": "test"}, size=5)
    assert folder == cache.get(key("a")) == cache.root / key("a")
    assert (folder / "data.txt").read_text() == "hello"
    (entry,) = cache.entries()
    assert (entry.key, entry.bytes, entry.about) == (key("a"), 5, {"kind": "test"})
    assert time.time() - entry.used < 60


def test_a_key_is_a_sha256(cache: Cache) -> None:
    for wrong in ("", "a" * 63, "../" + "a" * 61, key("a").upper()):
        with pytest.raises(ValueError, match="a key is a sha256"):
            cache.get(wrong)


def test_the_least_recently_used_gives_way(cache: Cache) -> None:
    for place, name in enumerate("abc"):
        cache.put(key(name), holding("x" * 300), {}, size=300)
        aged(cache, name, 100 - place)
    cache.get(key("a"))
    cache.put(key("d"), holding("x" * 300), {}, size=300)
    assert [entry.key for entry in cache.entries()] == [key("c"), key("a"), key("d")]
    assert sum(entry.bytes for entry in cache.entries()) <= cache.limit


def test_room_is_made_afterwards_where_the_size_was_not_known(cache: Cache) -> None:
    cache.put(key("a"), holding("x" * 600), {})
    assert cache.put(key("b"), holding("x" * 600), {}) is not None
    assert [entry.key for entry in cache.entries()] == [key("b")]
    assert cache.put(key("c"), holding("x" * 1001), {}) is None
    assert cache.entries() == []


def test_what_does_not_fit_is_not_even_written(cache: Cache) -> None:
    def never(folder: Path) -> None:
        raise AssertionError("written")

    cache.put(key("a"), holding("x"), {})
    assert cache.put(key("b"), never, {}, size=1001) is None
    assert len(cache.entries()) == 1
    off = Cache(cache.root, 0)
    assert off.put(key("b"), never, {}, size=1) is None and off.get(key("a")) is None and off.room() == 0
    with off.filling(key("a")):
        pass
    assert not (off.root / "locks").exists()


def test_open_files_outlive_their_entry(cache: Cache) -> None:
    values = np.arange(50, dtype=np.int64)
    folder = cache.put(key("a"), lambda folder: np.save(folder / "values.npy", values), {})
    mapped = np.load(folder / "values.npy", mmap_mode="r")
    cache.put(key("b"), holding("x" * 900), {}, size=900)
    assert cache.get(key("a")) is None and not folder.exists()
    np.testing.assert_array_equal(mapped, values)


@pytest.mark.parametrize("harm", ["changed", "cut", "missing", "extra", "manifest"])
def test_a_damaged_entry_is_told_of_and_removed(harm: str, cache: Cache, told: list[str]) -> None:
    folder = cache.put(key("a"), holding("hello"), {})
    file = folder / ("manifest.json" if harm == "manifest" else "data.txt")
    if harm == "missing":
        file.unlink()
    elif harm == "extra":
        (folder / "more.txt").write_text("more")
    else:
        file.write_text({"changed": "jello", "cut": "hell", "manifest": "{"}[harm])
    assert cache.get(key("a")) is None and not folder.exists()
    (message,) = told
    assert "damaged" in message and key("a") in message
    assert cache.put(key("a"), holding("hello"), {}) is not None and cache.get(key("a")) == folder


def test_a_warning_is_one_of_ours_where_nobody_listens(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1000)
    (cache.put(key("a"), holding("hello"), {}) / "data.txt").write_text("jello")
    with pytest.warns(TunewiseWarning, match="damaged"):
        assert cache.get(key("a")) is None


def test_a_full_disk_fails_nothing(cache: Cache, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device", str(folder / "data.txt"))

    assert cache.put(key("a"), full, {}) is None
    assert "the disk is full" in told[0]
    assert list(cache.root.iterdir()) == []
    cache.put(key("b"), holding("x" * 600), {})
    monkeypatch.setattr(module, "_free", lambda path: module.MARGIN + 200)
    assert cache.room() == 800  # if the other entry gave way
    assert cache.put(key("c"), holding("x" * 700), {}, size=700) is not None
    assert [entry.key for entry in cache.entries()] == [key("c")]
    assert cache.put(key("d"), holding("x" * 950), {}, size=950) is None


def test_a_place_that_cannot_be_written(tmp_path: Path, told: list[str]) -> None:
    (tmp_path / "file").write_text("not a folder")
    cache = Cache(tmp_path / "file" / "cache", 1000, told.append)
    with cache.filling(key("a")):
        assert cache.get(key("a")) is None
        assert cache.put(key("a"), holding("x"), {}) is None
    assert "a part of the path is a file" in told[0]
    assert cache.entries() == [] and cache.clear() == 0


def test_what_the_maker_raises_passes_through(cache: Cache) -> None:
    def stopped(folder: Path) -> None:
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        cache.put(key("a"), stopped, {})
    assert list(cache.root.iterdir()) == []


def test_clear(cache: Cache) -> None:
    with cache.filling(key("a")):
        cache.put(key("a"), holding("x"), {})
    cache.put(key("b"), holding("x"), {})
    (cache.root / "machine.json").write_text("{}")
    abandoned, busy = (cache.root / f".tmp-{number * 32}" for number in "01")
    aside = cache.root / f".old-{'2' * 32}-{key('c')}"
    for folder, age in ((aside, 2 * ABANDONED_SECONDS), (abandoned, 2 * ABANDONED_SECONDS), (busy, 60.0)):
        folder.mkdir()
        os.utime(folder, (time.time() - age,) * 2)
    assert cache.clear() == 2
    assert cache.entries() == [] and list((cache.root / "locks").iterdir()) == []
    assert (cache.root / "machine.json").exists() and busy.exists()
    assert not abandoned.exists() and not aside.exists()


def test_a_new_entry_costs_no_look_into_the_others(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 entries would else mean 3,000 manifests to read for each new one."""
    large = replace(cache, limit=10**6)
    for number in range(20):
        large.put(key(str(number)), holding("x" * 100), {}, size=100)
    read: list[Path] = []
    real = module.read_manifest
    monkeypatch.setattr(module, "read_manifest", lambda folder: read.append(folder) or real(folder))
    other = Cache(cache.root, 10**6)
    assert other.used() == 2000 and len(read) == 20
    other.put(key("a"), holding("x" * 100), {}, size=100)
    cache.put(key("b"), holding("x" * 100), {}, size=100)  # another process's
    read.clear()
    assert other.used() == large.used() == 1000 and len(read) <= 3  # of 1,000 bytes in all: `cache` made room
    assert other.room() == 10**6


def test_the_limit_holds_for_entries_made_anew_and_damaged_ones(cache: Cache) -> None:
    for name in "ab":
        cache.put(key(name), holding("x" * 400), {}, size=400)
    other = Cache(cache.root, 1000)
    other._drop(key("a"))
    other.put(key("a"), holding("x" * 600), {}, size=600)
    assert cache.used() == other.used() == 1000
    (cache.root / key("a") / "manifest.json").write_text("{")
    fresh = Cache(cache.root, 1000)
    assert fresh.used() == 1001  # by its files
    fresh.put(key("c"), holding("x" * 300), {}, size=300)
    assert fresh.used() <= 1000 and fresh.get(key("c")) is not None


def test_what_cannot_be_read_now_is_not_thrown_away(
    cache: Cache, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put(key("a"), holding("hello"), {})

    def too_many(folder: Path) -> None:
        raise StoreError("cannot read: this process has too many files open")

    with monkeypatch.context() as patch:
        patch.setattr(module, "verify", too_many)
        assert cache.get(key("a")) is None
    assert cache.get(key("a")) is not None and told == [
        "an entry of the cache is not used: cannot read: this process has too many files open"
    ]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EROFS])
def test_a_cache_that_cannot_be_changed_is_read(
    number: int, cache: Cache, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put(key("a"), holding("hello"), {})

    def refused(path: Path) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "utime", refused)
    assert (cache.get(key("a")) / "data.txt").read_text() == "hello" and told == []


# ---------------------------------------------------------------- many processes

FILL = """
import sys, time
from pathlib import Path
from tunewise.commit import Cache
root, key, log = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
cache = Cache(root, 1000)
def write(folder):
    with log.open("a") as file:
        file.write("made\\n")
    time.sleep(0.4)
    (folder / "data.txt").write_text("hello")
print("ready", flush=True)
sys.stdin.readline()
if cache.get(key) is None:
    with cache.filling(key):
        cache.get(key) or cache.put(key, write, {})
print((cache.get(key) / "data.txt").read_text())
"""


def test_two_processes_make_an_entry_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", FILL, str(tmp_path / "cache"), key("a"), str(log)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    fillers = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for filler in fillers:
        assert filler.stdout.readline() == "ready\n"
    for filler in fillers:
        filler.stdin.write("go\n")
        filler.stdin.flush()
    assert [filler.communicate(timeout=30)[0] for filler in fillers] == ["hello\n"] * 3
    assert log.read_text() == "made\n"


def test_of_two_that_do_not_wait_one_stays(cache: Cache, told: list[str]) -> None:
    def slow(folder: Path) -> None:
        cache.put(key("a"), holding("first"), {})
        (folder / "data.txt").write_text("second")

    folder = cache.put(key("a"), slow, {})
    assert cache.get(key("a")) == folder and (folder / "data.txt").read_text() in ("first", "second")
    assert told == [] and [path.name for path in cache.root.iterdir()] == [key("a")]


def test_waiting_can_be_stopped(cache: Cache) -> None:
    def stop() -> None:
        raise Interrupted("stopped")

    with cache.filling(key("a")):
        with pytest.raises(Interrupted), cache.filling(key("a"), stop):
            pytest.fail("two inside")
        with cache.filling(key("b"), stop):
            pass
    with cache.filling(key("a"), stop):
        pass


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("text", "size"), [("4GB", 4 * 10**9), ("500 MB", 5 * 10**8), ("0", 0), ("1.5kb", 1500), ("12", 12), ("2tb", 2e12)]
)
def test_sizes(text: str, size: float) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "4GiB", "GB", "1e9"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(RecipeError, match="is not a size"):
        parse_size(text)


def test_settings_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEWISE_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("TUNEWISE_CACHE_LIMIT", "5MB")
    assert (default_cache().root, default_cache().limit) == (tmp_path / "here", 5_000_000)
    monkeypatch.delenv("TUNEWISE_CACHE_LIMIT")
    monkeypatch.setattr(module, "_free", lambda path: 10**12)
    assert default_cache().limit == module.DEFAULT_LIMIT
    monkeypatch.setattr(module, "_free", lambda path: 10**9)
    assert default_cache().limit == 10**8


def test_the_place_of_each_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNEWISE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_root() == tmp_path / ".cache" / "tunewise"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "tunewise"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_root() == tmp_path / "Library" / "Caches" / "tunewise"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_root() == tmp_path / "local" / "tunewise" / "cache"
