"""Rows that cannot be used, and rows that make results doubtful: counted and told, never dropped in silence."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunewise.cleaning.exact_duplicates import exact_duplicates
from tunewise.data.labels import Label, comparable, no_targets, to_targets
from tunewise.data.packed_texts import packed
from tunewise.data.table import Table, as_text, nothing_in, row_list, short
from tunewise.errors import DataError
from tunewise.types import DataStep, Schema, Split


@dataclass(frozen=True)
class Rows:
    """Rows of a table that are used: `indices` are their places in the table, from 0.

    `prompts` are, of each row of a language task, what it shares with other answers to the same. `groups` are what rows
    go together by (None: by itself), `times` what can be compared (`data.times`); both are empty
    where the recipe names no such column.
    """

    table: Table
    indices: tuple[int, ...]
    texts: tuple[tuple[str, ...], ...]
    values: tuple[Label, ...]
    groups: tuple[str | None, ...] = ()
    times: tuple[Any, ...] = ()
    prompts: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def numbers(self) -> list[int]:
        """The number of each row in its source, from 1."""
        return [index + 1 for index in self.indices]

    @property
    def of(self) -> str:
        """What a row is, for messages: a text or an image."""
        return self.table.of

    @property
    def what(self) -> str:
        """What stays on one side where it is equal."""
        return "prompts" if self.prompts else f"{self.of}s"

    @property
    def alike(self) -> tuple[tuple[str, ...], ...]:
        """By what rows are in one split where it is equal: texts; of language tasks, prompts."""
        return self.prompts or self.texts

    def take(self, places: Sequence[int]) -> Rows:
        """The rows at these places of this selection."""
        return Rows(
            self.table,
            tuple(self.indices[place] for place in places),
            tuple(self.texts[place] for place in places),
            tuple(self.values[place] for place in places),
            tuple(self.groups[place] for place in places if self.groups),
            tuple(self.times[place] for place in places if self.times),
            tuple(self.prompts[place] for place in places if self.prompts),
        )

    def split(self, name: str, schema: Schema, label: Sequence[str], known: bool = True) -> Split:
        """A Split of these rows; columns that are neither text nor label go along as strings.

        Args:
            known: whether `values` are labels; else targets are as `labels.no_targets` has them.
        """
        others = [column for column in self.table.columns if column not in (*schema.columns, *label)]
        return Split(
            name=name,
            texts=packed(self.texts),
            targets=to_targets(self.values, schema) if known else no_targets(len(self), schema),
            rows=np.array(self.numbers, dtype=np.int64),
            source=self.table.source,
            columns={
                column: tuple(as_text(self.table.columns[column][index]) for index in self.indices) for column in others
            },
        )


def usable_rows(
    table: Table, texts: Sequence[tuple[str, ...]], values: Sequence[Label], text: Sequence[str], label: Sequence[str]
) -> tuple[Rows, list[DataStep]]:
    """The rows that have text (both, for pairs) and label, and a step for each reason to leave rows out.

    Raises:
        DataError: no row is left.
    """
    steps: list[DataStep] = []
    keep = range(len(table))
    empty = {index for index, row in enumerate(texts) if not all(cell.strip() for cell in row)}
    missing = {index for index, value in enumerate(values) if value is None}
    unlabelled = missing - empty
    reasons = (*table.told_empty(text, empty), empty), ("missing label", nothing_in(label, unlabelled), unlabelled)
    for name, why, bad in reasons:
        if bad:
            left = [index for index in keep if index not in bad]
            reason = f"{table.source}: {why}; left out"
            out = tuple(index + 1 for index in keep if index in bad)
            steps.append(DataStep(name, len(keep), len(left), reason, out))
            keep = left
    if not keep:
        raise DataError(
            f"no row has both {table.of} and label: {len(empty):,} of {len(table):,} have no {table.of}, "
            f"{len(missing):,} no label",
            where=table.source,
            fix="is it the right column?",
        )
    everything = Rows(table, tuple(range(len(table))), tuple(texts), tuple(values))
    return everything.take(keep), steps


def repeat_steps(rows: Rows) -> list[DataStep]:
    """A note where rows have the same text and label, and one where they have the same text but not the same label."""
    labels = [comparable(value) for value in rows.values]
    repeated = [rows.indices[place] for place in exact_duplicates(rows.texts, labels)]
    return [*_repeat_step(rows, repeated), *_conflict_step(rows, _of_two_labels(rows.texts, labels))]


def _of_two_labels(texts: Sequence[tuple[str, ...]], labels: Sequence[Hashable]) -> set[tuple[str, ...]]:
    first: dict[tuple[str, ...], Hashable] = {}
    return {text for text, label in zip(texts, labels, strict=True) if first.setdefault(text, label) != label}


def _repeat_step(rows: Rows, repeated: list[int]) -> list[DataStep]:
    if not repeated:
        return []
    what = "" if rows.prompts else f"{rows.of} and label of "
    reason = (
        f"{rows.table.source}: {len(repeated):,} of {len(rows):,} rows repeat {what}an earlier row: "
        f"{row_list(repeated)}. Kept as they are"
    )
    return [DataStep("repeated rows", len(rows), len(rows), reason)]


def _conflict_step(rows: Rows, conflicting: set[tuple[str, ...]]) -> list[DataStep]:
    bad = [place for place, text in enumerate(rows.texts) if text in conflicting] if conflicting else []
    if not bad:
        return []
    first = rows.texts[bad[0]]
    same = [rows.indices[place] for place in bad if rows.texts[place] == first]
    reason = (
        f"{rows.table.source}: {len(bad):,} rows share their {rows.of} with a row of another label; no model can be "
        f"right on all of them. For instance {row_list(same)}: {short(first[0])}. Kept as they are"
    )
    return [DataStep("conflicting labels", len(rows), len(rows), reason)]
