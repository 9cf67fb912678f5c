"""Whatever labels there are: they are read, sorted and split to the row, or refused by a DataError."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tunewise.data.doubtful import Classes
from tunewise.data.labels import count_names, read_labels, to_targets
from tunewise.data.schema import find_schema, find_task
from tunewise.data.settings import DataConfig
from tunewise.data.split import assign, draw, draw_per_class, find_strata
from tunewise.data.table import Table
from tunewise.data.tags import Tags, type_of
from tunewise.errors import DataError

ANY = settings(max_examples=150, deadline=2000)
NAMES = st.sampled_from(
    ["a", "A", "a ", "b", "c", "a|b", "b, c", "-1", "0", "1", "1.0", "2", "NA", "None", "", " ", "ß"]
)
CELLS = (
    st.lists(NAMES | st.none(), min_size=1, max_size=30)
    | st.lists(st.text(max_size=4), min_size=1, max_size=20)
    | st.lists(st.integers(-2, 4) | st.floats() | st.booleans() | st.none(), min_size=1, max_size=30)
    | st.lists(st.integers() | st.integers(10**400, 10**401), min_size=1, max_size=4)
    | st.lists(st.lists(NAMES | st.integers(0, 2), max_size=3) | st.none(), min_size=1, max_size=20)
    | st.lists(st.binary(max_size=2) | st.dictionaries(NAMES, NAMES, max_size=1), min_size=1, max_size=3)
)


@ANY
@given(
    cells=CELLS,
    task=st.sampled_from([None, "classification", "multilabel", "regression"]),
    separator=st.sampled_from([None, "|", ", "]),
    named=st.none() | st.lists(NAMES, max_size=6),
)
def test_any_cells_become_targets_or_are_refused(cells, task, separator, named):
    config = DataConfig(train="f.csv", label="label", task=task, label_separator=separator, labels=named)
    table = Table("f.csv", {"text": ["t"] * len(cells), "label": cells})
    try:
        found, _ = find_task(config, table, ["label"])
        values = read_labels(table, ["label"], found, separator)
        rows = [index for index, value in enumerate(values) if value is not None]
        if not rows:
            return
        kept = [values[index] for index in rows]
        schema = find_schema(config, ["text"], found, Classes(kept, [row + 1 for row in rows], "f.csv", ["label"]))
    except DataError as error:
        assert error.what and error.where
        str(error).encode()
        return
    targets = to_targets(kept, schema)
    assert len(targets) == len(kept) and np.isfinite(targets).all()
    if found == "classification":
        assert [schema.labels[target] for target in targets] == kept
        assert len({name.strip().casefold() for name in kept}) == len(set(kept)) or named is not None
    if found == "multilabel":
        assert [{schema.labels[place] for place in np.flatnonzero(row)} for row in targets] == [
            set(row) for row in kept
        ]


def kinds_of(values) -> set[str | None]:
    """Classes; of tags, the types of their entities."""
    return {type_of(name, plain=False) if isinstance(values[0], Tags) else name for name in count_names(values)} - {
        None
    }


TEXTS = st.lists(st.tuples(st.text(max_size=3)), min_size=2, max_size=60)
VALUES = {
    "classification": st.sampled_from("aaabbc"),
    "multilabel": st.lists(st.sampled_from("abc"), max_size=3, unique=True).map(tuple),
    "regression": st.floats(-(2.0**100), 2.0**100),
    "token_classification": st.lists(st.sampled_from(["O", "B-x", "I-x", "B-y"]), min_size=1, max_size=4).map(Tags),
}


@ANY
@given(
    st.data(), TEXTS, st.sampled_from(sorted(VALUES)), st.integers(0, 3), st.floats(0.01, 0.6), st.floats(0.01, 0.39)
)
def test_any_rows_are_split_to_the_row(data, texts, task, seed, test, validation):
    values = data.draw(st.lists(VALUES[task], min_size=len(texts), max_size=len(texts)))
    places = assign(texts, values, task, {"test": test, "validation": validation}, seed)
    assert sorted(np.concatenate(list(places.values())).tolist()) == list(range(len(texts)))
    sides = Counter(text for rows in places.values() for text in {texts[place] for place in rows})
    assert set(sides.values()) <= {1}, "a text stands on two sides"
    if task != "regression":
        assert kinds_of(values) == kinds_of([values[place] for place in places["train"]]), "a class has no row in train"
    limit = data.draw(st.integers(1, len(texts) + 2))
    drawn = draw(values, texts, task, limit, seed)
    assert len(set(drawn.tolist())) == len(drawn) == min(limit, len(texts))
    if limit >= find_strata(values, task).max() + 1:
        assert set(find_strata(values, task)[drawn]) == set(find_strata(values, task))


@ANY
@given(st.data(), TEXTS, st.integers(1, 5))
def test_any_rows_give_so_many_of_each_class(data, texts, count):
    values = data.draw(st.lists(VALUES["classification"], min_size=len(texts), max_size=len(texts)))
    assume(values)
    found = Counter(values[place] for place in draw_per_class(values, texts, count, 0))
    assert found == {name: min(rows, count) for name, rows in Counter(values).items()}
