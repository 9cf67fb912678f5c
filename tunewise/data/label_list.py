"""Carries out what a list of suspected labels says: rows are left out, or get the label that is suggested."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tunewise.cleaning.label_list import ACTIONS, COLUMNS, LabelListConfig, text_digest, unguarded
from tunewise.data.clean import Rows
from tunewise.data.delimited import DELIMITERS, read_delimited
from tunewise.data.labels import Label, count_names
from tunewise.data.table import Table, as_number, nearest, row_list, short
from tunewise.errors import DataError
from tunewise.types import DataStep, Task

KEY = "data.clean.labels"
TOLD = 1000  # rows that a step names


@dataclass(frozen=True)
class _Entry:
    """One line of the list with something to do; `index` is its place in the list, `row` the number in its source."""

    index: int
    row: int
    digest: str
    given: str
    suggested: str
    action: str


@dataclass(frozen=True)
class LabelList:
    """What there is to do, by source."""

    table: Table
    entries: Mapping[str, tuple[_Entry, ...]]

    def where(self, entry: _Entry, column: str) -> str:
        return self.table.where(entry.index, column)

    def check_sources(self, known: list[str]) -> None:
        """Raises where it names a source that the recipe does not have.

        Raises:
            DataError: with the sources that there are.
        """
        for source, entries in self.entries.items():
            if source not in known:
                raise DataError(
                    f"the recipe has no source '{source}'; it has {', '.join(known)}",
                    where=self.where(entries[0], "source"),
                    fix="take the list that was written for this recipe",
                )


def read_label_list(config: LabelListConfig, folder: Path) -> LabelList:
    """Reads a list and decides each line's action.

    Args:
        folder: what a relative path starts from: the recipe's folder.

    Raises:
        DataError: it cannot be read, a column is missing, a cell is wrong, a row stands twice, or nothing is to do.
    """
    path = folder / Path(config.file).expanduser()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot be read: {error.strerror or error}",
            where=f"{KEY}: {config.file}",
            fix="write it by `tunewise check --suspects FILE`",
        ) from None
    table = read_delimited(data, config.file, delimiter=_delimiter(data))
    for name in COLUMNS:
        table.find(name)
    entries: dict[str, dict[int, _Entry]] = {}
    for index in range(len(table)):
        source, entry = _entry(table, index, config)
        if not entry.action:
            continue
        if entry.row in entries.setdefault(source, {}):
            raise DataError(f"row {entry.row} of {source} stands twice", where=table.where(index, "row"), fix="once")
        entries[source][entry.row] = entry
    if not entries:
        raise DataError(
            "no line says what to do",
            where=f"{KEY}: {config.file}, column 'action'",
            fix="write drop or relabel into it, or give `do: drop` or `do: relabel` in the recipe",
        )
    return LabelList(table, {source: tuple(rows.values()) for source, rows in entries.items()})


def corrected(rows: Rows, source: str, labels: LabelList, task: Task) -> tuple[Rows, list[DataStep]]:
    """The rows of a source without those to drop, and with the labels that are suggested.

    Args:
        source: train, validation, test, or the name of a test set.

    Raises:
        DataError: a row is not there, has another text or label than in the list, or would get a label that no row has;
            the task is token_classification.
    """
    entries = labels.entries.get(source, ())
    if not entries:
        return rows, []
    if task == "token_classification":
        raise DataError("labels of words are not corrected by a list", where=KEY, fix="leave it out")
    places = {number: place for place, number in enumerate(rows.numbers)}
    values, known, drop, changed = list(rows.values), count_names(rows.values), set(), []
    for entry in entries:
        place = places.get(entry.row)
        _check_same(rows, place, entry, labels, task)
        if entry.action == "drop":
            drop.add(place)
            continue
        values[place] = _label(entry, labels, task)
        for name in count_names([values[place]]):
            if name not in known:
                near = nearest(name, list(known))
                raise DataError(
                    f"no row of {source} has the label {short(name)}",
                    where=labels.where(entry, "suggested"),
                    fix=f"did you mean '{near}'?" if near else "write one of the labels of the data",
                )
        changed.append(place)
    kept = replace(rows, values=tuple(values)).take([place for place in range(len(rows)) if place not in drop])
    return kept, _steps(rows, kept, sorted(drop), changed, labels)


def _steps(rows: Rows, kept: Rows, drop: list[int], changed: list[int], labels: LabelList) -> list[DataStep]:
    where, listed = rows.table.source, labels.table.source
    steps = []
    if changed:
        told = row_list(sorted(rows.indices[place] for place in changed), TOLD)
        reason = f"{where}: {len(changed):,} labels were corrected as {listed} says: {told}"
        steps.append(DataStep("corrected labels", len(rows), len(rows), reason))
    if drop:
        told = row_list([rows.indices[place] for place in drop], TOLD)
        reason = f"{where}: labels that are likely wrong, as {listed} says: {told}; left out"
        steps.append(DataStep("suspected labels", len(rows), len(kept), reason))
    return steps


def _delimiter(data: bytes) -> str:
    """What stands behind the first column's name: spreadsheets of some countries write semicolons."""
    head = data[:200].decode("utf-8-sig", errors="replace").lstrip('"')[len(COLUMNS[0]) :].lstrip('"')
    return head[:1] if head[:1] in DELIMITERS else ","


