"""A sha256 inside a text over the rest of it, so that a changed bit or a lost end does not pass for data."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from tunewise.errors import CorruptError

_RESTORE = "restore the file from a copy, or run again"
_PAGE_SEAL = re.compile(rb"<!-- sha256 (?P<digest>[0-9a-f]{64}) -->\n")


def sealed(body: dict[str, Any]) -> str:
    """The JSON text of `body` with a sha256 over its content."""
    plain = json.loads(json.dumps(body, allow_nan=False))
    return json.dumps({**plain, "sha256": _digest(plain)}, indent=1) + "\n"


def unsealed(raw: bytes, path: Path) -> dict[str, Any]:
    """The content of a text made by `sealed`; `path` is named in errors.

    Raises:
        CorruptError: it is not JSON, or not what was sealed.
    """
    try:
        body = json.loads(raw.decode())
    except (ValueError, RecursionError) as exc:
        what = f"{path.name} is not the JSON that was written: {exc}"
        raise CorruptError(what, where=str(path), fix=_RESTORE) from None
    seal = body.pop("sha256", None) if isinstance(body, dict) else None
    if seal is None:
        raise _without_seal(path)
    if seal != _digest(body):
        raise _changed(path)
    return body


def sealed_page(page: str) -> str:
    """An HTML page with a comment at its end that holds the sha256 of all before it."""
    page = page.rstrip("\n") + "\n"
    return f"{page}<!-- sha256 {hashlib.sha256(page.encode()).hexdigest()} -->\n"


def check_page(raw: bytes, path: Path) -> None:
    """Checks a page made by `sealed_page`.

    Raises:
        CorruptError: it is not what was sealed.
    """
    start = raw.rfind(b"<!-- sha256 ")
    seal = _PAGE_SEAL.fullmatch(raw[start:]) if start >= 0 else None
    if seal is None:
        raise _without_seal(path)
    if seal["digest"].decode() != hashlib.sha256(raw[:start]).hexdigest():
        raise _changed(path)


def _without_seal(path: Path) -> CorruptError:
    return CorruptError(
        f"{path.name} has no sha256 over its content: an earlier version of tunewise wrote it, or it was damaged",
        where=str(path),
        fix=_RESTORE,
    )


def _changed(path: Path) -> CorruptError:
    return CorruptError(
        f"{path.name} was changed or damaged after it was written: its content does not match its sha256",
        where=str(path),
        fix=_RESTORE,
    )


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
