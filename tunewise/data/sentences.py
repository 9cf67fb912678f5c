"""Columns of words and of their tags: which they are, and what they hold.

A row's words become one text with a space between each; that is where they are parted again. A space inside a word is
made a no-break space, so nothing is lost by it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tunewise.data.labels import is_missing
from tunewise.data.table import Table, as_text, kind, row_list, short
from tunewise.data.tags import (
    OUTSIDE,
    Tags,
    has_ends,
    is_plain,
    needless_beginnings,
    with_beginnings,
    without_ends,
)
from tunewise.errors import DataError
from tunewise.types import DataStep

WORD_NAMES = ("tokens", "words", "text")
TAG_NAMES = ("tags", "ner_tags", "labels", "label", "ner")

_LOOK = 1000  # rows that are enough to tell such columns from others
_SPACE = re.compile(r"[ \t\r\n\f\v]")
_NO_BREAK_SPACE = "\u00a0"
_ONLY_TYPE = "entity"


def sentence_columns(table: Table) -> tuple[str, str] | None:
    """The columns of words and tags: lists of equal lengths, one of them by name; None where that is not clear."""
    lists = [name for name in table.columns if _holds_lists(table, name)]
    others = [name for name in lists if name not in WORD_NAMES]
    for tags in (*TAG_NAMES, *(others if len(lists) == 2 and len(others) == 1 else ())):
        words = words_column(table, tags) if tags in lists else None
        if words is not None:
            return words, tags
    return None


def words_column(table: Table, tags: str) -> str | None:
    """The column whose lists have a word for each of the tags: by name, or the only one; else None."""
    if not _holds_lists(table, tags):
        return None
    fitting = [
        name for name in table.columns if name != tags and _holds_lists(table, name) and _fits(table, name, tags)
    ]
    named = [name for name in WORD_NAMES if name in fitting]
    return next(iter(named or (fitting if len(fitting) == 1 else ())), None)


def _holds_lists(table: Table, name: str) -> bool:
    cells = [cell for cell in table.columns[name][:_LOOK] if cell is not None]
    return bool(cells) and all(isinstance(cell, list) for cell in cells)


def _fits(table: Table, words: str, tags: str) -> bool:
    """Whether nearly all rows have a word for each tag; the others are told as errors when they are read."""
    pairs = list(zip(table.columns[words][:_LOOK], table.columns[tags][:_LOOK], strict=True))
    lists = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
    text = all(isinstance(word, str) for ours, _ in lists for word in ours)
    return text and sum(len(ours) == len(theirs) for ours, theirs in lists) >= 0.9 * len(lists) > 0


def read_words(table: Table, column: str) -> tuple[list[tuple[str]], list[DataStep]]:
    """The words of each row as one text; "" where the cell is empty.

    Raises:
        DataError: a cell that is no list of words; names its row.
    """
    texts, spaces = [], 0
    for index, cell in enumerate(table.columns[column]):
        words = _items(cell, table, index, column, "word")
        spaces += sum(_SPACE.search(word) is not None for word in words)
        texts.append((joined(words),))
    steps = []
    if spaces:
        reason = f"{table.source}: {spaces:,} words hold a space, which was made a no-break space"
        steps.append(DataStep("spaces in words", len(table), len(table), reason))
    return texts, steps


def joined(words: Iterable[str]) -> str:
    """The text that words make; `words_of` gives them back."""
    return " ".join(_SPACE.sub(_NO_BREAK_SPACE, word) for word in words)


def parted(text: str) -> list[str]:
    """The words of any text: what stands between spaces and line breaks."""
    return [word for word in _SPACE.split(text) if word]


def words_of(text: str) -> list[str]:
    """The words of a row's text."""
    return text.split(" ") if text else []


