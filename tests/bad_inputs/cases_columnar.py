"""JSONL and Parquet files that are damaged, or hold other values than they should."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from case import Arguments, Case, Desk, error

LABELS = ("yes", "no")


def objects(count: int = 30) -> list[dict[str, Any]]:
    return [{"text": f"message {number}", "label": LABELS[number % 2]} for number in range(count)]


def jsonl(first: str, last: str = "") -> Callable[[Desk], Arguments]:
    """A recipe for a file with this first line, sound ones behind it, and this last one."""
    lines = [first, *map(json.dumps, objects())] if first else list(map(json.dumps, objects()))
    return lambda desk: desk.train("\n".join([*lines, last]), "data.jsonl")


def parquet(desk: Desk, **columns: Any) -> bytes:
    """The bytes of a Parquet file with the sound columns, and these."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = objects()
    whole = {"text": [row["text"] for row in rows], "label": [row["label"] for row in rows]} | columns
    path = desk.folder / "made.parquet"
    pq.write_table(pa.table({name: cells for name, cells in whole.items() if cells is not None}), path)
    return path.read_bytes()


def shards(**second: Any) -> Callable[[Desk], Arguments]:
    """A folder of two shards, these columns of the second being others."""

    def make(desk: Desk) -> Arguments:
        desk.write("shards/train-00000-of-00002.parquet", parquet(desk))
        desk.write("shards/train-00001-of-00002.parquet", parquet(desk, **second))
        return desk.train(data_section={"train": "shards"})

    return make


def a_shard_missing(desk: Desk) -> Arguments:
    desk.write("shards/train-00000-of-00003.parquet", parquet(desk))
    desk.write("shards/train-00002-of-00003.parquet", parquet(desk))
    return desk.train(data_section={"train": "shards"})


def encoded(desk: Desk) -> Arguments:
    """Labels by number of a dictionary, texts as an extension type."""
    import pyarrow as pa

    texts, labels = ([row[name] for row in objects()] for name in ("text", "label"))
    ids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes([n]) * 16 for n in range(30)], pa.binary(16)))
    columns = {
        "text": pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts)),
        "label": pa.array(labels).dictionary_encode(),
        "id": ids,
    }
    return desk.train(parquet(desk, **columns), "data.parquet")


def as_they_stand(desk: Desk) -> None:
    data = desk.data()
    assert data.schema.labels == ("no", "yes")
    for split in data.splits.values():
        for (text,), target, row in zip(split.texts, split.targets, split.rows, strict=True):
            assert objects()[row - 1] == {"text": text, "label": data.schema.labels[target]}
    assert sum(map(len, data.splits.values())) == 30


def drifted_dataset(desk: Desk) -> Arguments:
    """A folder saved by `datasets`, one of whose two files was put there from elsewhere."""
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_list(objects())
    rows.save_to_disk(str(desk.folder / "saved"), num_shards=2)
    other = datasets.Dataset.from_list([{"text": row["text"], "label": 1} for row in objects()])
    other.save_to_disk(str(desk.folder / "other"), num_shards=2)
    name = "data-00001-of-00002.arrow"
    desk.write(f"saved/{name}", (desk.folder / "other" / name).read_bytes())
    return desk.train(data_section={"train": "saved"})


def cut(desk: Desk) -> Arguments:
    return desk.train(parquet(desk)[:-10], "data.parquet")


