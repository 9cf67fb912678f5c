"""Tokens as files that are read where they lie: any number of rows costs no memory but that of the pages in use."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import numpy as np

from tunewise.commit.arrays import write_array
from tunewise.commit.files import explained
from tunewise.config.reading import Chunks, Reading
from tunewise.data.ragged import Ragged
from tunewise.data.tokenise import Tokens
from tunewise.data.windows import Windows

_NUMBERS, _CUT_ROWS, _WINDOWS = "tokens.json", "cut_rows.npy", "windows.npy"
_TEXTS_AT_ONCE = 10_000


def tokens_key(
    texts: Sequence[tuple[str, ...]], tokenizer: Any, max_length: int, by_word: bool, kept: Reading = "head"
) -> str:
    """sha256 of everything that decides what `tokenise` gives."""
    digest = hashlib.sha256()
    versions = [importlib.metadata.version(package) for package in ("transformers", "tokenizers")]
    how = [kept.stride, kept.most] if isinstance(kept, Chunks) else kept
    digest.update(json.dumps(["tokens", max_length, by_word, how, type(tokenizer).__qualname__, *versions]).encode())
    for name, content in _files(tokenizer).items():
        digest.update(json.dumps([name, len(content)]).encode() + content)
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        digest.update(json.dumps(texts[start : start + _TEXTS_AT_ONCE]).encode())
    return digest.hexdigest()


def _files(tokenizer: Any) -> dict[str, bytes]:
    """What a tokeniser is, as it saves itself (MiniLM's: 5 ms)."""
    tokenizer("")  # a fast one saves how the last call was to cut: as the next begins anew, so does this
    with explained("write the tokeniser to", Path(gettempdir())), TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.is_file()}


def write_tokens(folder: Path, tokens: Tokens) -> None:
    """The files of `tokens`, into a folder that is there."""
    numbers = {"pad": tokens.pad, "cut": tokens.cut, "lost": tokens.lost, "opens": tokens.opens}
    (folder / _NUMBERS).write_text(json.dumps(numbers), encoding="utf-8")
    write_array(folder / _CUT_ROWS, tokens.cut_rows)
    if tokens.windows is not None:
        write_array(folder / _WINDOWS, tokens.windows.starts)
    for name in ("ids", "kinds", "words"):
        rows = getattr(tokens, name)
        if rows is not None:
            write_array(folder / f"{name}.npy", rows.flat)
            write_array(folder / f"{name}-offsets.npy", rows.offsets)


def read_tokens(folder: Path) -> Tokens:
    """The tokens in a folder, mapped into memory.

    Raises:
        OSError: the files are not there any more.
    """
    numbers = json.loads((folder / _NUMBERS).read_text(encoding="utf-8"))
    parts = {name: _rows(folder, name) for name in ("ids", "kinds", "words")}
    windows = None
    if (folder / _WINDOWS).exists():
        windows = Windows(np.load(folder / _WINDOWS, allow_pickle=False))
    return Tokens(**parts, **numbers, windows=windows, cut_rows=np.load(folder / _CUT_ROWS, allow_pickle=False))


def _rows(folder: Path, name: str) -> Ragged | None:
    if not (folder / f"{name}.npy").exists():
        return None
    flat, offsets = (np.load(folder / f"{name}{part}.npy", "r", allow_pickle=False) for part in ("", "-offsets"))
    return Ragged(flat, offsets)


def bytes_on_disk(tokens: Tokens) -> int:
    """What the files of `tokens` take, about."""
    parts = (rows for rows in (tokens.ids, tokens.kinds, tokens.words) if rows is not None)
    starts = 0 if tokens.windows is None else tokens.windows.starts.nbytes
    return 1000 + tokens.cut_rows.nbytes + starts + sum(rows.flat.nbytes + rows.offsets.nbytes for rows in parts)