def _entry(table: Table, index: int, config: LabelListConfig) -> tuple[str, _Entry]:
    cells = {name: str(table.columns[name][index]).strip() for name in ("source", "row", "sha256", "quality", "action")}
    quality = as_number(cells["quality"].replace(",", "."))
    row = int(cells["row"]) if cells["row"].isdecimal() and len(cells["row"]) < 19 else None
    for name, number in (("row", row), ("quality", quality)):
        if number is None:
            raise DataError(
                f"expected a number, got {short(cells[name])}", where=table.where(index, name), fix="as it was written"
            )
    action = cells["action"].lower()
    if action and action not in ACTIONS:
        raise DataError(
            f"expected drop, relabel or nothing, got {short(cells['action'])}",
            where=table.where(index, "action"),
            fix="correct the cell",
        )
    if not action and config.do and quality <= config.at_most:
        action = config.do
    given, suggested = (unguarded(table.columns[name][index]) for name in ("given", "suggested"))
    return cells["source"], _Entry(index, row, cells["sha256"], given, suggested, action)


def _check_same(rows: Rows, place: int | None, entry: _Entry, labels: LabelList, task: Task) -> None:
    source = rows.table.source
    fix = "write the list anew by `tunewise check --suspects FILE`, with the same data and cleaning"
    if place is None:
        raise DataError(f"{source} has no row {entry.row} that is used", where=labels.where(entry, "row"), fix=fix)
    if text_digest(rows.texts[place]) != entry.digest:
        raise DataError(
            f"row {entry.row} of {source} has another text than the list was made of",
            where=labels.where(entry, "sha256"),
            fix=fix,
        )
    if task != "regression" and _names(rows.values[place]) != _names(_parsed(entry.given, task)):
        raise DataError(
            f"row {entry.row} of {source} has another label than the list was made of",
            where=labels.where(entry, "given"),
            fix=fix,
        )


def _label(entry: _Entry, labels: LabelList, task: Task) -> Label:
    """The suggested label as the data room has labels."""
    found = _parsed(entry.suggested, task)
    if found is None or found == "":
        expected = {"regression": "a number", "multilabel": 'a list of labels, as in ["a", "b"]'}.get(task, "a label")
        raise DataError(
            f"expected {expected}, got {short(entry.suggested)}",
            where=labels.where(entry, "suggested"),
            fix="correct the cell, or write drop into `action`",
        )
    return found


def _parsed(cell: str, task: Task) -> Label:
    if task == "regression":
        return as_number(cell)
    if task == "classification":
        return cell.strip()
    try:
        names = json.loads(cell)
    except ValueError:
        return None
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _names(label: Label) -> frozenset[str] | str:
    return frozenset(label) if isinstance(label, tuple) else str(label).strip()
