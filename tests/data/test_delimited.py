"""CSV and TSV reading, against the csv module and against hand-made damage."""

from __future__ import annotations

import csv
import io
import random

import pytest

from tunewise.data.delimited import _LINE, read_delimited
from tunewise.data.table import MAX_CELL
from tunewise.errors import DataError


def read(text: str | bytes, **options):
    return read_delimited(text.encode() if isinstance(text, str) else text, "f.csv", **options)


def fails(text: str | bytes, *words: str, **options) -> str:
    with pytest.raises(DataError) as caught:
        read(text, **options)
    message = str(caught.value)
    for word in ("f.csv", *words):
        assert word in message
    assert caught.value.fix
    return message


def test_cells_are_those_that_the_csv_module_wrote():
    rows = [['a "quoted", word', "NA"], ["two\nlines", "None"], [" spaces ", ""], ["\u2028", "1.0"], ["ünï", "=1+1"]]
    file = io.StringIO()
    csv.writer(file).writerows([["text", "label"], *rows])
    table = read(file.getvalue())
    assert list(table.columns) == ["text", "label"]
    assert list(zip(*table.columns.values(), strict=True)) == [tuple(row) for row in rows]


def test_the_field_limit_of_the_csv_module_is_left_as_it_was():
    before = csv.field_size_limit()
    assert len(read("text\n" + "x" * (before + 1)).columns["text"][0]) == before + 1
    fails("text\n" + "x" * (MAX_CELL + 1), "1,000,000")
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_a_byte_order_mark_is_no_part_of_the_first_name(mark):
    assert list(read(f"{mark}text,label\na,b\n").columns) == ["text", "label"]


def test_utf16_is_read_where_it_is_marked_or_named_and_explained_where_not():
    for encoding in ("utf-16", "utf-32"):
        data = "text,label\nhello,yes\n".encode(encoding)
        assert read(data, encoding=encoding).columns["text"] == ("hello",)
        assert read(data, encoding=encoding).repairs == ()
        found = read(data)
        assert (found.columns, found.repairs[0][:15]) == (
            read(data, encoding=encoding).columns,
            f"read as {encoding.upper()},",
        )
        fails(data[:-1], f"not {encoding}, as its byte-order mark says", "line 2", "UTF-8")
    fails("text,label\nhello,yes\n".encode("utf-16-le"), "encoding: utf-16-le")
    fails("text,label\nhello,yes\n".encode("utf-16-be"), "encoding: utf-16-be")


def test_latin_1_names_line_and_option():
    data = "text,label\nok,a\ncafé au lait,b\n".encode("latin-1")
    fails(data, "line 3", "0xE9", "café au lait", "encoding: cp1252")
    assert read(data, encoding="cp1252").columns["text"][1] == "café au lait"


def test_an_encoding_that_there_is_not():
    for name in ("utf-99", "hex", "rot13", "a\x00b"):
        with pytest.raises(DataError, match=r"there is no text encoding"):
            read("text\na\n", encoding=name)
    fails("text\n\xe9\n".encode("latin-1"), "not ascii", "line 2", encoding="ascii")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("empty (0 bytes)",)),
        ("\n \n", ("nothing but space",)),
        ("text,label\n", ("no rows, only column names",)),
        ("text,label\na,b\nc\n", ("row 2 (line 3)", "expected 2 cells, got 1 cell")),
        ('text,label\n"a\nb",x\nc,d,e\n', ("row 2 (line 4)", "got 3 cells", "comma")),
        ('text,label\na,b\n"c,d\ne,f\n', ("row 2 (line 3)", "not closed", "line 4", "quotes: false")),
        ('text,label\n"a" b,c\n', ("row 1 (line 2)", "after its closing quote", '""')),
        ("text,label,text\na,b,c\n", ("'text' stands 2 times", "columns 1, 3")),
        ("text;label\na, b;c\n", ("row 1 (line 2)", 'delimiter: ";"')),
        ("a,b\nx,\x00y\n", ("NUL", "line 2")),
        (b"PAR1....", ("Parquet", "data.format")),
        (b"PK\x03\x04....", ("Excel",)),
        (b"\x1f\x8b\x08....", ("gzip",)),
        ('text,label\n"' + "x" * 10_000_000, ("row 1 (line 2)", "1,000,000 characters", "quote left open")),
    ],
)
def test_damage_is_named_with_its_place(text, words):
    fails(text, *words)


def test_a_wrong_delimiter_is_suggested_where_a_column_is_missing():
    for mark, shown in ((";", ";"), ("\t", "\\t"), ("|", "|")):
        table = read(f"text{mark}label\na{mark}b\n")
        with pytest.raises(DataError) as caught:
            table.find("label")
        assert f'delimiter: "{shown}"' in caught.value.fix


def test_without_quotes_they_are_ordinary_characters():
    table = read('ham\tsay "hi\nspam\t"win" now\n', delimiter="\t", quotes=False, header=False)
    assert dict(table.columns) == {"0": ("ham", "spam"), "1": ('say "hi', '"win" now')}


def test_blank_lines_are_counted_and_are_no_rows():
    table = read("text,label\n\na,b\n\nc,d\n\n")
    assert len(table) == 2
    assert table.note == "3 blank lines passed over"
    assert read('text\n""\nb\n').columns["text"] == ("", "b")


def test_all_line_ends():
    for end in ("\n", "\r\n", "\r"):
        assert read(end.join(["text,label", "a,b", "c,d", ""])).columns["label"] == ("b", "d")


@pytest.mark.parametrize("delimiter", ['"', "\n", "\r", "\x00"])
def test_a_delimiter_that_cannot_be_one(delimiter):
    with pytest.raises(DataError, match="delimiter cannot be"):
        read("a\nb\n", delimiter=delimiter)


def test_find_takes_names_and_numbers_and_names_the_nearest():
    table = read("message, intent ,7\na,b,c\n")
    assert [table.find(name) for name in ("intent", 0, 7, "7")] == ["intent", "message", "7", "7"]
    with pytest.raises(DataError) as caught:
        table.find("Mesage")
    assert "'message', 'intent', '7'" in caught.value.what
    assert caught.value.fix == "did you mean 'message'?"
    for wrong in (3, -1):
        with pytest.raises(DataError, match="no column"):
            table.find(wrong)


def test_lines_end_where_a_file_has_them():
    """At \\n, \\r and \\r\\n, and nowhere else: as a file without translation of line ends has them."""
    generator = random.Random(0)
    for _ in range(500):
        text = "".join(generator.choices('a,"\n\r\u2028\x0b\x1c', k=generator.randrange(12)))
        assert [line.group() for line in _LINE.finditer(text)] == list(io.StringIO(text, newline=""))


@pytest.mark.parametrize(("most", "shared"), [(10_000, [True, True]), (1, [True, False])])
def test_equal_cells_of_a_column_are_one_string(most: int, shared: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the first so many that are different."""
    monkeypatch.setattr("tunewise.data.delimited.MOST_SHARED", most)
    labels = read("text,label\na,one more\nb,another\nc,one more\nd,another\n").columns["label"]
    assert labels == ("one more", "another", "one more", "another")
    assert [labels[place] is labels[place + 2] for place in (0, 1)] == shared
