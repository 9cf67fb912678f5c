"""How a language model will read the rows: the tokens of prompts and of answers, before and after they are cut; and the
same rows as plain text, which is what checks on texts look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewise.audit.texts_read import ANY_LENGTH, reader_of
from tunewise.audit.view import View
from tunewise.data.messages import ASSISTANT, from_text, joined_text
from tunewise.types import DataBundle, Split

if TYPE_CHECKING:
    from tunewise.audit.rendered import Piece
    from tunewise.data.ragged import Ragged


@dataclass(frozen=True, eq=False)
class RowsRead:
    """The tokens of a split. `ids`, `learnt`: before rows are cut; `kept_ids`, `kept_learnt`: after it. int64 (n,):
    `prompt` and `answer` tokens before it, `lost` ones, `turns` (answers of a row). Of preference pairs they are those
    of the chosen answer; of an encoder with a decoder, of both texts behind each other."""

    ids: tuple[np.ndarray, ...]
    learnt: tuple[np.ndarray, ...]
    kept_ids: tuple[np.ndarray, ...]
    kept_learnt: tuple[np.ndarray, ...]
    turns: np.ndarray

    @property
    def whole(self) -> np.ndarray:
        return np.array([len(row) for row in self.ids], np.int64)

    @property
    def lost(self) -> np.ndarray:
        return self.whole - np.array([len(row) for row in self.kept_ids], np.int64)

    @property
    def answer(self) -> np.ndarray:
        return np.array([int(row.sum()) for row in self.learnt], np.int64)

    @property
    def prompt(self) -> np.ndarray:
        return self.whole - self.answer


def as_read_by_people(data: DataBundle) -> DataBundle:
    """The same rows with messages as plain text, a line break between them."""
    if data.schema.form != "chat":
        return data
    return replace(data, splits={name: _plain(split) for name, split in data.splits.items()})


def _plain(split: Split) -> Split:
    return replace(
        split, texts=tuple(tuple(joined_text(from_text(text).messages) for text in row) for row in split.texts)
    )


def rows_read(view: View, name: str) -> RowsRead:
    """A split, encoded once for all checks by the functions that training calls."""
    key = ("rows", name)
    if key not in view.memory:
        split, net = view.written.splits[name], reader_of(view)
        whole, cut = _encoded(view, split, ANY_LENGTH), _encoded(view, split, net.max_length)
        view.memory[key] = RowsRead(*whole, *cut, _turns(split, view))
    return view.memory[key]


def _encoded(view: View, split: Split, room: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """The tokens of each row, and which of them are to be learnt."""
    from tunewise.data.conversations import encode_answers, encode_pairs, encode_prompts, encode_split

    net, schema = reader_of(view), view.data.schema
    both = net.model.config.is_encoder_decoder
    read: Any = (split, schema, net.tokenizer, room)
    if schema.task == "prompts":
        ids = encode_prompts(*read, both).ids
        return tuple(ids), tuple(np.zeros(len(row), np.int8) for row in ids)
    if schema.task == "generation":
        found = encode_split(*read, False, both)
    else:
        found = encode_pairs(*read, both)[0] if schema.task == "preference" else encode_answers(*read, both)
    if found.sources is None:
        return tuple(found.ids), tuple(found.learnt)
    return _behind(found.sources, found.ids), _behind(_none_of(found.sources), found.learnt)


def _behind(first: Any, second: Any) -> tuple[np.ndarray, ...]:
    return tuple(np.concatenate(both) for both in zip(first, second, strict=True))


def _none_of(rows: Ragged) -> list[np.ndarray]:
    return [np.zeros(len(row), np.int8) for row in rows]


def _turns(split: Split, view: View) -> np.ndarray:
    if view.data.schema.form != "chat" or view.task != "generation":
        return np.full(len(split), int(view.task != "prompts"), np.int64)
    said = [from_text(row[0]).messages for row in split.texts]
    return np.array([sum(message["role"] == ASSISTANT for message in messages) for messages in said], np.int64)


def row_pieces(view: View, name: str, place: int) -> Iterator[Piece]:
    """The tokens of a row, those to learn marked, with those that are cut away where they would stand."""
    from tunewise.audit.rendered import LOST_SHOWN, Piece

    read, tokenizer = rows_read(view, name), reader_of(view).tokenizer
    special, names = set(tokenizer.all_special_ids), tokenizer.convert_ids_to_tokens
    kept, learnt = read.kept_ids[place].tolist(), read.kept_learnt[place].tolist()
    gone = _gone(read, place)
    for at, token in enumerate([*kept, None]):
        cut = gone.get(at, [])
        yield from (Piece(names(lost), "lost", 0) for lost in cut[:LOST_SHOWN])
        if len(cut) > LOST_SHOWN:
            yield Piece(f"{len(cut) - LOST_SHOWN:,} more tokens lost", "more", 0)
        if token is not None:
            part = "learnt" if learnt[at] else "special" if token in special else "text"
            yield Piece(names(token), part, None if part == "special" else 0)


def _gone(read: RowsRead, place: int) -> dict[int, list[int]]:
    """The tokens that were cut away, by the place of the token that is kept behind them: of the prompt at its beginning
    (behind what opens it), of the rest at its end."""
    whole, kept = read.ids[place].tolist(), read.kept_ids[place].tolist()
    given, left = _given(read.learnt[place]), _given(read.kept_learnt[place])
    same = next((at for at in range(left) if whole[at] != kept[at]), left)
    behind = whole[given + len(kept) - left :]
    found = {same: whole[same : same + given - left], len(kept): behind}
    return {at: tokens for at, tokens in found.items() if tokens}


def _given(learnt: np.ndarray) -> int:
    """How many tokens stand before the first to learn; all, where none is."""
    return int(learnt.argmax()) if learnt.any() else len(learnt)
