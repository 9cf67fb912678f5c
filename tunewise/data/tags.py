"""Tags of words, and the entities that they mark.

IOB2 (Ramshaw and Marcus 1995; Tjong Kim Sang and Veenstra 1999): B-x begins an entity of type x, I-x goes on with it,
O is outside. Plain tags have no prefix: words in a row with the same tag are one entity.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

OUTSIDE = "O"

_BIO = re.compile(r"[BI]-.+")
_WITH_ENDS = re.compile(r"[BIESLU]-.+")
_IN_BIO = {"S": "B", "U": "B", "E": "I", "L": "I"}


class Tags(tuple[str, ...]):
    """The tags of the words of a row, in their order."""


def is_plain(names: Iterable[str]) -> bool:
    """Whether tags have no prefixes."""
    return not any(_BIO.fullmatch(name) for name in names if name != OUTSIDE)


def has_ends(names: Iterable[str]) -> bool:
    """Whether tags are BIOES or BILOU, which mark the ends of entities (E, L) and entities of one word (S, U) too."""
    names = [name for name in names if name != OUTSIDE]
    return any(_BIO.fullmatch(name) for name in names) and all(_WITH_ENDS.fullmatch(name) for name in names)


def type_of(tag: str, plain: bool) -> str | None:
    """The type of entity that a tag belongs to; None outside."""
    if tag == OUTSIDE:
        return None
    return tag if plain else tag[2:]


def without_ends(tags: Tags) -> Tags:
    """BIOES or BILOU as BIO: S and U begin an entity, E and L go on with one."""
    return Tags(tag if tag == OUTSIDE else _IN_BIO.get(tag[0], tag[0]) + tag[1:] for tag in tags)


def with_beginnings(tags: Tags) -> tuple[Tags, int]:
    """IOB2, where every entity begins with B; and how many I- tags were made B-, since nothing of their type stood
    before them."""
    fixed, changed, before = [], 0, None
    for tag in tags:
        orphan = tag != OUTSIDE and tag[0] == "I" and tag[2:] != before
        fixed.append(f"B{tag[1:]}" if orphan else tag)
        changed += orphan
        before = type_of(tag, plain=False)
    return Tags(fixed), changed


def needless_beginnings(tags: Tags) -> int:
    """How many B- tags stand where IOB1 would have I-: not behind another word of their type."""
    types = [type_of(tag, plain=False) for tag in tags]
    return sum(
        tag[0] == "B" and types[place - 1 : place] != types[place : place + 1]
        for place, tag in enumerate(tags)
        if tag != OUTSIDE
    )


def tag_names(names: Iterable[str]) -> tuple[str, ...]:
    """The tags that a model tells apart, O first where there is one; of each type both B- and I-, whether the data has
    both or not."""
    names = set(names)
    types = sorted({str(type_of(name, is_plain(names))) for name in names - {OUTSIDE}})
    outside = (OUTSIDE,) if OUTSIDE in names else ()
    if is_plain(names):
        return (*outside, *types)
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in "BI"))


def entity_types(names: Sequence[str]) -> tuple[str, ...]:
    """The types of entities, in the order of their tags."""
    plain = is_plain(names)
    return tuple(dict.fromkeys(kind for name in names if (kind := type_of(name, plain)) is not None))


def as_iob2(tags: Sequence[str], plain: bool) -> list[str]:
    """Plain tags as IOB2; other tags as they are."""
    if not plain:
        return list(tags)
    before = [None, *tags]
    return [
        tag if tag == OUTSIDE else f"{'I' if tag == previous else 'B'}-{tag}"
        for previous, tag in zip(before, tags, strict=False)
    ]


def entities_of(tags: Sequence[str], plain: bool) -> list[tuple[str, int, int]]:
    """Type, first word, and the word behind the last, of each entity. An I- that continues nothing is in none."""
    found: list[tuple[str, int, int]] = []
    opened: tuple[str, int] | None = None
    for place, tag in enumerate([*as_iob2(tags, plain), OUTSIDE]):
        kind = type_of(tag, plain=False)
        if opened is not None and not (tag[0] == "I" and kind == opened[0]):
            found.append((*opened, place))
            opened = None
        if kind is not None and tag[0] == "B":
            opened = (kind, place)
    return found