def read_tags(table: Table, column: str, texts: Sequence[tuple[str, ...]]) -> tuple[list[Tags | None], list[DataStep]]:
    """The tags of each row, None where it has none: as IOB2, or plain as they are.

    Raises:
        DataError: a cell that is no list of tags, one of another length than the row's words, or tags with and without
            prefix.
    """
    rows: list[Tags | None] = []
    for index, cell in enumerate(table.columns[column]):
        tags = _items(cell, table, index, column, "tag")
        count = len(words_of(texts[index][0]))
        if cell is not None and count and len(tags) != count:
            raise DataError(
                f"{count} words and {len(tags)} tags",
                where=table.where(index, column),
                fix="give one tag for each word; O for a word that is in no entity",
            )
        rows.append(None if cell is None else Tags(tags if count else ()))
    _check_one_scheme(table, column, rows)
    return _in_one_scheme(table, rows)


def _items(cell: Any, table: Table, index: int, column: str, what: str) -> list[str]:
    if cell is None:
        return []
    if not isinstance(cell, list):
        raise DataError(
            f"expected a list of {what}s, got {kind(cell)} ({short(cell)})",
            where=table.where(index, column),
            fix='write JSONL as {"tokens": ["a", "b"], "tags": ["O", "O"]}, or a CoNLL file',
        )
    for place, item in enumerate(cell, start=1):
        if is_missing(item) or isinstance(item, (list, dict, bytes)):
            raise DataError(
                f"{what} {place} of the row is {short(item) if item is not None else 'null'}",
                where=table.where(index, column),
                fix=f"write a {what} there" + ("; O for a word that is in no entity" if what == "tag" else ""),
            )
    items = [as_text(item) for item in cell]
    try:
        "".join(items).encode()
    except UnicodeEncodeError:
        raise DataError(
            f"half of a surrogate pair, which is no character, in a {what}",
            where=table.where(index, column),
            fix="write the file again from its source, as UTF-8",
        ) from None
    return items


def _names(rows: Sequence[Tags | None]) -> set[str]:
    return {tag for tags in rows if tags is not None for tag in tags}


def _check_one_scheme(table: Table, column: str, rows: Sequence[Tags | None]) -> None:
    names = _names(rows)
    if is_plain(names) or has_ends(names):
        return
    odd = {name for name in names - {OUTSIDE} if name[:2] not in ("B-", "I-") or len(name) < 3}
    for index, tags in enumerate(rows):
        for place, tag in enumerate(tags or ()):
            if tag in odd:
                raise DataError(
                    f"tag {short(tag)} of word {place + 1}, where others begin with B- or I-",
                    where=table.where(index, column),
                    fix="write every tag as B-type, I-type or O, or all of them without prefix",
                )


def _in_one_scheme(table: Table, rows: Sequence[Tags | None]) -> tuple[list[Tags | None], list[DataStep]]:
    """IOB2, whatever it was; what was changed is told."""
    names, told = _names(rows), []
    if "B" in names and names <= {"B", "I", OUTSIDE}:
        rows = [tags and Tags(tag if tag == OUTSIDE else f"{tag}-{_ONLY_TYPE}" for tag in tags) for tags in rows]
        told.append(f"B and I have no type; it was called '{_ONLY_TYPE}'")
    elif is_plain(names):
        if OUTSIDE in names:
            told.append("the tags have no B- and I-: words in a row with the same tag are taken as one entity")
        return list(rows), _steps(table, told)
    if has_ends(_names(rows)):
        rows = [tags and without_ends(tags) for tags in rows]
        if _names(rows) != names:
            told.append("the ends of entities (E-, L-, S-, U-) were rewritten as B- and I-")
    needless = sum(needless_beginnings(tags) for tags in rows if tags)
    fixed = [(None, 0) if tags is None else with_beginnings(tags) for tags in rows]
    counts = Counter({index: count for index, (_, count) in enumerate(fixed) if count})
    if counts and not needless:
        told.append(f"IOB1, rewritten as IOB2: {counts.total():,} I- that begin an entity became B-")
    elif counts:
        told.append(
            f"{counts.total():,} I- with nothing of their type before them became B-: {row_list(sorted(counts))}"
        )
    return [tags for tags, _ in fixed], _steps(table, told)


def _steps(table: Table, told: Sequence[str]) -> list[DataStep]:
    return [DataStep("tags", len(table), len(table), f"{table.source}: {line}") for line in told]
