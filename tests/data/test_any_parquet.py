"""Whatever a Parquet file holds, or has become: a table of plain values, prepared, or a DataError."""

from __future__ import annotations

import datetime
import decimal

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunewise.data.columnar import read_parquet
from tunewise.data.prepare import prepare
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError

ANY = settings(max_examples=60, deadline=4000, suppress_health_check=[HealthCheck.function_scoped_fixture])
ROWS = 12
TYPES: dict[str, pa.Array] = {
    "text": pa.array([f"text {n} of it" for n in range(ROWS)]),
    "large text": pa.array([f"text {n} of it" for n in range(ROWS)], pa.large_string()),
    "view": pa.array([f"text {n} of it" for n in range(ROWS)], pa.string_view()),
    "nothing": pa.array([None] * ROWS, pa.null()),
    "text or nothing": pa.array(["a b", None, "", " "] * 3),
    "classes": pa.array(["x", "y"] * 6).dictionary_encode(),
    "classes with nothing": pa.array(["x", "y", None] * 4).dictionary_encode(),
    "runs": pa.RunEndEncodedArray.from_arrays([6, 12], ["x", "y"]),
    "ids": pa.array([0, 1, 2] * 4, pa.uint8()),
    "large ids": pa.array([2**63, 2**64 - 1] * 6, pa.uint64()),
    "halves": pa.array([0.5, 1.5] * 6, pa.float32()),
    "not finite": pa.array([0.5, float("nan"), float("inf")] * 4),
    "decimals": pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.25")] * 6),
    "truth": pa.array([True, False, None] * 4),
    "days": pa.array([datetime.date(2024, 1, day) for day in range(1, 13)]),
    "moments": pa.array([10**18, -(10**18)] * 6, pa.timestamp("ns", "UTC")),
    "moments beyond the calendar": pa.array([10**15] * 12, pa.timestamp("ms")),
    "spans": pa.array([10**9, 2 * 10**9] * 6, pa.duration("ns")),
    "bytes": pa.array([b"a", b"\xff"] * 6),
    "text that is not UTF-8": pa.array([b"a", b"\xff"] * 6).view(pa.string()),
    "lists": pa.array([["a", "b"], [], None] * 4),
    "lists of dictionaries": pa.ListArray.from_arrays(list(range(13)), pa.array(["a", "b"] * 6).dictionary_encode()),
    "words": pa.array([["some", "words"]] * ROWS),
    "tags": pa.array([["O", "B-x"]] * ROWS),
    "structures": pa.array([{"a": 1, "b": [None]}] * ROWS),
    "maps": pa.array([[("k", 1)], []] * 6, pa.map_(pa.string(), pa.int64())),
    "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes([n]) * 16 for n in range(ROWS)], pa.binary(16))),
    "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}', "null"] * 6)),
    "tensors": pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.float32(), [2]), pa.array([[1.0, 2.0]] * ROWS, pa.list_(pa.float32(), 2))
    ),
}


def attempt(action, *arguments):
    try:
        return action(*arguments)
    except DataError as error:
        assert error.what and error.where and "Traceback" not in str(error)
        str(error).encode()
        return None


def test_every_type_is_read_or_named(tmp_path):
    """Which are refused is a decision, and not what pyarrow happens to raise."""
    refused = []
    for name, cells in TYPES.items():
        try:
            pq.write_table(pa.table({"cells": cells}), tmp_path / "f.parquet")
        except pa.ArrowNotImplementedError:  # a type that Parquet does not have
            continue
        table = attempt(read_parquet, tmp_path / "f.parquet", "f.parquet")
        if table is None:
            refused.append(name)
        else:
            assert len(table) == ROWS
    assert refused == ["moments beyond the calendar", "text that is not UTF-8"]


@ANY
@given(
    text=st.sampled_from(sorted(TYPES)),
    label=st.sampled_from(sorted(TYPES)),
    task=st.sampled_from([None, "classification", "multilabel", "regression", "token_classification"]),
    named=st.booleans(),
)
def test_any_types_are_prepared_or_refused(tmp_path, text, label, task, named):
    try:
        pq.write_table(pa.table({"text": TYPES[text], "label": TYPES[label]}), tmp_path / "f.parquet")
    except pa.ArrowNotImplementedError:
        return
    config = DataConfig(train="f.parquet", text="text" if named else None, label="label", task=task)
    data = attempt(prepare, config, tmp_path)
    if data is not None:
        left_out = sum(step.rows_in - step.rows_out for step in data.steps if step.name != "split")
        assert sum(map(len, data.splits.values())) == ROWS - left_out


@ANY
@given(cut=st.integers(0, 900), place=st.integers(0, 900), bit=st.integers(0, 7))
def test_a_file_that_is_cut_or_has_a_bit_flipped(tmp_path, cut, place, bit):
    """A cut is always found; a flipped bit where it leaves no Parquet file, or no text: few writers put checksums."""
    pq.write_table(pa.table({"text": TYPES["text"], "label": TYPES["classes"]}), tmp_path / "f.parquet")
    whole = bytearray((tmp_path / "f.parquet").read_bytes())
    (tmp_path / "f.parquet").write_bytes(whole[: len(whole) - cut] if cut else whole)
    assert (attempt(read_parquet, tmp_path / "f.parquet", "f.parquet") is None) == (cut > 0)
    whole[place % len(whole)] ^= 1 << bit
    (tmp_path / "f.parquet").write_bytes(whole)
    attempt(prepare, DataConfig(train="f.parquet", text="text", label="label"), tmp_path)
