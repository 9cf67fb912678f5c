"""Takes personal data out of the texts of a source, as `data.clean.personal_data` says, and counts it."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from tunewise.cleaning.personal_data import Finder, by_hash, by_kind, finder, replaced
from tunewise.cleaning.personal_settings import PersonalDataConfig
from tunewise.data.clean import Rows
from tunewise.data.message_texts import with_texts
from tunewise.data.table import row_list
from tunewise.errors import DataError
from tunewise.types import DataStep, Task

WHERE = "data.clean.personal_data"
KEY = "TUNEWISE_HASH_KEY"
LEAST_KEY = 16  # bytes
TOLD = 1000  # rows that a step names

Texts = Sequence[tuple[str, ...]]


def personal_finder(kinds: Sequence[str], names: str | None, where: str) -> Finder:
    """The finder, loaded.

    Raises:
        DataError: Presidio or the model of spaCy is not installed.
    """
    try:
        return finder(tuple(kinds), names)
    except (ImportError, OSError) as error:
        lacking = "pip install 'tunewise[check]'" + (f", and the spaCy model '{names}'" if names else "")
        first = str(error).splitlines()[0]
        raise DataError(
            f"personal data cannot be looked for: {first}", where=where, fix=f"install it: {lacking}"
        ) from None


def without_personal_data(
    config: PersonalDataConfig, texts: Texts, task: Task, chat: bool = False
) -> tuple[list[tuple[str, ...]], dict[str, list[int]], Counter[str]]:
    """Texts with every datum replaced or hashed; the places of rows, and how many data, by kind. Where rows are to be
    dropped, texts stay as they are.

    Args:
        chat: texts are conversations, in whose messages the data stand.

    Raises:
        DataError: what is needed is not installed, there is no key, or the task is token_classification.
    """
    if task == "token_classification" and config.do != "drop":
        raise DataError(
            f"`{config.do}` would change the words, each of which has a tag",
            where=WHERE,
            fix="take `drop`, or leave it out",
        )
    find = personal_finder(config.kinds, config.names, WHERE)
    by = _maker(config)
    cleaned, rows, counts = [], defaultdict(list), Counter()
    for place, row in enumerate(texts):
        kinds: Counter[str] = Counter()
        change = partial(_without, find=find, by=by, kinds=kinds)
        changed = tuple(with_texts(text, change) if chat else change(text) for text in row)
        for kind in kinds:
            rows[kind].append(place)
        counts += kinds
        cleaned.append(changed if by else row)
    return cleaned, dict(rows), counts


def _without(text: str, find: Finder, by: Callable[[str, str], str] | None, kinds: Counter[str]) -> str:
    """A text with every datum replaced; adds to `kinds` what it held."""
    found = find(text)
    kinds.update(one.kind for one in found)
    return replaced(text, found, by) if by else text


def private_rows(
    config: PersonalDataConfig | None, rows: Rows, source: str, task: Task, chat: bool = False
) -> tuple[Rows, list[DataStep]]:
    """The rows of a source as the recipe wants them, and a step for each kind.

    Args:
        source: train, validation, test, or the name of a test set: only rows of train are dropped.
        chat: see `without_personal_data`.

    Raises:
        DataError: as `without_personal_data`, or no row is left.
    """
    if config is None:
        return rows, []
    texts, places, counts = without_personal_data(config, rows.texts, task, chat)
    if config.do == "drop":
        return _dropped(rows, places, counts) if source == "train" else _kept(rows, places, counts)
    steps = [
        _step(rows, f"{counts[kind]:,} {kind} in {_rows(rows, held)}: {config.do}d" if config.do == "replace"
              else f"{counts[kind]:,} {kind} in {_rows(rows, held)}: replaced by keyed codes", len(rows))
        for kind, held in places.items()
    ]  # fmt: skip
    return replace(rows, texts=tuple(texts)), steps


def _maker(config: PersonalDataConfig) -> Callable[[str, str], str] | None:
    if config.do == "drop":
        return None
    return by_kind if config.do == "replace" else by_hash(_key())


def _key() -> bytes:
    key = os.environ.get(KEY, "").strip().encode()
    if len(key) < LEAST_KEY:
        raise DataError(
            f"hashing needs a secret key of at least {LEAST_KEY} bytes in the environment variable {KEY}"
            + ("; it is shorter" if key else ""),
            where=WHERE,
            fix=f'export {KEY}=$(python -c "import secrets; print(secrets.token_hex(32))"), and keep it: the same key '
            "gives the same codes; whoever has it can try phone numbers",
        )
    return key[:64]


def _dropped(rows: Rows, places: dict[str, list[int]], counts: Counter[str]) -> tuple[Rows, list[DataStep]]:
    steps, left = [], len(rows)
    gone: set[int] = set()
    for kind, held in places.items():
        new = [place for place in held if place not in gone]
        gone.update(new)
        if new:
            reason = f"{counts[kind]:,} {kind} in {_rows(rows, held)}; left out"
            steps.append(replace(_step(rows, reason, left - len(new)), rows_in=left))
            left -= len(new)
    if not left:
        raise DataError("every row holds personal data", where=f"{WHERE}: {rows.table.source}", fix="take `replace`")
    return rows.take([place for place in range(len(rows)) if place not in gone]), steps


def _kept(rows: Rows, places: dict[str, list[int]], counts: Counter[str]) -> tuple[Rows, list[DataStep]]:
    return rows, [
        _step(rows, f"{counts[kind]:,} {kind} in {_rows(rows, held)}; kept, since only train is thinned out", len(rows))
        for kind, held in places.items()
    ]


def _step(rows: Rows, reason: str, left: int) -> DataStep:
    return DataStep("personal data", len(rows), left, f"{rows.table.source}: {reason}")


def _rows(rows: Rows, places: Sequence[int]) -> str:
    return row_list([rows.indices[place] for place in places], TOLD)