CASES = (
    Case(
        "torn last line",
        "in a value",
        jsonl("", '{"text": "the last'),
        error(
            "the last line is cut off or not JSON (Unterminated string starting at character 10)",
            "{folder}/data.jsonl, row 31 (line 31)",
            "the file was probably not written to its end: write it again, or take that line out",
        ),
    ),
    Case(
        "torn last line",
        "in a key",
        jsonl("", '{"text": "the last", "la'),
        error(
            "the last line is cut off or not JSON (Unterminated string starting at character 22)",
            "{folder}/data.jsonl, row 31 (line 31)",
            "the file was probably not written to its end: write it again, or take that line out",
        ),
    ),
    Case(
        "mixed types",
        "text and a number as label",
        jsonl('{"text": "a b", "label": 1}'),
        error(
            "expected text, as in 30 rows of this column, got number (1), as in 1",
            "{folder}/data.jsonl, row 1, column 'label'",
            'write the whole column in one way; in JSON, "1" is text and 1 a number',
        ),
    ),
    Case(
        "mixed types",
        "a number as text",
        jsonl('{"text": 5, "label": "yes"}'),
        error(
            "expected text, as in 30 rows of this column, got number (5), as in 1",
            "{folder}/data.jsonl, row 1, column 'text'",
            'write the whole column in one way; in JSON, "1" is text and 1 a number',
        ),
    ),
    Case(
        "mixed types",
        "a list as label",
        jsonl('{"text": "a", "label": ["yes"]}'),
        error(
            'expected text, as in 30 rows of this column, got list (["yes"]), as in 1',
            "{folder}/data.jsonl, row 1, column 'label'",
            'write the whole column in one way; in JSON, "1" is text and 1 a number',
        ),
    ),
    Case(
        "mixed types",
        "a row that is no object",
        jsonl('"text"'),
        error(
            "expected an object ({...}), got text", "{folder}/data.jsonl, row 1 (line 1)", "write one object per line"
        ),
    ),
    Case(
        "array instead of lines",
        "one per line",
        lambda desk: desk.train("\n".join(json.dumps([one]) for one in objects()), "data.jsonl"),
        error(
            "expected one object per line, got one JSON array",
            "{folder}/data.jsonl, row 1 (line 1)",
            "write each object on its own line, without the brackets and commas around them",
        ),
    ),
    Case(
        "array instead of lines",
        "cut off",
        lambda desk: desk.train(json.dumps(objects(), indent=1)[:-1], "data.json"),
        error(
            "the file is cut off or not JSON (Expecting ',' delimiter at character 1)",
            "{folder}/data.json, line 122",
            "write the whole list, from [ to ], or one object per line without commas between them",
        ),
    ),
    Case(
        "NaN token",
        "as label",
        jsonl('{"text": "a", "label": NaN}'),
        error(
            "NaN is no JSON value; write null for a value that is missing",
            "{folder}/data.jsonl, row 1 (line 1)",
            "correct the line",
        ),
    ),
    Case(
        "NaN token",
        "infinite",
        jsonl('{"text": "a", "label": -Infinity}'),
        error(
            "-Infinity is no JSON value; write null for a value that is missing",
            "{folder}/data.jsonl, row 1 (line 1)",
            "correct the line",
        ),
    ),
    Case(
        "lone surrogate",
        "in a text",
        jsonl('{"text": "a \\ud83d", "label": "yes"}'),
        error(
            "half of a surrogate pair, which is no character: the text was cut in the middle of an emoji or similar",
            "{folder}/data.jsonl, row 1, column 'text'",
            "write the file again from its source, as UTF-8",
        ),
    ),
    Case(
        "lone surrogate",
        "in a class",
        jsonl('{"text": "a", "label": "yes\\ude00"}'),
        error(
            "half of a surrogate pair, which is no character: the text was cut in the middle of an emoji or similar",
            "{folder}/data.jsonl, row 1, column 'label'",
            "write the file again from its source, as UTF-8",
        ),
    ),
    Case(
        "lone surrogate",
        "in a key",
        jsonl('{"text": "a", "label": "yes", "\\ud83d": 1}'),
        error(
            "half of a surrogate pair, which is no character: the text was cut in the middle of an emoji or similar",
            "{folder}/data.jsonl, a column name",
            "write the file again from its source, as UTF-8",
        ),
    ),
    Case(
        "deep nesting",
        "lists",
        jsonl('{"text": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        error(
            "lists or objects more than 100 deep inside each other",
            "{folder}/data.jsonl, row 1 (line 1)",
            "flatten the object",
        ),
    ),
    Case(
        "deep nesting",
        "objects",
        jsonl('{"text": ' + '{"a": ' * 150 + "1" + "}" * 150 + "}"),
        error(
            "lists or objects more than 100 deep inside each other",
            "{folder}/data.jsonl, row 1 (line 1)",
            "flatten the object",
        ),
    ),
    Case(
        "Parquet bad footer",
        "the end is cut off",
        cut,
        error(
            "the Parquet file cannot be read (Parquet magic bytes not found in footer. Either the file is corrupted "
            "or this is not a parquet file)",
            "{folder}/data.parquet",
            "it was probably not written to its end, or is of another format: write it again",
        ),
    ),
    Case(
        "Parquet bad footer",
        "another file under its name",
        lambda desk: desk.train("text,label\na,b\n", "data.parquet"),
        error(
            "the Parquet file cannot be read (Parquet magic bytes not found in footer. Either the file is corrupted "
            "or this is not a parquet file)",
            "{folder}/data.parquet",
            "it was probably not written to its end, or is of another format: write it again",
        ),
    ),
    Case(
        "Parquet bad footer",
        "Parquet called CSV",
        lambda desk: desk.train(parquet(desk), "data.csv"),
        error("expected a text file, got a Parquet file", "{folder}/data.csv", "set data.format to parquet"),
    ),
    Case(
        "schema drift between shards",
        "another type",
        shards(label=[0, 1] * 15),
        error(
            "expected the columns of the first shard: 'label' is text in it, and whole numbers here",
            "{folder}/shards/train-00001-of-00002.parquet",
            "write all shards with the same columns; the first is {folder}/shards/train-00000-of-00002.parquet",
        ),
    ),
    Case(
        "schema drift between shards",
        "a column less",
        shards(label=None),
        error(
            "expected the columns of the first shard: 'label' is text in it, and not there here",
            "{folder}/shards/train-00001-of-00002.parquet",
            "write all shards with the same columns; the first is {folder}/shards/train-00000-of-00002.parquet",
        ),
    ),
    Case(
        "schema drift between shards",
        "a column more",
        shards(region=["n"] * 30),
        error(
            "expected the columns of the first shard: 'region' is not there in it, and text here",
            "{folder}/shards/train-00001-of-00002.parquet",
            "write all shards with the same columns; the first is {folder}/shards/train-00000-of-00002.parquet",
        ),
    ),
    Case(
        "schema drift between shards",
        "a shard is missing",
        a_shard_missing,
        error(
            "expected 3 shards, as their names say, got 2; the first that is missing is number 1",
            "{folder}/shards",
            "fetch the missing files: without them rows would be missing in silence",
        ),
    ),
    Case(
        "schema drift between shards",
        "in a folder saved by `datasets`",
        drifted_dataset,
        error(
            "the dataset cannot be read (Unable to merge: Field label has incompatible types: string vs int64)",
            "{folder}/saved",
            "save it again",
        ),
    ),
    Case(
        "dictionary or extension types",
        "labels in a dictionary, texts and ids of extension types",
        encoded,
        read_as="the values that they stand for",
        proof=as_they_stand,
    ),
    Case(
        "dictionary or extension types",
        "bytes as text",
        lambda desk: desk.train(parquet(desk, text=[b"a"] * 30), "data.parquet"),
        error(
            "expected text, got bytes",
            "{folder}/data.parquet, column 'text'",
            "name another column as `text` under data, or write the column as strings",
        ),
    ),
)
