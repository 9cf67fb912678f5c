"""Texts that are longer than the model reads: which of them training would cut, and by how much."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tunewise.audit.finding import Finding
from tunewise.audit.found import found_in_rows
from tunewise.audit.language_read import rows_read
from tunewise.audit.texts_read import TextsRead, model_limit, reader_of, reading_of
from tunewise.audit.view import View
from tunewise.config.reading import Chunks, kept_word
from tunewise.types import Split

WHERE = {"head": "at their ends", "tail": "at their beginnings", "both": "in their middles", "chunks": "at their ends"}


def find(view: View) -> Iterator[Finding]:
    """The rows that are cut at `train.max_length` or at the model's limit, the smaller of the two; pairs as one row.
    Exactly those that gradient methods cut; `features` embeds the texts of a pair each by itself, and cuts fewer."""
    for number, (name, split) in enumerate(view.data.splits.items()):
        if view.data.schema.is_language:
            yield from _of_language(view, split)
            view.progress((number + 1) / len(view.data.splits))
            continue
        reading = reading_of(view, name)
        view.progress((number + 1) / len(view.data.splits))
        if reading.tokens.cut:
            yield _finding(view, split, reading)


def _of_language(view: View, split: Split) -> Iterator[Finding]:
    """Prompts lose their beginnings, answers and texts their ends."""
    net, read = reader_of(view), rows_read(view, split.name)
    lost = read.lost
    if not lost.any():
        return
    rows = np.flatnonzero(lost)
    answers = sum(int(row.sum()) for row in read.kept_learnt)
    notes = {
        int(row): f"{read.whole[row]:,} tokens, of which {lost[row]:,} are lost"
        for row in rows[np.argsort(-lost[rows], kind="stable")]
    }
    limit, most = net.max_length, model_limit(view)
    yield found_in_rows(
        "truncation",
        split,
        notes,
        what=f"{len(rows):,} of {len(split):,} rows are longer than {limit:,} tokens and will be cut, prompts at their "
        f"beginnings, answers and texts at their ends: {lost.sum():,} tokens are lost, {read.answer.sum() - answers:,} "
        "of them to be learnt",
        fix=f"raise train.max_length: the model reads up to {most:,} tokens" if limit < most else "shorten these rows",
        details={
            "limit": limit,
            "tokens_lost": int(lost.sum()),
            "answer_tokens_lost": int(read.answer.sum() - answers),
            "median_lost": float(np.median(lost[rows])),
            "most_lost": int(lost.max()),
        },
    )


def _finding(view: View, split: Split, reading: TextsRead) -> Finding:
    net, rows = reader_of(view), reading.tokens.cut_rows
    lost = reading.lost[rows]
    order = np.argsort(-lost, kind="stable")
    notes = {
        int(rows[place]): f"{reading.whole[rows[place]]:,} tokens, of which {lost[place]:,} are lost" for place in order
    }
    words, word = reading.tokens.cut_words, kept_word(net.kept)
    windows = f"{net.kept.most} windows of " if isinstance(net.kept, Chunks) else ""
    room = f"{windows}{net.max_length:,} tokens"
    without = f"; {words:,} words have no token left, and are taken for O" if words else ""
    fix = (
        "raise train.max_chunks"
        if windows
        else _fix(net.max_length, model_limit(view), view.task == "token_classification" or word != "head")
    )
    return found_in_rows(
        "truncation",
        split,
        notes,
        what=f"{len(rows):,} of {len(split):,} rows are longer than {room} and will be cut "
        f"{WHERE[word]}: {lost.sum():,} tokens are lost, {np.median(lost):g} of a row in the median{without}",
        fix=fix,
        details={
            "limit": net.max_length,
            "kept": word,
            "tokens_lost": int(lost.sum()),
            "median_lost": float(np.median(lost)),
            "most_lost": int(lost.max()),
            "words_without_token": words,
        },
    )


def _fix(limit: int, most: int, only_rows: bool) -> str:
    """What to do; `only_rows`: train.cut is set already, or cannot be."""
    longer = f"raise train.max_length: the model reads up to {most:,} tokens" if limit < most else ""
    keep = "let train.cut keep their ends, or both ends (docs/long-texts.md)"
    cut = "cut these texts into several rows" if only_rows else keep
    return "; or ".join(part for part in (longer, cut) if part)
