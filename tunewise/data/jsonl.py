"""JSON lines: one object per line; and JSON files that hold one list of objects."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from tunewise.data.decode import decode
from tunewise.data.table import Table, kind, make_table
from tunewise.errors import DataError

MAX_DEPTH = 100
"""Lists and objects inside each other. Python's reader gives up near 1,000."""

MOST_EMPTY = 10_000_000
"""Cells of a table that is nearly empty: where ids are keys, 100,000 rows would take 80 GB."""


def read_jsonl(data: bytes, source: str, *, encoding: str | None = None) -> Table:
    """The table in a JSONL file, or in one that holds a JSON list of objects: columns are the keys in order of
    appearance; a missing key is None.

    Raises:
        DataError: names the line, and what is wrong with it.
    """
    text, repairs = decode(data, encoding, source)
    # Not splitlines(): U+2028 and its like may stand inside JSON strings.
    lines = text.split("\n")
    whole = text.lstrip().startswith("[") and (len(text.rstrip().split("\n")) == 1 or not _is_json(lines[0]))
    records = _records_of_array(text, source) if whole else []
    blank = 0
    for number, line in enumerate(() if whole else lines, start=1):
        if line.strip():
            last = number == len(lines)
            records.append(_record(line, f"{source}, row {len(records) + 1} (line {number})", last))
        else:
            blank += number < len(lines)
    names = list(dict.fromkeys(name for record in records for name in record))
    _check_names(names, records, source)
    note = "a JSON list of objects" if whole else f"{blank} blank line{'s' * (blank > 1)} passed over" if blank else ""
    columns = [[record.get(name) for record in records] for name in names]
    return make_table(source, names, columns, note, repairs=repairs)


def _records_of_array(text: str, source: str) -> list[dict[str, Any]]:
    """The objects of a file that is one JSON list."""
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise _too_deep(source) from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"the file is cut off or not JSON ({error.msg.removesuffix(' at')} at character {error.colno})",
            where=f"{source}, line {error.lineno}",
            fix="write the whole list, from [ to ], or one object per line without commas between them",
        ) from None
    except ValueError as error:
        raise DataError(str(error), where=source, fix="correct the file") from None
    for number, record in enumerate(found, start=1):
        if not isinstance(record, dict):
            raise DataError(
                f"expected an object ({{...}}), got {kind(record)}",
                where=f"{source}, row {number}" + " (line 1)" * ("\n" not in text.strip()),
                fix="write a list of objects",
            )
        if _depth(record) > MAX_DEPTH:
            raise _too_deep(f"{source}, row {number}")
    return found


def _check_names(names: list[str], records: list[dict[str, Any]], source: str) -> None:
    if not names:
        raise DataError("the objects hold no keys", where=source, fix="is it the right file?")
    held = sum(map(len, records))
    if len(names) * len(records) > max(MOST_EMPTY, 10 * held):
        raise DataError(
            f"the objects hold {len(names):,} different keys, {held / len(records):.1f} in each: as a table, nearly "
            "all cells would be empty",
            where=source,
            fix="write what differs from row to row as a value, and not as a key",
        )


def _record(line: str, where: str, last: bool) -> dict[str, Any]:
    try:
        record = json.loads(line, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise _too_deep(where) from None
    except json.JSONDecodeError as error:
        raise _not_json(error, where, last) from None
    except ValueError as error:
        raise DataError(str(error), where=where, fix="correct the line") from None
    if isinstance(record, list) and record and isinstance(record[0], dict):
        raise _array(where)
    if not isinstance(record, dict):
        raise DataError(
            f"expected an object ({{...}}), got {kind(record)}", where=where, fix="write one object per line"
        )
    if _depth(record) > MAX_DEPTH:
        raise _too_deep(where)
    return record


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!a:.60} stands twice in one object")
    return record


def _no_constant(token: str) -> float:
    raise ValueError(f"{token} is no JSON value; write null for a value that is missing")


def _not_json(error: json.JSONDecodeError, where: str, last: bool) -> DataError:
    said = error.msg.removesuffix(" at")  # "Unterminated string starting at"
    if last:
        return DataError(
            f"the last line is cut off or not JSON ({said} at character {error.pos + 1})",
            where=where,
            fix="the file was probably not written to its end: write it again, or take that line out",
        )
    return DataError(
        f"the line is not JSON ({said} at character {error.pos + 1})",
        where=where,
        fix="write one whole object per line, without line breaks inside it",
    )


def _array(where: str) -> DataError:
    return DataError(
        "expected one object per line, got one JSON array",
        where=where,
        fix="write each object on its own line, without the brackets and commas around them",
    )


def _too_deep(where: str) -> DataError:
    return DataError(
        f"lists or objects more than {MAX_DEPTH} deep inside each other", where=where, fix="flatten the object"
    )


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _depth(value: Any) -> int:
    """How deep lists and objects stand inside each other; no recursion, which is what it guards against."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, (list, dict))]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth
