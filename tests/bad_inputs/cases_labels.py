"""Labels and splits that would make a model look better or worse than it is, or not be learned at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from case import Arguments, Case, Desk, error, rows


def labelled(cells: Sequence[str], **section: Any) -> Callable[[Desk], Arguments]:
    """A recipe for a CSV file with a row of each label."""
    text = "text,label\n" + "".join(f'message {n},"{label}"\n' for n, label in enumerate(cells))
    return lambda desk: desk.train(text, data_section=section)


def objects(labels: Sequence[Any]) -> Callable[[Desk], Arguments]:
    """The same in JSONL, where a label has a type."""
    lines = [json.dumps({"text": f"message {n}", "label": label}) for n, label in enumerate(labels)]
    return lambda desk: desk.train("\n".join(lines), "data.jsonl")


def with_test(lines: str, **section: Any) -> Callable[[Desk], Arguments]:
    """Sound rows to train on, and these to test on."""

    def make(desk: Desk) -> Arguments:
        desk.write("test.csv", "text,label\n" + lines)
        return desk.train(data_section={"test": "test.csv", **section})

    return make


def saved_dataset(*ids: int) -> Callable[[Desk], Arguments]:
    """A folder of `datasets` whose label is an id of two named classes: 0, 1, 0, 1, ... and then these."""

    def make(desk: Desk) -> Arguments:
        import datasets

        datasets.disable_progress_bars()
        labels = [*[0, 1] * 15, *ids]
        features = datasets.Features({"text": datasets.Value("string"), "label": datasets.Value("int64")})
        rows = {"text": [f"message {n}" for n in range(len(labels))], "label": labels}
        made = datasets.Dataset.from_dict(rows, features=features)
        named = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
        made.info.features = named  # as a careless export has it: the names are not checked against the ids
        made.save_to_disk(str(desk.folder / "saved"))
        return desk.train(data_section={"train": "saved"})

    return make


def count(desk: Desk) -> int:
    return sum(map(len, desk.data().splits.values()))


def two_rows_less(desk: Desk) -> None:
    assert count(desk) == 30 and desk.data().schema.labels == ("no", "yes")


def three_classes(desk: Desk) -> None:
    assert desk.data().schema.labels == ("-1", "0", "1") and count(desk) == 30


def read_apart(desk: Desk) -> None:
    data = desk.data()
    assert (data.schema.task, data.schema.labels) == ("multilabel", ("a", "b"))
    assert data.splits["train"].targets.sum(axis=1).tolist() == [
        [1, 1, 2][(row - 1) % 3] for row in data.splits["train"].rows
    ]


def nothing_lost(desk: Desk) -> None:
    data = desk.data()
    assert count(desk) == 34 and len(data.splits["test"]) == 4
    told = [step.reason for step in data.steps if step.name == "overlap"]
    shared = [sum(text in data.splits[name].texts for text in data.splits["test"].texts) for name in data.splits]
    assert shared == [2, 1, 4] and [reason[:10] for reason in told] == ["2 of 4 row", "1 of 4 row"]


def dropped(desk: Desk) -> None:
    data = desk.data()
    assert len(data.splits["test"]) == 4 and count(desk) == 31
    test = set(data.splits["test"].texts)
    assert not any(test & set(data.splits[name].texts) for name in ("train", "validation"))


SHARED = "".join(f"{line}\n" for line in rows().splitlines()[1:4]) + "something new,yes\n"

CASES = (
    Case(
        "single class",
        "all rows alike",
        labelled(["yes"] * 20),
        error(
            "all 20 rows with a label have the same class ('yes'): there is nothing to learn",
            "{folder}/data.csv, column 'label'",
            "at least two are needed; is it the right column, and are all the rows in the file?",
        ),
    ),
    Case(
        "single class",
        "but for rows without a label",
        labelled(["yes", ""] * 10),
        error(
            "all 10 rows with a label have the same class ('yes'): there is nothing to learn",
            "{folder}/data.csv, column 'label'",
            "at least two are needed; is it the right column, and are all the rows in the file?",
        ),
    ),
    Case(
        "single class",
        "one number to predict",
        labelled(["0.5"] * 20, task="regression"),
        error(
            "all 20 rows with a label have the same number ('0.5'): there is nothing to learn",
            "{folder}/data.csv, column 'label'",
            "at least two are needed; is it the right column, and are all the rows in the file?",
        ),
    ),
    Case(
        "class only in test",
        "a new class",
        with_test("a,yes\nb,never\nc,never\n"),
        error(
            "1 class that {folder}/data.csv does not have: 'never' (2 rows)",
            "{folder}/test.csv, row 2",
            "The known classes are 'no', 'yes'. Correct the label, or take the rows out",
        ),
    ),
    Case(
        "class only in test",
        "a spelling",
        with_test("a,yes\nb,No\n"),
        error(
            "1 class that {folder}/data.csv does not have: 'No' (1 row)",
            "{folder}/test.csv, row 2",
            "did you mean 'no'? The known classes are 'no', 'yes'. Correct the label, or take the rows out",
        ),
    ),
    Case(
        "class only in test",
        "in validation",
        with_test("a,yes\nb,x\n", test=None, validation="test.csv"),
        error(
            "1 class that {folder}/data.csv does not have: 'x' (1 row)",
            "{folder}/test.csv, row 2",
            "The known classes are 'no', 'yes'. Correct the label, or take the rows out",
        ),
    ),
    Case(
        "class id out of range or -1",
        "beyond the names of the dataset",
        saved_dataset(2),
        error(
            "class number 2 is out of range: the dataset names 2 classes",
            "{folder}/saved, row 31, column 'label'",
            "correct the number, or the names of the column",
        ),
    ),
    Case(
        "class id out of range or -1",
        "-1 in a dataset that names its classes",
        saved_dataset(-1, -1),
        repair="data: missing label: {folder}/saved: nothing in 'label' in rows 31, 32; left out",
        proof=two_rows_less,
    ),
    Case(
        "class id out of range or -1",
        "-1 beside 0, 1, 2",
        labelled(["0", "1", "2"] * 10 + ["-1"]),
        error(
            "class '-1' (1 row) beside the ids 0 to 2: it probably stands for no label",
            "{folder}/data.csv, row 31, column 'label'",
            "leave these cells empty: rows without a label are left out and counted; if it is a class of its own, "
            "list all classes in data.labels",
        ),
    ),
    Case(
        "class id out of range or -1",
        "beyond the classes of the recipe",
        labelled(["0", "1"] * 10 + ["7"], labels=["0", "1", "2"]),
        error(
            "class '7' (1 row) is not in data.labels, which names '0', '1', '2'",
            "{folder}/data.csv, row 21, column 'label'",
            "correct the cells, or list the class in data.labels",
        ),
    ),
    Case(
        "class id out of range or -1",
        "-1 beside 0 and 1",
        labelled(["-1", "0", "1"] * 10),
        repair="data: doubtful classes: {folder}/data.csv, column 'label': '-1' (10 rows) is taken as a class; "
        "where it means that there is no label, leave the cells empty",
        proof=three_classes,
    ),
    Case(
        "class id out of range or -1",
        "-1 in the test file",
        with_test("a,-1\nb,-1\n"),
        error(
            "1 class that {folder}/data.csv does not have: '-1' (2 rows)",
            "{folder}/test.csv, row 1",
            "The known classes are 'no', 'yes'. Correct the label, or take the rows out",
        ),
    ),
    Case(
        '"1", 1 and 1.0',
        '"1" and 1 in JSONL',
        objects(["1", 1, 2, 2] * 5),
        error(
            "expected number, as in 15 rows of this column, got text ('1'), as in 5",
            "{folder}/data.jsonl, row 1, column 'label'",
            'write the whole column in one way; in JSON, "1" is text and 1 a number',
        ),
    ),
    Case(
        '"1", 1 and 1.0',
        "1 and 1.0 in JSONL",
        objects([1, 1.0, 2, 2] * 5),
        error(
            "a class that is written in two ways: 1 in row 1, 1.0 here",
            "{folder}/data.jsonl, row 2, column 'label'",
            "write it in one way in the whole column; for a number to predict, set `task: regression`",
        ),
    ),
    Case(
        '"1", 1 and 1.0',
        "1 and 1.0 in CSV",
        labelled(["1", "1.0", "2", "2"] * 5),
        error(
            "two classes that are probably one: '1' (5 rows) and '1.0' (5 rows)",
            "{folder}/data.csv, row 2, column 'label'",
            "write both in the same way (`clean: {fold_labels: true}` under data does it); if they do differ, list all "
            "classes in data.labels",
        ),
    ),
    Case(
        '"1", 1 and 1.0',
        "true and 1 in JSONL",
        objects([True, 1, False, 0] * 5),
        error(
            "expected true/false, as in 10 rows of this column, got number (1), as in 10",
            "{folder}/data.jsonl, row 2, column 'label'",
            'write the whole column in one way; in JSON, "1" is text and 1 a number',
        ),
    ),
    Case(
        "whitespace or case twins",
        "a space",
        labelled(["yes", "yes ", "no", "no"] * 5),
        error(
            "two classes that are probably one: 'yes' (5 rows) and 'yes ' (5 rows)",
            "{folder}/data.csv, row 2, column 'label'",
            "write both in the same way (`clean: {fold_labels: true}` under data does it); if they do differ, list all "
            "classes in data.labels",
        ),
    ),
    Case(
        "whitespace or case twins",
        "a capital",
        labelled(["yes", "Yes", "no", "no"] * 5),
        error(
            "two classes that are probably one: 'Yes' (5 rows) and 'yes' (5 rows)",
            "{folder}/data.csv, row 1, column 'label'",
            "write both in the same way (`clean: {fold_labels: true}` under data does it); if they do differ, list all "
            "classes in data.labels",
        ),
    ),
    Case(
        "missing label",
        "some rows",
        labelled([*["yes", "no"] * 15, "", "  "]),
        repair="data: missing label: {folder}/data.csv: nothing in 'label' in rows 31, 32; left out",
        proof=two_rows_less,
    ),
    Case(
        "missing label",
        "all rows",
        labelled([""] * 20),
        error(
            "no row has both text and label: 0 of 20 have no text, 20 no label",
            "{folder}/data.csv",
            "is it the right column?",
        ),
    ),
    Case(
        "multi-label delimiter",
        "not named",
        labelled(["a", "b", "a|b"] * 10),
        error(
            "class 'a|b' (10 rows) is made of the classes 'a', 'b', divided by '|'",
            "{folder}/data.csv, row 3, column 'label'",
            'for several labels in a cell, set `label_separator: "|"` under data; if it is a class of its own, list '
            "all classes in data.labels",
        ),
    ),
    Case(
        "multi-label delimiter",
        "not named, a comma",
        labelled(["a", "b", "a, b"] * 10),
        error(
            "class 'a, b' (10 rows) is made of the classes 'a', 'b', divided by ','",
            "{folder}/data.csv, row 3, column 'label'",
            'for several labels in a cell, set `label_separator: ","` under data; if it is a class of its own, list '
            "all classes in data.labels",
        ),
    ),
    Case(
        "multi-label delimiter",
        "another one",
        labelled(["a", "b", "a|b"] * 10, label_separator=";"),
        error(
            "class 'a|b' (10 rows) is made of the classes 'a', 'b', divided by '|'",
            "{folder}/data.csv, row 3, column 'label'",
            "for several labels in a cell, correct `label_separator` under data; if it is a class of its own, list "
            "all classes in data.labels",
        ),
    ),
    Case(
        "multi-label delimiter",
        "in no cell",
        labelled(["a", "b", "c"] * 10, label_separator="|"),
        repair="data: doubtful classes: {folder}/data.csv, column 'label': no cell holds the separator '|': every "
        "row has at most one label",
        proof=lambda desk: None,
    ),
    Case(
        "multi-label delimiter",
        "named",
        labelled(["a", "b", "a | b"] * 10, label_separator="|"),
        read_as="the labels between the separators, without the space around them",
        proof=read_apart,
    ),
    Case(
        "rows in train and test",
        "told",
        with_test(SHARED),
        repair="data: overlap: 2 of 4 rows of test (50.0%) have a text that is also in train: {folder}/test.csv, "
        "rows 1, 3. Scores on test are better than they will be on new texts. Kept as they are",
        proof=nothing_lost,
    ),
    Case(
        "rows in train and test",
        "left out",
        with_test(SHARED, overlap="drop"),
        repair="data: overlap: {folder}/data.csv: 3 of 30 rows of train have a text that is also in test: rows 1, "
        "2, 3; left out of train",
        proof=dropped,
    ),
    Case(
        "rows in train and test",
        "an error where the recipe says so",
        with_test(SHARED, overlap="error"),
        error(
            "3 of 4 rows of test (75.0%) have a text that is also in train: {folder}/test.csv, rows 1, 2, 3",
            "data.overlap, which is `error`",
            "take these rows out of one of the files; `overlap: drop` leaves them out of the earlier split, "
            "`overlap: warn` keeps and counts them",
        ),
    ),
    Case(
        "rows in train and test",
        "the same file for both",
        lambda desk: desk.train(data_section={"test": "data.csv", "overlap": "drop"}),
        error(
            "no row of train is left: each has a text that is also in test",
            "{folder}/data.csv, data.overlap",
            "give other rows, or set `overlap: warn` to keep and count them",
        ),
    ),
)
