"""CSV and TSV files that are damaged, or of another form than the recipe says."""

from __future__ import annotations

from case import Arguments, Case, Desk, error, rows


def csv(desk: Desk, content: str | bytes) -> Arguments:
    return desk.train(content)


def many(first: str, count: int = 30, header: str = "text,label\n") -> str:
    """A row, and sound ones behind it."""
    return header + first + rows(count).partition("\n")[2]


def reads_the_same(desk: Desk) -> None:
    """As the sound file would be read."""
    found = desk.data()
    desk.write("data.csv", rows())
    assert found.fingerprint == desk.data().fingerprint


def na_stays_text(desk: Desk) -> None:
    data = desk.data()
    assert data.schema.labels == ("NA", "None")
    texts = {text for split in data.splits.values() for (text,) in split.texts}
    assert {"NA", "None", "null", "nan"} < texts
    assert sum(len(split) for split in data.splits.values()) == 34


NA_ROWS = "text,label\n" + "".join(
    f"{text},{('NA', 'None')[number % 2]}\n"
    for number, text in enumerate(["NA", "None", "null", "nan", *(f"message {n}" for n in range(30))])
)

CASES = (
    Case(
        "zero bytes",
        "CSV",
        lambda desk: csv(desk, b""),
        error("the file is empty (0 bytes)", "{folder}/data.csv", "is it the right file?"),
    ),
    Case(
        "zero bytes",
        "only blank lines",
        lambda desk: csv(desk, "\n\n \n"),
        error("the file holds nothing but space", "{folder}/data.csv", "is it the right file?"),
    ),
    Case(
        "header only",
        "CSV",
        lambda desk: csv(desk, "text,label\n"),
        error("there are no rows, only column names", "{folder}/data.csv", "is it the right file?"),
    ),
    Case(
        "header only",
        "TSV",
        lambda desk: desk.train("text\tlabel\n", "data.tsv"),
        error("there are no rows, only column names", "{folder}/data.tsv", "is it the right file?"),
    ),
    Case(
        "ragged rows",
        "too few cells",
        lambda desk: csv(desk, many("no label\n")),
        error(
            "expected 2 cells, got 1 cell",
            "{folder}/data.csv, row 1 (line 2)",
            "put cells that hold a comma in double quotes, or correct the row",
        ),
    ),
    Case(
        "ragged rows",
        "too many cells",
        lambda desk: csv(desk, many("well, well,yes\n")),
        error(
            "expected 2 cells, got 3 cells",
            "{folder}/data.csv, row 1 (line 2)",
            "put cells that hold a comma in double quotes, or correct the row",
        ),
    ),
    Case(
        "unclosed quote",
        "to the end of the file",
        lambda desk: csv(desk, many('"never closed,yes\n')),
        error(
            "a double quote opens a cell here and is not closed before the end of the file (line 32)",
            "{folder}/data.csv, row 1 (line 2)",
            "close the cell, or set `quotes: false` under data where quotes are ordinary characters",
        ),
    ),
    Case(
        "unclosed quote",
        "closed by a later one",
        lambda desk: csv(desk, many('"a,yes\nb,"no\n')),
        error(
            "a quoted cell goes on after its closing quote (',' expected after '\"')",
            "{folder}/data.csv, row 1 (line 2 to 3)",
            'write a quote inside a quoted cell twice (""), or set `quotes: false` under data',
        ),
    ),
    Case(
        "unclosed quote",
        "text behind the closing quote",
        lambda desk: csv(desk, many('"a" b,yes\n')),
        error(
            "a quoted cell goes on after its closing quote (',' expected after '\"')",
            "{folder}/data.csv, row 1 (line 2)",
            'write a quote inside a quoted cell twice (""), or set `quotes: false` under data',
        ),
    ),
    Case(
        "UTF-16 or byte-order mark",
        "UTF-16 with its mark",
        lambda desk: csv(desk, rows().encode("utf-16")),
        repair="data: repaired: {folder}/data.csv: read as UTF-16, since it begins with that byte-order mark",
        proof=reads_the_same,
    ),
    Case(
        "UTF-16 or byte-order mark",
        "UTF-32 with its mark",
        lambda desk: csv(desk, rows().encode("utf-32")),
        repair="data: repaired: {folder}/data.csv: read as UTF-32, since it begins with that byte-order mark",
        proof=reads_the_same,
    ),
    Case(
        "UTF-16 or byte-order mark",
        "UTF-8 with its mark",
        lambda desk: csv(desk, b"\xef\xbb\xbf" + rows().encode()),
        read_as="UTF-8; the mark is no part of the first column's name",
        proof=reads_the_same,
    ),
    Case(
        "UTF-16 or byte-order mark",
        "UTF-16 without a mark",
        lambda desk: csv(desk, rows().encode("utf-16-le")),
        error(
            "expected UTF-8, got UTF-16-LE",
            "{folder}/data.csv",
            "set `encoding: utf-16-le` under data, or save the file as UTF-8",
        ),
    ),
    Case(
        "UTF-16 or byte-order mark",
        "UTF-16 cut in a letter",
        lambda desk: csv(desk, rows().encode("utf-16")[:-1]),
        error(
            "the file is not utf-16, as its byte-order mark says: byte 0x0A does not fit",
            "{folder}/data.csv, line 31",
            "write it again from its source, as UTF-8",
        ),
    ),
    Case(
        "Latin-1",
        "an accent",
        lambda desk: csv(desk, many("café au lait,yes\n").encode("latin-1")),
        error(
            "byte 0xE9 is not UTF-8; in Latin-1 (Windows-1252) the place reads 'café au lait,ye'",
            "{folder}/data.csv, line 2",
            "if that reads well, set `encoding: cp1252` under data; else save the file as UTF-8",
        ),
    ),
    Case(
        "Latin-1",
        "another encoding than the one named",
        lambda desk: desk.train(many("café,yes\n").encode("latin-1"), data_section={"encoding": "ascii"}),
        error(
            "the file is not ascii: byte 0xE9 does not fit",
            "{folder}/data.csv, line 2",
            "correct `encoding` under data, or save the file as UTF-8 and leave it out",
        ),
    ),
    Case(
        "duplicate columns",
        "twice",
        lambda desk: csv(desk, "text,label,text\na,b,c\n"),
        error(
            "the column name 'text' stands 2 times (columns 1, 3)",
            "{folder}/data.csv",
            "give every column its own name",
        ),
    ),
    Case(
        "duplicate columns",
        "empty names",
        lambda desk: csv(desk, "text,label,,\na,b,c,d\n"),
        error(
            "the column name '' stands 2 times (columns 3, 4)", "{folder}/data.csv", "give every column its own name"
        ),
    ),
    Case(
        "missing column",
        "a typo in the recipe",
        lambda desk: desk.train(data_section={"text": "txet"}),
        error(
            "there is no column 'txet'; the columns are 'text', 'label'", "{folder}/data.csv", "did you mean 'text'?"
        ),
    ),
    Case(
        "missing column",
        "the label",
        lambda desk: desk.train(data_section={"label": "intent"}),
        error(
            "there is no column 'intent'; the columns are 'text', 'label'", "{folder}/data.csv", "did you mean 'text'?"
        ),
    ),
    Case(
        "missing column",
        "in the test file",
        lambda desk: (desk.write("test.csv", "text\na\n"), desk.train(data_section={"test": "test.csv"}))[1],
        error(
            "there is no column 'label'; the columns are 'text'",
            "{folder}/test.csv",
            "name one of the columns that are there",
        ),
    ),
    Case(
        "missing column",
        "no header",
        lambda desk: csv(desk, many("this is the first of all the messages,yes\n", header="")),
        error(
            "there is no column 'label'; the columns are 'this is the first of all the messages', 'yes'",
            "{folder}/data.csv",
            "the first line reads as a row of data: where there are no column names, set `header: false` under data, "
            "and call columns by number, from 0",
        ),
    ),
    Case(
        "wrong delimiter",
        "semicolons",
        lambda desk: csv(desk, rows().replace(",", ";")),
        error(
            "there is no column 'label'; the columns are 'text;label'",
            "{folder}/data.csv",
            'the cells seem to be divided by a semicolon: set `delimiter: ";"` under data',
        ),
    ),
    Case(
        "wrong delimiter",
        "tabs",
        lambda desk: csv(desk, rows().replace(",", "\t")),
        error(
            "there is no column 'label'; the columns are 'text\\tlabel'",
            "{folder}/data.csv",
            'the cells seem to be divided by a tab: set `delimiter: "\\t"` under data',
        ),
    ),
    Case(
        "wrong delimiter",
        "semicolons, and commas in the text",
        lambda desk: csv(desk, many("a, b;yes\n", 30, "text;label\n")),
        error(
            "expected 1 cell, got 2 cells",
            "{folder}/data.csv, row 1 (line 2)",
            'the cells seem to be divided by a semicolon: set `delimiter: ";"` under data',
        ),
    ),
    Case(
        "NUL byte",
        "in a cell",
        lambda desk: csv(desk, many("a\x00b,yes\n")),
        error(
            "a NUL character, which no text has",
            "{folder}/data.csv, line 2",
            "the file is damaged, or not a text file: write it again from its source",
        ),
    ),
    Case(
        "10 MB cell",
        "in quotes",
        lambda desk: csv(desk, many('"' + "x" * 10_000_000 + '",yes\n')),
        error(
            "a cell of more than 1,000,000 characters; at most 1,000,000 are read",
            "{folder}/data.csv, row 1 (line 2)",
            "is a double quote left open here? else cut the text into several rows",
        ),
    ),
    Case(
        "10 MB cell",
        "a quote left open in a large file",
        lambda desk: csv(desk, many('"open,yes\n', 300_000)),
        error(
            "a cell of more than 1,000,000 characters; at most 1,000,000 are read",
            "{folder}/data.csv, row 1 (line 2)",
            "is a double quote left open here? else cut the text into several rows",
        ),
    ),
    Case(
        "10 MB cell",
        "JSONL",
        lambda desk: desk.train('{"text": "' + "x" * 10_000_000 + '", "label": "a"}\n', "data.jsonl"),
        error(
            "a cell of 10,000,000 characters; at most 1,000,000 are read",
            "{folder}/data.jsonl, row 1, column 'text'",
            "cut the text into rows",
        ),
    ),
    Case(
        "literal NA or None",
        "as texts and as classes",
        lambda desk: csv(desk, NA_ROWS),
        read_as="the text that stands there",
        proof=na_stays_text,
    ),
    Case(
        "literal NA or None",
        "as a number to predict",
        lambda desk: csv(desk, "text,label\n" + "".join(f"message {n},{n / 7:.3f}\n" for n in range(40)) + "last,NA\n"),
        error(
            "expected a number, got 'NA'",
            "{folder}/data.csv, row 41, column 'label'",
            "correct the cell, leave it empty, or, if the column holds names, set `task: classification` under data",
        ),
    ),
)
