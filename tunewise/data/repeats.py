"""Training rows that repeat an earlier one, exactly or nearly: left out where `data.clean.duplicates` asks for it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from tunewise.cleaning.exact_duplicates import exact_duplicates
from tunewise.cleaning.settings import CleanConfig
from tunewise.data.clean import Rows
from tunewise.data.labels import comparable
from tunewise.data.table import row_list
from tunewise.types import DataStep


def without_repeats(config: CleanConfig, train: Rows) -> tuple[Rows, list[DataStep]]:
    """The rows but those after the first of each text and label, and a step for them."""
    if config.duplicates is None:
        return train, []
    labels = [comparable(value) for value in train.values]
    if config.duplicates == "near":
        from tunewise.cleaning.near_duplicates import near_duplicates

        repeats = near_duplicates(train.texts, config.near, labels)
    else:
        repeats = exact_duplicates(train.texts, labels)
    if not repeats:
        return train, []
    kept = train.take([place for place in range(len(train)) if place not in repeats])
    return kept, [DataStep("duplicates", len(train), len(kept), _reason(config, train, labels, repeats))]


def _reason(config: CleanConfig, train: Rows, labels: Sequence[Hashable], repeats: Mapping[int, int]) -> str:
    rows = row_list([train.indices[place] for place in repeats])
    if config.duplicates == "exact":
        what = "repeat text and label of an earlier row"
    else:
        exact = len(exact_duplicates(train.texts, labels))
        what = (
            f"have the label of an earlier row and its text, exactly ({exact:,}) or nearly ({len(repeats) - exact:,}; "
            f"similarity of at least {config.near:g})"
        )
    return f"{train.table.source}: {len(repeats):,} of {len(train):,} rows {what}: {rows}; left out"
