"""Texts as a net reads them: by rows, or word by word; much text once, for all runs that read it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tunewise.commit import read_manifest
from tunewise.config.reading import Chunks, Reading
from tunewise.data.rewarded import encode_rewarded
from tunewise.data.token_files import bytes_on_disk, read_tokens, tokens_key, write_tokens
from tunewise.data.tokenise import Tokens, tokenise
from tunewise.engine.kept import Context
from tunewise.engine.pixels import encode_pictures
from tunewise.errors import StoreError
from tunewise.models.freed_memory import give_freed_memory_back
from tunewise.models.load import Net

# Some 2,000 short messages: 126 ms to encode by MiniLM's tokeniser, 20 ms to find and map, once 50 ms to keep. 50,000
# take 5 s, 30 ms and 50 ms.
KEPT_LETTERS = 100_000
_THREADS = "RAYON_NUM_THREADS"


def encode(texts: Sequence[tuple[str, ...]], net: Net, context: Context | None = None) -> Any:
    """The tokens of texts, at most `net.max_length` each, cut or in windows as `net.kept` says; with the places of
    words where the net answers for words. Of a reward model, rows are a prompt and an answer. Of images, `Pixels`.

    Args:
        context: how to read what another run has kept, and to keep what is made; None where nothing is kept. Texts of
            less than 100,000 letters are encoded anew: that is about as quick.
    """
    if net.processor is not None:
        return encode_pictures(texts, net, context)
    if net.judges is not None:
        return encode_rewarded(texts, net.judges, net.tokenizer, net.max_length)
    if context is None or sum(len(text) for row in texts for text in row) < KEPT_LETTERS:
        return _tokenise(texts, net)
    begun, made = time.perf_counter(), []

    def keep() -> Path | None:
        start = time.perf_counter()
        made.append(_tokenise(texts, net))
        about = {
            "kind": "tokens",
            "what": f"at most {net.max_length} a row{_told(net.kept)}",
            "model": net.located.name,
            "data": context.data,
            "rows": len(texts),
            "seconds": time.perf_counter() - start,
        }
        (tokens,) = made
        return context.store.put(key, lambda folder: write_tokens(folder, tokens), about, size=bytes_on_disk(tokens))

    key = tokens_key(texts, net.tokenizer, net.max_length, net.by_word, net.kept)
    folder, _ = context.find_or_make(key, keep)
    if folder is None:
        return made[0]
    try:
        tokens = read_tokens(folder)
        spared = 0.0 if made else read_manifest(folder)["about"]["seconds"] - (time.perf_counter() - begun)
        return replace(tokens, elsewhere_seconds=max(0.0, spared))
    except (OSError, StoreError):  # it had to make room in the moment since
        return made[0] if made else _tokenise(texts, net)


def _told(kept: Reading) -> str:
    if isinstance(kept, Chunks):
        return f", chunks of stride {kept.stride}, {kept.most} at most"
    return "" if kept == "head" else f", {kept}"


def _tokenise(texts: Sequence[tuple[str, ...]], net: Net) -> Tokens:
    with _as_many_threads_as_torch():
        tokens = tokenise(texts, net.tokenizer, net.max_length, by_word=net.by_word, kept=net.kept)
    give_freed_memory_back()  # of a million rows 160 MB
    return tokens


@contextmanager
def _as_many_threads_as_torch() -> Iterator[None]:
    """Fast tokenisers start threads of their own at their first use in a process, one for each core, unless told; runs
    side by side have fewer cores each."""
    told = _THREADS in os.environ
    if not told:
        os.environ[_THREADS] = str(torch.get_num_threads())
    try:
        yield
    finally:
        if not told:
            del os.environ[_THREADS]
