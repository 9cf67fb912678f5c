"""`data.clean`: what each step changes, that it is told with rows, and what is refused."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tunewise.data.prepare import load_split, prepare
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError
from tunewise.types import DataBundle

FILLER = [(f"message number {number} of many", "ab"[number % 2]) for number in range(20)]


def written(folder: Path, rows: list[tuple[Any, Any]], name: str = "train.jsonl") -> Path:
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    (folder / name).write_text("\n".join(lines), encoding="utf-8")
    return folder


def prepared(folder: Path, clean: dict[str, bool], **options: Any) -> DataBundle:
    return prepare(DataConfig(train="train.jsonl", text="text", label="label", clean=clean, **options), folder)


def step(data: DataBundle, name: str) -> Any:
    (found,) = (entry for entry in data.steps if entry.name == name)
    return found


def texts(data: DataBundle) -> dict[int, str]:
    return {
        int(row): text for split in data.splits.values() for (text,), row in zip(split.texts, split.rows, strict=True)
    }


def test_each_step_changes_its_rows_and_tells_them(tmp_path: Path) -> None:
    rows = [("cafÃ© &amp;  crÃ¨me", "a"), ("a\u200b b\r\nc ", "b"), ("&lt;b&gt;", "a"), *FILLER]
    data = prepared(written(tmp_path, rows), {"html_entities": True, "fix_encoding": True, "normalise": True})
    assert [texts(data)[row] for row in (1, 2, 3)] == ["café & crème", "a b\nc", "<b>"]
    assert [texts(data)[row] for row in range(4, 24)] == [text for text, _ in FILLER]
    names = [entry.name for entry in data.steps if entry.name in ("html entities", "fix encoding", "normalise")]
    assert names == ["html entities", "fix encoding", "normalise"]
    for name, changed in (("html entities", (1, 3)), ("fix encoding", (1,)), ("normalise", (1, 2))):
        told = step(data, name)
        assert (told.rows_in, told.rows_out, told.rows) == (23, 23, changed)
        assert f"{len(changed)} of 23 rows" in told.reason and "train.jsonl" in told.reason
    assert "row 1: 'cafÃ© &  crÃ¨me' became 'café &  crème'" in step(data, "fix encoding").reason
    assert r"row 2: 'a\u200b b\r\nc ' became 'a b\nc'" in step(data, "normalise").reason


@pytest.mark.parametrize("name", ["html_entities", "fix_encoding", "normalise", "fold_labels"])
def test_a_step_alone_leaves_the_others_undone_and_tells_where_nothing_changed(tmp_path: Path, name: str) -> None:
    written(tmp_path, FILLER)
    told = step(prepared(tmp_path, {name: True}), name.replace("_", " "))
    assert told.rows == () and f"data.clean.{name} changed no" in told.reason
    assert prepared(tmp_path, {name: True}).fingerprint == prepared(tmp_path, {}).fingerprint
    spoilt = [("cafÃ© &amp; x\u200by", "a"), *FILLER]
    one = texts(prepared(written(tmp_path, spoilt), {name: True}))[1]
    assert (
        one
        == {
            "html_entities": "cafÃ© & x\u200by",
            "fix_encoding": "café &amp; x\u200by",
            "normalise": "cafÃ© &amp; xy",
            "fold_labels": "cafÃ© &amp; x\u200by",
        }[name]
    )


def test_texts_that_hold_nothing_once_they_are_clean_are_left_out_and_told(tmp_path: Path) -> None:
    data = prepared(written(tmp_path, [("\u200b\ufeff", "a"), *FILLER]), {"normalise": True})
    empty = step(data, "empty text")
    assert (empty.rows_in, empty.rows_out, empty.rows) == (21, 20, (1,))
    assert 1 in texts(prepared(tmp_path, {}))  # without the step, the row looks like any other


def test_texts_that_cleaning_makes_equal_stay_in_one_split(tmp_path: Path) -> None:
    rows = [*FILLER, *((f"{text} \u200b", label) for text, label in FILLER)]
    data = prepared(written(tmp_path, rows), {"normalise": True})
    assert "20 of 40 rows repeat text and label" in step(data, "repeated rows").reason
    held = [set(split.texts) for split in data.splits.values()]
    assert len(set.union(*held)) == sum(map(len, held)) == 20


def test_given_splits_are_cleaned_too(tmp_path: Path) -> None:
    written(tmp_path, FILLER)
    written(tmp_path, [("naÃ¯ve", "a"), ("plain", "b")], "test.jsonl")
    data = prepared(tmp_path, {"fix_encoding": True}, test="test.jsonl")
    assert data.splits["test"].texts == (("naïve",), ("plain",))
    assert [entry.rows for entry in data.steps if entry.name == "fix encoding"] == [(), (1,)]


def test_pairs_are_cleaned_on_both_sides(tmp_path: Path) -> None:
    lines = [{"a": f"first {number}", "b": f"second {number}", "y": "pq"[number % 2]} for number in range(12)]
    lines[3]["b"] = "cafÃ©"
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = DataConfig(train="t.jsonl", text=["a", "b"], label="y", clean={"fix_encoding": True})
    data = prepare(config, tmp_path)
    assert ("first 3", "café") in {text for split in data.splits.values() for text in split.texts}
    assert step(data, "fix encoding").rows == (4,)


# ---------------------------------------------------------------- words


def test_words_stay_beside_their_tags(tmp_path: Path) -> None:
    lines = [{"tokens": ["see", f"Ann{number}", "now"], "tags": ["O", "B-PER", "O"]} for number in range(12)]
    lines[0] = {"tokens": ["JosÃ©", "\u200b", "a&nbsp;b", "x \u200b y", "in", "\x07"], "tags": ["B-PER", *"OOOOO"]}
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    clean = {"html_entities": True, "fix_encoding": True, "normalise": True}
    data = prepare(DataConfig(train="t.jsonl", clean=clean), tmp_path)
    place = {int(row): (split, at) for split in data.splits.values() for at, row in enumerate(split.rows)}
    split, at = place[1]
    assert split.texts[at][0].split(" ") == ["José", "\u200b", "a\u00a0b", "x\u00a0y", "in", "\x07"]
    assert (split.targets[at] >= 0).sum() == 6


# ---------------------------------------------------------------- names of classes

TWINS = [("one", "Spam"), ("two", "spam"), ("three", "spam "), ("four", "spam")]


def labelled(folder: Path, pairs: list[tuple[str, Any]], **more: Any) -> DataBundle:
    rows = [(f"{text} {number}", label) for number in range(5) for text, label in pairs]
    return prepared(written(folder, [*rows, *FILLER]), {"fold_labels": True}, **more)


def test_the_spelling_of_most_rows_wins(tmp_path: Path) -> None:
    data = labelled(tmp_path, TWINS)
    assert data.schema.labels == ("a", "b", "spam")
    told = step(data, "fold labels")
    assert len(told.rows) == 10 and told.rows[:2] == (1, 3) and "changed the label of 10 of 40 rows" in told.reason
    assert "'Spam' (5 rows) became 'spam'; 'spam ' (5 rows) became 'spam'" in told.reason
    count = sum((split.targets == 2).sum() for split in data.splits.values())
    assert count == 20


def test_without_it_the_error_names_it(tmp_path: Path) -> None:
    labelled(tmp_path, TWINS)
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, {})
    assert "fold_labels: true" in caught.value.fix


def test_at_a_tie_the_first_by_letter_wins_and_listed_spellings_win_always(tmp_path: Path) -> None:
    assert labelled(tmp_path, [("x", "ham"), ("y", "Ham")]).schema.labels == ("Ham", "a", "b")
    listed = labelled(tmp_path, TWINS, labels=["b", "SPAM", "a"])
    assert listed.schema.labels == ("b", "SPAM", "a") and len(step(listed, "fold labels").rows) == 20


def test_one_and_one_point_nought(tmp_path: Path) -> None:
    assert labelled(tmp_path, [("x", "1"), ("y", "1.0"), ("z", "1")]).schema.labels == ("1", "a", "b")


def test_given_splits_and_new_files_take_the_spelling_of_train(tmp_path: Path) -> None:
    written(tmp_path, [("fresh", "SPAM"), ("other", "A "), ("more", "b")], "test.jsonl")
    data = labelled(tmp_path, TWINS, test="test.jsonl")
    assert data.splits["test"].targets.tolist() == [2, 0, 1]
    config = DataConfig(train="train.jsonl", text="text", label="label", clean={"fold_labels": True})
    new = load_split(config, "test.jsonl", tmp_path, data.schema, "new", with_targets=True)
    assert new.targets.tolist() == [2, 0, 1]
    with pytest.raises(DataError, match="does not have"):
        load_split(
            config.model_copy(update={"clean": DataConfig(train="x").clean}),
            "test.jsonl",
            tmp_path,
            data.schema,
            "new",
            with_targets=True,
        )


def test_several_labels_in_a_row_that_are_one_count_once(tmp_path: Path) -> None:
    rows = [(f"t {number}", [["x", "X"], ["x", "y"], ["y"]][number % 3]) for number in range(24)]
    data = prepared(written(tmp_path, rows), {"fold_labels": True})
    assert data.schema.labels == ("x", "y") and len(step(data, "fold labels").rows) == 8
    assert sum(split.targets.sum() for split in data.splits.values()) == 8 + 16 + 8


@pytest.mark.parametrize(
    ("rows", "options", "word"),
    [
        ([(f"t {n}", n / 7) for n in range(30)], {}, "regression"),
        ([*FILLER, ("t", "Spam")], {"labels": ["a", "b", "spam", "Spam"]}, "takes for one"),
    ],
)
def test_labels_that_cannot_be_folded(tmp_path: Path, rows: list[Any], options: dict[str, Any], word: str) -> None:
    with pytest.raises(DataError, match=word) as caught:
        prepared(written(tmp_path, rows), {"fold_labels": True}, **options)
    assert caught.value.where == "data.clean.fold_labels" and caught.value.fix


def test_tags_and_columns_are_not_folded(tmp_path: Path) -> None:
    lines = [{"tokens": ["a", "b"], "tags": ["B-PER", "O"]} for _ in range(12)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match="token_classification"):
        prepare(DataConfig(train="t.jsonl", clean={"fold_labels": True}), tmp_path)
    lines = [{"text": f"some words {number}", "p": number % 2, "P": 1} for number in range(12)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match="names of the columns"):
        prepare(DataConfig(train="m.jsonl", text="text", label=["p", "P"], clean={"fold_labels": True}), tmp_path)


def test_a_package_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="ftfy") as caught:
        prepared(written(tmp_path, FILLER), {"fix_encoding": True})
    assert "tunewise[check]" in caught.value.fix and caught.value.where == "data.clean.fix_encoding"
