"""A store of what can be computed again: content-addressed, size-capped, shared by all processes of a user.

An entry is a committed folder named by its key, a sha256 of everything that decides the content. What was used least
recently goes when room is needed; a reader that has an entry's files open keeps them. Nothing that goes wrong here
fails a run: what cannot be kept is computed again, and a warning says why.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunewise.commit.files import discard
from tunewise.commit.folder import MANIFEST, commit_folder, read_manifest, remove, verify
from tunewise.commit.leftovers import discard_abandoned, leftovers
from tunewise.commit.lock import turn
from tunewise.errors import CorruptError, RecipeError, StoreError, TunewiseWarning

DEFAULT_LIMIT = 4_000_000_000
SHARE_OF_DISK = 0.1
MARGIN = 256_000_000  # stays free for checkpoints and models
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_LOCKS = "locks"
_KEY = re.compile(r"[0-9a-f]{64}")
_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[KMGT]?B|)", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """What is kept under a key: bytes on disk, time of the last use (seconds since 1970), what its maker says of it."""

    key: str
    bytes: int
    used: float
    about: dict[str, Any]


def _warn(message: str) -> None:
    warnings.warn(message, TunewiseWarning, stacklevel=3)


@dataclass(frozen=True)
class Cache:
    """Entries of at most `limit` bytes in all below `root`; with a limit of 0 it keeps nothing and finds nothing.

    Args:
        warn: is told of damaged entries and of what could not be kept.
    """

    root: Path
    limit: int
    warn: Callable[[str], None] = _warn
    # Bytes of entries by key and time of the last change in the folder: reading a manifest takes 60 µs, a look 2 µs.
    _sizes: dict[tuple[str, int], int] = field(default_factory=dict, repr=False, compare=False)

    def get(self, key: str) -> Path | None:
        """The folder of an entry, every byte of it verified now, or None. Open its files at once: an entry may go at
        any time, and open files stay. A damaged entry is removed, with a warning."""
        folder = self._folder(key)
        if not self.limit or not folder.is_dir():
            return None
        try:
            verify(folder)
        except CorruptError as problem:
            if folder.is_dir():  # else another process has made room meanwhile
                self.warn(f"an entry of the cache is damaged and is made again: {problem.what} ({problem.where})")
                self._drop(key)
            return None
        except StoreError as problem:
            if folder.is_dir():
                self.warn(f"an entry of the cache is not used: {problem.what}")
            return None
        try:
            os.utime(folder / MANIFEST)
        except FileNotFoundError:  # another process has made room meanwhile
            return None
        except OSError:  # a cache that this process may not change is read all the same
            pass
        return folder

    def put(
        self, key: str, write: Callable[[Path], None], about: dict[str, Any], size: int | None = None
    ) -> Path | None:
        """Keeps what `write` puts into the folder it is given; returns the entry's folder, or None where it was not
        kept: it does not fit, or cannot be written. Where another process has made it meanwhile, one of both stays.

        Args:
            about: plain JSON data for whoever looks at the entries.
            size: bytes that `write` will need, where known: then room is made first.
        """
        present = self._present()
        if (size or 0) > self._room(present):
            return None
        self._sweep()
        self._make_room(size or 0, present)
        try:
            commit_folder(self._folder(key), write, about, size=size)
        except StoreError as problem:
            if found := self.get(key):
                return found
            self.warn(f"the cache could not keep an entry: {problem.what}")
            return None
        self._make_room(0, self._present(), keep=key)
        return self._folder(key) if self._folder(key).is_dir() else None

    @contextmanager
    def filling(self, key: str, wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Inside, no other process makes the same entry: look again first, it may be there now.

        Args:
            wait: is called while another process makes it, and may raise.
        """
        if not self.limit:
            yield
            return
        with turn(self.root / _LOCKS / self._folder(key).name, wait):
            yield

    def entries(self) -> list[Entry]:
        """Everything that is kept, least recently used first."""
        found = []
        for folder in self._children():
            if _KEY.fullmatch(folder.name):
                with suppress(StoreError, OSError):
                    used, manifest = (folder / MANIFEST).stat().st_mtime, read_manifest(folder)
                    size = sum(entry["size"] for entry in manifest["files"].values())
                    found.append(Entry(folder.name, size, used, manifest["about"]))
        return sorted(found, key=lambda entry: (entry.used, entry.key))

    def clear(self) -> int:
        """Removes all entries, and what killed processes have left; returns how many entries there were."""
        keys = [folder.name for folder in self._children() if _KEY.fullmatch(folder.name)]
        for key in keys:
            self._drop(key)
        self._sweep()
        return len(keys)

    def used(self) -> int:
        """Bytes of all entries."""
        return sum(self._present().values())

    def room(self) -> int:
        """Bytes that one entry may take now, if all others gave way."""
        return self._room(self._present())

    def _room(self, present: dict[str, int]) -> int:
        if not self.limit:
            return 0
        return max(0, min(self.limit, _free(self.root) + sum(present.values()) - MARGIN))

    def _make_room(self, size: int, present: dict[str, int], keep: str | None = None) -> None:
        """Removes entries, least recently used first, until so many bytes more are within the limit and on the disk;
        at last the one to keep, where it is larger than that alone."""
        excess = sum(present.values()) + size - self.limit
        excess = max(excess, size + MARGIN - _free(self.root) if size else 0)
        if excess <= 0:
            return
        for key in sorted(present, key=lambda key: (key == keep, _used(self.root / key), key)):
            if excess <= 0:
                return
            self._drop(key)
            excess -= present[key]

    def _present(self) -> dict[str, int]:
        """Bytes by key of all that is there now. Of 1,000 entries known from before this takes 4 ms."""
        with suppress(OSError), os.scandir(self.root) as found:
            names = [(entry.name, entry.stat().st_mtime_ns) for entry in found if _KEY.fullmatch(entry.name)]
            for name in set(names) - self._sizes.keys():
                self._sizes[name] = _bytes_of(self.root / name[0])
            return {key: self._sizes[key, made] for key, made in names}
        return {}

    def _drop(self, key: str) -> None:
        with suppress(StoreError):  # another process was quicker
            remove(self._folder(key))
        discard(self.root / _LOCKS / key)

    def _sweep(self) -> None:
        discard_abandoned(leftovers(self.root))

    def _children(self) -> list[Path]:
        try:
            return list(self.root.iterdir())
        except OSError:
            return []

    def _folder(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"a key is a sha256 in hexadecimal, not {key!r}")
        return self.root / key


