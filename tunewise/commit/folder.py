"""One folder: staged in a sibling, listed in a manifest, renamed into place, and checked when it is read."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import uuid4

from tunewise.commit.files import (
    discard,
    explained,
    make_folder,
    sync_folder,
    temporary_sibling,
    write_new,
)
from tunewise.commit.seal import sealed, unsealed
from tunewise.errors import CorruptError, StoreError

MANIFEST = "manifest.json"
FORMAT = 1
_RESTORE = "restore the folder from a copy, or use an older one"
TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{32}")
ASIDE = re.compile(r"\.old-[0-9a-f]{32}-(?P<name>.+)")


def commit_folder(
    target: Path,
    write: Callable[[Path], None],
    about: dict[str, Any],
    *,
    replace: bool = False,
    size: int | None = None,
) -> dict[str, Any]:
    """Makes the folder `target` out of the files that `write` puts into the folder it is given; returns the manifest.

    Args:
        about: what the manifest says of the content, as plain JSON data.
        replace: whether a folder that is there gives way; it is deleted after the new one verifies.
        size: bytes that `write` will need, where known: named when the disk is full.

    Raises:
        StoreError: it was not saved for good; the version before, or the new one, is there whole. An error that
            `write` raises passes through, unless the system caused it.
    """
    target = Path(target)
    staging = temporary_sibling(target)
    try:
        with explained("save", target, lambda: max(size or 0, _weight(staging))):
            if os.path.lexists(target) and not replace:
                raise StoreError(
                    f"{target.name} is already there, and saving does not write over it",
                    where=str(target),
                    fix="choose another folder, or move this one away",
                )
            make_folder(target.parent)
            os.mkdir(staging)
            write(staging)
            manifest = _seal(staging, about)
            if os.path.lexists(target):
                _exchange(staging, target)
            else:
                os.rename(staging, target)
                sync_folder(target.parent)
            return manifest
    except BaseException:
        discard(staging)
        raise


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, checked in itself: `{"format", "about", "files": {name: {"sha256", "size"}}}`.

    Raises:
        CorruptError: it is missing or damaged, or names a file outside the folder.
        StoreError: it cannot be read, or was made by a newer tunewise.
    """
    path = Path(folder) / MANIFEST
    with explained("read", path):
        if not path.is_file() or path.is_symlink():
            raise CorruptError(f"there is no {MANIFEST}: the folder is not complete", where=str(folder), fix=_RESTORE)
        manifest = unsealed(path.read_bytes(), path)
    if not isinstance(manifest.get("format"), int) or not isinstance(manifest.get("files"), dict):
        raise CorruptError(f"{MANIFEST} does not say what files there are", where=str(path), fix=_RESTORE)
    if manifest["format"] > FORMAT:
        raise StoreError(
            f"this folder has format {manifest['format']}, and this tunewise reads up to {FORMAT}",
            where=str(folder),
            fix="update tunewise",
        )
    for name in manifest["files"]:
        if not _is_inside(name):
            raise CorruptError(f"{MANIFEST} names a file outside its folder: '{name}'", where=str(path), fix=_RESTORE)
    return manifest


def verify(folder: Path, editable: Collection[str] = ()) -> dict[str, Any]:
    """Reads every file of a committed folder and compares it with the manifest, which is returned.

    Args:
        editable: files that people may have changed, added or removed since.

    Raises:
        CorruptError: a file is missing, extra, or not what was written; it is named.
        StoreError: a file cannot be read.
    """
    manifest = read_manifest(folder)
    for problem in _differences(Path(folder), manifest, editable):
        raise problem
    return manifest


def damages(folder: Path, editable: Collection[str] = ()) -> list[StoreError]:
    """Everything for which `verify` would raise an error, file by file; empty where a folder is as it was written."""
    try:
        return list(_differences(Path(folder), read_manifest(folder), editable))
    except StoreError as problem:
        return [problem]


