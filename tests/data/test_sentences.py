"""From files with words and tags to splits: every layout, and what is told of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tunewise.data.draft import draft_recipe
from tunewise.data.inspect import describe_file
from tunewise.data.prepare import load_split, prepare
from tunewise.data.sentences import joined, parted, sentence_columns, words_of
from tunewise.data.settings import DataConfig
from tunewise.data.table import Table
from tunewise.errors import DataError
from tunewise.types import DataBundle

ROWS = [
    (["EU", "rejects", "German", "call"], ["B-org", "O", "B-misc", "O"]),
    (["Peter", "Blackburn"], ["B-per", "I-per"]),
    (["BRUSSELS"], ["B-loc"]),
    (["nothing", "here"], ["O", "O"]),
]
MANY = [([f"{word}{number}" for word in words], tags) for number in range(12) for words, tags in ROWS]


def jsonl(path: Path, rows, **names) -> str:
    words, tags = names.get("words", "tokens"), names.get("tags", "tags")
    path.write_text("".join(json.dumps({"id": 1, words: row[0], tags: row[1]}) + "\n" for row in rows))
    return path.name


def conll(path: Path, rows) -> str:
    path.write_text("\n".join("".join(f"{word}\t{tag}\n" for word, tag in zip(*row, strict=True)) for row in rows))
    return path.name


def prepared(folder: Path, source: str, **options) -> DataBundle:
    return prepare(DataConfig(train=source, **options), folder)


def told(data: DataBundle, name: str) -> str:
    return " / ".join(step.reason for step in data.steps if step.name == name)


@pytest.mark.parametrize("write", ["train.conll", "train.jsonl"])
def test_words_and_tags_become_splits(write: str, tmp_path: Path) -> None:
    source = (conll if write.endswith("conll") else jsonl)(tmp_path / write, MANY)
    data = prepared(tmp_path, source)
    assert data.schema.task == "token_classification"
    assert (data.schema.text, data.schema.label) == (("tokens",), "tags")
    expected = ("O", *(f"{prefix}-{kind}" for kind in ("loc", "misc", "org", "per") for prefix in "BI"))
    assert data.schema.labels == expected
    assert sum(map(len, data.splits.values())) == len(MANY)
    for split in data.splits.values():
        assert split.targets.dtype == np.int64
        for (text,), tags, number in zip(split.texts, split.targets, split.rows, strict=True):
            words, names = MANY[number - 1]
            assert words_of(text) == words
            assert [expected[tag] for tag in tags[: len(words)]] == names and (tags[len(words) :] == -1).all()
    assert "same share of each combination of types of entity" in told(data, "split")
    # Each kind of row in each split, by its types of entity.
    assert [len(data.splits[name]) for name in ("train", "validation", "test")] == [31, 7, 10]
    for split in data.splits.values():
        assert {(number - 1) % 4 for number in split.rows} == {0, 1, 2, 3}


def test_columns_named_by_the_recipe(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", MANY, words="forms", tags="pos")
    data = prepared(tmp_path, source, text="forms", label="pos")
    assert (data.schema.task, data.schema.text, data.schema.label) == ("token_classification", ("forms",), "pos")
    assert prepared(tmp_path, source, text="forms", label="pos", task="token_classification").fingerprint == (
        data.fingerprint
    )
    (tmp_path / "b.conll").write_text("".join(f"{w} {t} X\n" for row in MANY for w, t in zip(*row, strict=True)) * 2)
    with pytest.raises(DataError, match=r"same tag for every word"):
        prepared(tmp_path, "b.conll")
    with pytest.raises(DataError, match="too few"):
        prepared(tmp_path, "b.conll", label=1)  # tags there are, but no blank line: all is one sentence


def test_which_columns_hold_words_and_tags() -> None:
    words, tags = [["a", "b"]], [["O", "O"]]
    assert sentence_columns(Table("f", {"tokens": words, "ner_tags": tags})) == ("tokens", "ner_tags")
    assert sentence_columns(Table("f", {"x": words, "tags": tags})) == ("x", "tags")
    assert sentence_columns(Table("f", {"pos": tags, "tokens": words, "tags": tags})) == ("tokens", "tags")
    assert sentence_columns(Table("f", {"tokens": words, "x": tags})) == ("tokens", "x")
    assert sentence_columns(Table("f", {"x": words, "y": tags})) is None
    assert sentence_columns(Table("f", {"tokens": words, "tags": [["O"]]})) is None
    assert sentence_columns(Table("f", {"tokens": words, "tags": ["O O"]})) is None
    assert sentence_columns(Table("f", {"tokens": [[1, 2]], "tags": tags})) is None
    assert sentence_columns(Table("f", {"text": ["a b"], "labels": [["x", "y"]]})) is None


def test_labels_of_other_tasks_are_still_needed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,more,label\na b,c,x\nc d,e,y\n")
    with pytest.raises(DataError, match=r"data.label is not given; the columns of a.csv are 'text', 'more', 'label'"):
        prepared(tmp_path, "a.csv")
    (tmp_path / "a.jsonl").write_text('{"text": "a b", "topics": ["x"]}\n{"text": "c d", "topics": ["y", "x"]}\n' * 9)
    same = {"validation": "a.jsonl", "test": "a.jsonl"}
    assert prepared(tmp_path, "a.jsonl", label="topics", **same).schema.task == "multilabel"
    with pytest.raises(DataError, match="expected a list of words"):
        prepared(tmp_path, "a.csv", label="label", text="text", task="token_classification")
    with pytest.raises(DataError, match="one column of words"):
        prepared(tmp_path, "a.csv", label="label", text=["text", "more"], task="token_classification")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (["O"], "2 words and 1 tags"),
        (["O", None], "tag 2 of the row is null"),
        (["O", " "], "tag 2 of the row is"),
        (["O", ["x"]], "tag 2 of the row is"),
        (["O", "PER"], "tag 'PER' of word 2, where others begin with B- or I-"),
        (["O", "B-"], "tag 'B-' of word 2"),
        ("O O", "expected a list of tags, got text"),
    ],
)
def test_a_wrong_row_is_named(row, words: str, tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", [*MANY, (["a", "b"], row)])
    with pytest.raises(DataError, match=words) as caught:
        prepared(tmp_path, source, label="tags", text="tokens", task="token_classification")
    assert caught.value.where == "a.jsonl, row 49, column 'tags'" and caught.value.fix


@pytest.mark.parametrize("word", ["", " ", None, ["a"], "\ud83d"])
def test_a_wrong_word_is_named(word, tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", [*MANY, (["a", word], ["O", "O"])])
    with pytest.raises(DataError, match="word") as caught:
        prepared(tmp_path, source, task="token_classification", text="tokens", label="tags")
    assert caught.value.where == "a.jsonl, row 49, column 'tokens'"


def test_empty_sentences_and_spaces_in_words_are_counted(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", [*MANY, ([], []), (["New York", "is"], ["B-loc", "O"])])
    data = prepared(tmp_path, source, test="a.jsonl", validation="a.jsonl")
    assert "nothing in 'tokens' in row 49; left out" in told(data, "empty text")
    assert told(data, "spaces in words").startswith("a.jsonl: 1 words hold a space")
    assert data.splits["train"].texts[-1] == ("New\u00a0York is",)
    assert (data.splits["train"].targets[-1] >= 0).sum() == 2


SCHEMES = {
    "iob1": (["I-per", "I-per", "O", "I-loc"], "IOB1, rewritten as IOB2: 24 I- that begin an entity became B-"),
    "bioes": (["B-per", "E-per", "O", "S-loc"], "the ends of entities (E-, L-, S-, U-) were rewritten as B- and I-"),
    "untyped": (["B", "I", "O", "B"], "B and I have no type; it was called 'entity'"),
    "plain": (["per", "per", "O", "loc"], "words in a row with the same tag are taken as one entity"),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_are_told_and_made_one(scheme: str, tmp_path: Path) -> None:
    tags, words = SCHEMES[scheme]
    source = jsonl(tmp_path / "a.jsonl", [([f"w{number}", "x", "y", "z"], tags) for number in range(12)])
    data = prepared(tmp_path, source)
    assert words in told(data, "tags")
    first = [data.schema.labels[tag] for tag in data.splits["train"].targets[0]]
    expected = {"plain": tags, "untyped": ["B-entity", "I-entity", "O", "B-entity"]}
    assert first == expected.get(scheme, ["B-per", "I-per", "O", "B-loc"])


def test_an_entity_that_begins_with_i_is_told(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", [*MANY, (["Ann", "x", "Bo"], ["I-per", "O", "I-per"])])
    data = prepared(tmp_path, source, test="a.jsonl", validation="a.jsonl")
    assert "a.jsonl: 2 I- with nothing of their type before them became B-: row 49" in told(data, "tags")
    assert [data.schema.labels[tag] for tag in data.splits["test"].targets[-1][:3]] == ["B-per", "O", "B-per"]


def test_a_tag_that_train_has_not_is_an_error_but_for_the_inside_of_a_known_type(tmp_path: Path) -> None:
    train = jsonl(tmp_path / "a.jsonl", MANY)
    jsonl(tmp_path / "b.jsonl", [(["the", "EU", "it", "self"], ["O", "B-org", "I-org", "O"])] * 3)
    assert prepared(tmp_path, train, test="b.jsonl").splits["test"].targets[0].tolist() == [0, 5, 6, 0]
    jsonl(tmp_path / "c.jsonl", [(["a", "b"], ["O", "B-pet"])] * 3)
    with pytest.raises(DataError, match=r"'B-pet' \(3 rows\)") as caught:
        prepared(tmp_path, train, test="c.jsonl")
    assert caught.value.where == "c.jsonl, row 1"


def test_rows_of_one_text_and_two_taggings_are_told(tmp_path: Path) -> None:
    twice = [(["Will", "may"], ["B-per", "O"]), (["Will", "may"], ["O", "B-per"])]
    data = prepared(tmp_path, jsonl(tmp_path / "a.jsonl", [*MANY, *twice]))
    assert "2 rows share their text with a row of another label" in told(data, "conflicting labels")


def test_new_rows_with_and_without_tags(tmp_path: Path) -> None:
    data = prepared(tmp_path, conll(tmp_path / "a.conll", MANY))
    config = DataConfig(train="a.conll")
    (tmp_path / "new.conll").write_text("Peter\n\nBlackburn\nsaid\n")
    split = load_split(config, "new.conll", tmp_path, data.schema, "new", with_targets=False)
    assert split.texts == (("Peter",), ("Blackburn said",)) and len(split.targets) == 2
    with pytest.raises(DataError, match="there is no column 'tags'"):
        load_split(config, "new.conll", tmp_path, data.schema, "new", with_targets=True)
    split = load_split(config, "a.conll", tmp_path, data.schema, "new", with_targets=True)
    assert split.targets.shape == (48, 4) and split.targets[1].tolist() == [7, 8, -1, -1]
    jsonl(tmp_path / "empty.jsonl", [(["Peter"], ["B-per"]), ([], ["O"])])
    split = load_split(config, "empty.jsonl", tmp_path, data.schema, "new", with_targets=True)
    assert (split.texts, split.targets.tolist()) == ((("Peter",), ("",)), [[7], [-1]])
    jsonl(tmp_path / "none.jsonl", [(["a"], ["O"]), (["b"], None)])
    with pytest.raises(DataError, match="1 of 2 rows have no label: row 2"):
        load_split(config, "none.jsonl", tmp_path, data.schema, "new", with_targets=True)


def test_a_recipe_is_drafted_for_it(tmp_path: Path) -> None:
    import yaml

    for source in (conll(tmp_path / "a.conll", MANY), conll(tmp_path / "a.txt", MANY), conll(tmp_path / "a.tsv", MANY)):
        described = describe_file(source, tmp_path)
        assert (described.text, described.label) == (("tokens",), "tags")
        drafted = yaml.safe_load(draft_recipe(source, "m", folder=tmp_path))["data"]
        assert drafted.get("format") == (None if source == "a.conll" else "conll")
        assert prepare(DataConfig(**drafted), tmp_path).schema.task == "token_classification"
    assert "Guessed: lists of words, with a tag for each." in draft_recipe("a.conll", "m", folder=tmp_path)


@pytest.mark.parametrize("words", [["a"], ["a b", "c\td"], ["\u00a0", "\u2028x"], []])
def test_words_come_back_from_their_text(words: list[str]) -> None:
    again = [word.replace(" ", "\u00a0").replace("\t", "\u00a0") for word in words]
    assert words_of(joined(words)) == again == parted(joined(words))
    assert parted("  a\n b ") == ["a", "b"]