def default_cache(warn: Callable[[str], None] = _warn) -> Cache:
    """The user's cache: in `cache_root()`, of TUNEWISE_CACHE_LIMIT (such as 500MB; 0 switches it off), or 4 GB, but
    then at most a tenth of the disk's free space.

    Raises:
        RecipeError: TUNEWISE_CACHE_LIMIT is not a size.
    """
    root, told = cache_root(), os.environ.get("TUNEWISE_CACHE_LIMIT", "")
    if told.strip():
        return Cache(root, parse_size(told), warn)
    cache = Cache(root, 0, warn)
    return replace(cache, limit=min(DEFAULT_LIMIT, int(SHARE_OF_DISK * (_free(root) + cache.used()))))


def cache_root() -> Path:
    """Where everything is that tunewise keeps for later runs: TUNEWISE_CACHE, or the system's place for caches."""
    if told := os.environ.get("TUNEWISE_CACHE"):
        return Path(told).expanduser().absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "tunewise" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tunewise"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tunewise"


def parse_size(text: str) -> int:
    """Bytes of a size such as 4GB, 500 MB or 0.

    Raises:
        RecipeError: it is not one.
    """
    told = _SIZE.fullmatch(text.strip())
    if told is None:
        raise RecipeError(
            f"'{text}' is not a size", where="TUNEWISE_CACHE_LIMIT", fix="write it as 4GB, 500MB, or 0 for no cache"
        )
    return int(float(told["number"]) * UNITS[told["unit"].upper()])


def _free(path: Path) -> int:
    """Free bytes on the disk of a folder that may not be there yet; 0 where that cannot be told."""
    there = next((folder for folder in (path, *path.parents) if folder.exists()), path)
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return 0


def _used(folder: Path) -> float:
    """When an entry was last used; 0 where that cannot be told, so that a broken one goes first."""
    try:
        return (folder / MANIFEST).stat().st_mtime
    except OSError:
        return 0.0


def _bytes_of(folder: Path) -> int:
    """What an entry takes: by its manifest, or where that is damaged, by its files."""
    try:
        return sum(file["size"] for file in read_manifest(folder)["files"].values())
    except StoreError:
        with suppress(OSError):
            return sum(path.lstat().st_size for path in folder.rglob("*"))
        return 0
