"""Progress of a check: told of the rows of all splits together, and to the end."""

from __future__ import annotations

import pytest
from checked_data import NO_MODEL, split

from tunewise.audit.settings import CheckConfig
from tunewise.audit.view import TELL, View
from tunewise.types import DataBundle, Schema


@pytest.mark.parametrize("sizes", [(1, 1), (TELL, 2), (2 * TELL + 7, TELL - 1, 3)])
def test_progress_through_the_rows_of_all_splits_never_goes_back_and_ends_at_1(sizes: tuple[int, ...]) -> None:
    splits = [split([f"text {row}" for row in range(size)], name=f"part{at}") for at, size in enumerate(sizes)]
    schema = Schema("classification", ("text",), "label", ("a", "b"))
    told: list[float] = []
    view = View(DataBundle({one.name: one for one in splits}, schema, (), "made"), CheckConfig(), NO_MODEL, told.append)
    for one in splits:
        assert list(view.each_row(one)) == list(enumerate(one.texts))
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) == sum(-(-size // TELL) for size in sizes)
