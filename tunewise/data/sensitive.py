"""The columns by which a recipe wants rows, label rates and lengths told (`data.sensitive`)."""

from __future__ import annotations

from collections.abc import Sequence

from tunewise.data.settings import DataConfig
from tunewise.data.table import Table
from tunewise.errors import DataError


def check_sensitive(config: DataConfig, table: Table, text: Sequence[str], label: Sequence[str]) -> None:
    """Raises where a column that the recipe names cannot tell groups of rows.

    Raises:
        DataError: it is not in this source, holds lists, or is what the model reads or predicts.
    """
    for column in config.sensitive:
        table.find(column)
        for other, columns in (("text", text), ("label", label)):
            if column in columns:
                raise DataError(
                    f"column '{column}' is named as sensitive and as {other}", where="data.sensitive", fix="correct one"
                )
        if isinstance(next((cell for cell in table.columns[column] if cell is not None), None), (list, dict)):
            raise DataError(
                f"column '{column}' holds a list or an object in each cell, so that a row has no one group",
                where=f"{table.source}, data.sensitive",
                fix="name a column with one value for each row",
            )