def _differences(folder: Path, manifest: dict[str, Any], editable: Collection[str]) -> Iterator[StoreError]:
    listed = manifest["files"]
    with explained("read", folder):
        found = _files(folder)
    found = {name: path for name, path in found.items() if name != MANIFEST and name not in editable}
    for name in sorted(listed.keys() - found.keys() - set(editable)):
        yield CorruptError(f"a file is missing: {name}", where=str(folder / name), fix=_RESTORE)
    for name in sorted(found.keys() - listed.keys()):
        yield CorruptError(
            f"there is a file that was not saved with the rest: {name}",
            where=str(found[name]),
            fix="move it out of the folder",
        )
    for name in sorted(found.keys() & listed.keys()):
        try:
            with explained("read", found[name]):
                same = _describe(found[name], sync=False) == listed[name]
        except StoreError as problem:
            yield problem
            continue
        if not same:
            yield CorruptError(f"{name} is not what was written (sha256 differs)", where=str(found[name]), fix=_RESTORE)


def sweep(parent: Path) -> list[str]:
    """Clears what a killed process left in `parent`, and says what it did; call it only as the folder's owner.

    Staged files are removed. A folder that was moved aside for a new one is put back where the new one never came,
    and removed where the new one verifies.
    """
    done = []
    with explained("clear", Path(parent)):
        for path in sorted(Path(parent).iterdir()):
            if TEMPORARY.fullmatch(path.name):
                discard(path)
                done.append(f"removed {path.name}, left by a run that was killed while saving")
            elif aside := ASIDE.fullmatch(path.name):
                done.append(_settle(path, path.with_name(aside["name"])))
    return done


def remove(folder: Path) -> None:
    """Deletes a folder so that, killed at any point, it is there whole or not there for any reader."""
    doomed = temporary_sibling(folder)
    with explained("delete", folder):
        os.rename(folder, doomed)
        shutil.rmtree(doomed)


def _seal(staging: Path, about: dict[str, Any]) -> dict[str, Any]:
    found = _files(staging)
    if MANIFEST in found:
        raise ValueError(f"{MANIFEST} is written by commit_folder and cannot be one of the files")
    manifest = {
        "format": FORMAT,
        "about": about,
        "files": {name: _describe(path, sync=True) for name, path in found.items()},
    }
    for folder in (staging, *(path for path in staging.rglob("*") if path.is_dir())):
        sync_folder(folder)
    write_new(staging / MANIFEST, sealed(manifest).encode())
    sync_folder(staging)
    return manifest


def _exchange(staging: Path, target: Path) -> None:
    aside = target.with_name(f".old-{uuid4().hex}-{target.name}")
    os.rename(target, aside)
    try:
        os.rename(staging, target)
        sync_folder(target.parent)
        verify(target)
    except BaseException:
        if os.path.lexists(target):
            os.rename(target, staging)
        os.rename(aside, target)
        raise
    with explained("delete", aside):
        shutil.rmtree(aside)


def _settle(aside: Path, target: Path) -> str:
    if not os.path.lexists(target):
        os.rename(aside, target)
        sync_folder(target.parent)
        return f"put {target.name} back, which a run that was killed had moved aside"
    try:
        verify(target)
    except StoreError as exc:
        return f"kept the earlier {target.name} as {aside.name}, since the present one does not verify: {exc.what}"
    shutil.rmtree(aside)
    return f"removed {aside.name}, the version before the present {target.name}"


def _files(folder: Path) -> dict[str, Path]:
    """Every file by its path inside the folder with `/`, sorted; only ordinary files and folders are accepted."""
    found = {}
    for root, folders, names in os.walk(folder, onerror=_raise):
        for name in (*folders, *names):
            path = Path(root, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode):
                found[path.relative_to(folder).as_posix()] = path
            elif not stat.S_ISDIR(mode):
                raise CorruptError(f"{name} is a link or a device, not an ordinary file", where=str(path), fix=_RESTORE)
    return dict(sorted(found.items()))


def _raise(error: OSError) -> None:
    raise error


def _describe(path: Path, *, sync: bool) -> dict[str, Any]:
    with open(path, "r+b" if sync and os.name == "nt" else "rb") as file:  # Windows syncs only what can be written
        if sync:
            os.fsync(file.fileno())
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": os.fstat(file.fileno()).st_size}


def _weight(folder: Path) -> int:
    """Bytes staged so far."""
    return sum(path.lstat().st_size for path in folder.rglob("*")) if folder.is_dir() else 0


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name)
    return bool(name) and not parts.is_absolute() and ".." not in parts.parts and not PureWindowsPath(name).anchor
