"""What the model really gets of some rows of train: tokens, special tokens, and the place where a text is cut."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from tunewise.audit.language_read import row_pieces, rows_read
from tunewise.audit.pieces import LOST_SHOWN, Piece
from tunewise.audit.texts_read import reader_of, reading_of
from tunewise.audit.view import View
from tunewise.config.reading import Chunks
from tunewise.data.cuts import BEGINNING, call, encode_cut


@dataclass(frozen=True)
class Rendered:
    """A row as the model gets it. `why` it was chosen; `label` in words; `tokens` are read, `lost` are not; `learnt`:
    how many a language model learns."""

    split: str
    row: int
    why: str
    label: str
    tokens: int
    lost: int
    pieces: tuple[Piece, ...]
    learnt: int | None = None


def _of_language(view: View) -> tuple[Rendered, ...]:
    """The first row of train, the longest, and another one that is cut, with what is learnt of each."""
    split, read = view.data.splits["train"], rows_read(view, "train")
    cut = [int(row) for row in read.lost.nonzero()[0]]
    return tuple(
        Rendered(
            split="train",
            row=int(split.rows[place]),
            why=why,
            label=view.label_of(split, place),
            tokens=len(read.kept_ids[place]),
            lost=int(read.lost[place]),
            pieces=tuple(row_pieces(view, "train", place)),
            learnt=int(read.kept_learnt[place].sum()),
        )
        for place, why in _chosen(int(read.whole.argmax()), cut).items()
    )


def rendered(view: View) -> tuple[Rendered, ...]:
    """The first row of train, the longest, and another one that is cut. Of texts that are read in windows, which follow
    from their tokens, the tokens are shown once."""
    if view.data.schema.is_language:
        return _of_language(view)
    if view.data.schema.image:  # a model gets all of an image: its tokens say nothing to people
        return ()
    split, reading = view.data.splits["train"], reading_of(view, "train")
    chosen = _chosen(int(reading.whole.argmax()), [int(row) for row in reading.tokens.cut_rows])
    return tuple(
        Rendered(
            split="train",
            row=int(split.rows[place]),
            why=why,
            label=view.label_of(split, place),
            tokens=int(reading.whole[place] - reading.lost[place]),
            lost=int(reading.lost[place]),
            pieces=tuple(_pieces(view, place)),
        )
        for place, why in chosen.items()
    )


def _chosen(longest: int, cut: Sequence[int]) -> dict[int, str]:
    """Which rows are shown, and why."""
    chosen = {0: "the first row"}
    chosen[longest] = "the longest row" if longest else "the first row, and the longest"
    if others := [row for row in cut if row not in chosen]:
        chosen[others[0]] = "the first that is cut" if 0 not in cut else "another that is cut"
    return chosen


def _pieces(view: View, place: int) -> Iterator[Piece]:
    """The tokens that are read, with those that are cut away where they would stand."""
    net, split = reader_of(view), view.data.splits["train"]
    texts = split.texts[place]
    whole = _owned(call(net.tokenizer, [texts], return_special_tokens_mask=True))
    lost = int(reading_of(view, "train").lost[place])
    read, kept = whole, "head" if isinstance(net.kept, Chunks) else net.kept
    if lost:
        mask = {} if kept == "both" else {"return_special_tokens_mask": True}  # which asks for it itself
        read = _owned(encode_cut([texts], net.tokenizer, len(whole) - lost, kept, **mask))
    tags = _tags(view, place)
    names, seen = net.tokenizer.convert_ids_to_tokens, {0: 0, 1: 0}
    left = Counter(owner for _, owner in read)
    cuts = {text: _cut(whole, read, text, kept) for text in (0, 1)}
    for number, (token, owner) in enumerate(read):
        if owner is None:
            yield Piece(names(token), "special")
            continue
        yield from _lost(cuts[owner], seen[owner], owner, names)
        seen[owner] += 1
        yield Piece(names(token), "text", owner, tags.get(number, ""))
        if seen[owner] == left[owner]:
            yield from _lost(cuts[owner], seen[owner], owner, names)
    for owner in (text for text in cuts if not left[text]):
        yield from _lost(cuts[owner], 0, owner, names)


def _owned(found: Any) -> list[tuple[int, int | None]]:
    """Each token of the only row with the text that it is of; None for special ones. A tokeniser that does not tell
    (it is not fast) has all of them in the first."""
    special = found["special_tokens_mask"][0]
    owners = found.sequence_ids(0) if found.is_fast else [None if mark else 0 for mark in special]
    return [
        (token, None if mark else owner)
        for token, mark, owner in zip(found["input_ids"][0], special, owners, strict=True)
    ]


def _cut(
    whole: Sequence[tuple[int, int | None]], read: Sequence[tuple[int, int | None]], text: int, kept: str
) -> tuple[int, list[int]]:
    """Before which of a text's tokens that are read others were cut away, and these."""
    all_of = [token for token, owner in whole if owner == text]
    left = [token for token, owner in read if owner == text]
    lost = len(all_of) - len(left)
    start = {"head": len(left), "tail": 0, "both": math.ceil(len(left) / BEGINNING)}[kept]
    return start, all_of[start : start + lost]


def _lost(cut: tuple[int, list[int]], at: int, owner: int, names: Any) -> Iterator[Piece]:
    start, tokens = cut
    if at != start or not tokens:
        return
    yield from (Piece(names(token), "lost", owner) for token in tokens[:LOST_SHOWN])
    if len(tokens) > LOST_SHOWN:
        yield Piece(f"{len(tokens) - LOST_SHOWN:,} more tokens lost", "more", owner)


def _tags(view: View, place: int) -> dict[int, str]:
    """The tag of each word at the place of its first token, where the task is entities."""
    if view.task != "token_classification":
        return {}
    places, labels = reading_of(view, "train").tokens.words[place], view.data.schema.labels
    tags = view.data.splits["train"].targets[place][: len(places)]
    return {int(at): labels[int(tag)] for at, tag in zip(places, tags, strict=True) if at >= 0 and tag >= 0}


def folded(pieces: Sequence[Piece], most: int) -> list[Piece]:
    """The pieces with long runs of one text's tokens shortened to about `most`; how many are left out stands there."""
    shown: list[Piece] = []
    for (part, of), run in groupby(pieces, key=lambda piece: (piece.part, piece.of)):
        run = list(run)
        if part in ("text", "learnt") and len(run) > most + most // 3:
            first, last = 2 * most // 3, most // 3
            more = Piece(f"{len(run) - first - last:,} more tokens", "more", of)
            run = [*run[:first], more, *run[-last:]]
        shown += run
    return shown
