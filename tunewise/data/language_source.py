"""The sources of a language task: what the columns of train are, and the rows of all files, read by that."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tunewise.data.clean import Rows
from tunewise.data.language_rows import (
    LanguageRows,
    find_between,
    find_form,
    language_schema,
    layout_step,
    margin_steps,
)
from tunewise.data.layouts import Layout, find_layout
from tunewise.data.settings import DataConfig
from tunewise.data.table import Table, listed
from tunewise.errors import DataError
from tunewise.types import DataStep, Schema, Split


@dataclass(frozen=True)
class LanguageSource:
    """The training rows, and how all others are read; `rows` come with what was done to them."""

    table: Table
    layout: Layout
    schema: Schema
    rows: tuple[Rows, list[DataStep]]

    @classmethod
    def of(cls, config: DataConfig, layout: Layout, table: Table) -> LanguageSource:
        """
        Raises:
            DataError: no row can be used, or an option of the data section does not go with such rows.
        """
        _check_options(config, layout)
        form = find_form(config, layout, table)
        rows, steps = LanguageRows.of(config, layout, form).read(table)
        between, why = find_between(config, form, rows)
        schema = language_schema(layout, form, between)
        told = [*read_steps(table), layout_step(schema, layout, rows, why), *margin_steps(table, layout), *steps]
        return cls(table, layout, schema, (rows, told))

    def read(self, config: DataConfig, table: Table) -> tuple[Rows, list[DataStep]]:
        """The rows of another source, and what was done to them.

        Raises:
            DataError: its columns are others.
        """
        layout = same_layout(config, table, self.schema)
        rows, steps = LanguageRows.of(config, layout, self.schema.form).read(table)
        return rows, [*read_steps(table), *margin_steps(table, layout), *steps]


def load_language_split(config: DataConfig, table: Table, schema: Schema, name: str, with_targets: bool) -> Split:
    """Every row of a new source, in order, as `prepare.load_split` gives it; without targets, rows need no answer.

    Raises:
        DataError: a row has no prompt, or, with targets, no answer; other columns than the training data.
    """
    layout = same_layout(config, table, schema) if with_targets else _unanswered(config, table, schema)
    reader = replace(LanguageRows.of(config, layout, schema.form), clean=())
    rows, steps = reader.read(table, answered=with_targets)
    if with_targets and len(rows) < len(table):
        raise DataError(
            "; ".join(step.reason.removesuffix("; left out") for step in steps if step.rows_out < step.rows_in),
            where=table.source,
            fix="take these rows out; to write answers, none are needed",
        )
    return rows.split(name, schema, layout.columns)


def same_layout(config: DataConfig, table: Table, schema: Schema) -> Layout:
    """How another source is read by the schema of the training rows.

    Raises:
        DataError: it has no columns for that.
    """
    wanted = config.model_copy(update={"task": schema.task})
    layout = find_layout(wanted, table)
    asked = wanted.model_copy(update={"chat": True if schema.form == "chat" else None})
    found = find_form(asked, layout, table) if layout.kind != "instruction" else schema.form
    if found != schema.form:
        raise DataError(
            f"the rows are of the form {found}, those of the training data of the form {schema.form}; the columns are "
            f"{listed(list(table.columns))}",
            where=table.source,
            fix="write both in the same layout",
        )
    return layout


def _unanswered(config: DataConfig, table: Table, schema: Schema) -> Layout:
    """The prompts of a file, whatever stands beside them; whole texts where the model was trained on such."""
    if schema.form == "text":
        return same_layout(config, table, schema)
    asked = config.model_copy(update={"task": "prompts", "label": None})
    if config.text is not None and not isinstance(config.text, list) and str(config.text) not in table.columns:
        asked = asked.model_copy(update={"text": None})
    return find_layout(asked, table)


def read_steps(table: Table) -> list[DataStep]:
    """What was read, and what was set right in reading it."""
    count = len(table)
    note = f" ({table.note})" if table.note else ""
    reason = f"{table.source}: {count:,} rows, columns {listed(list(table.columns))}{note}"
    repairs = [DataStep("repaired", count, count, f"{table.source}: {what}") for what in table.repairs]
    return [DataStep("read", count, count, reason), *repairs]


def _check_options(config: DataConfig, layout: Layout) -> None:
    for key in ("label_separator", "labels", "per_class", "balance"):
        if getattr(config, key) is not None:
            raise DataError(
                f"{key} is for labels to predict; the task is {layout.task}", where=f"data.{key}", fix="leave it out"
            )
