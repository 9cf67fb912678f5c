from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from training_bench import Setup

from tunewise.engine.handover import save_model
from tunewise.engine.text_model import TextModel, load
from tunewise.errors import DataError, StoreError, TunewiseWarning
from tunewise.types import DataBundle


@pytest.fixture
def saved(training: Callable[..., Setup], toy_data: Callable[..., DataBundle]) -> Callable[..., TextModel]:
    def make(task: str = "classification", pairs: bool = False, threshold: float | None = None) -> TextModel:
        setup = training("head", data=toy_data(task, pairs=pairs), epochs=1)
        decision = {"threshold": threshold, "positive": None}
        save_model(setup.train(), "transformers", setup.folder / "model", setup.job.data.schema, decision, lambda n: "")
        return load(setup.folder)

    return make


def test_classes(saved: Callable[..., TextModel]) -> None:
    model = saved()
    texts = ["great", "my parcel is late", ""]
    scores = model.scores(texts)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-12)
    for said, row in zip(model.predict(texts), scores, strict=True):
        assert list(said["probabilities"]) == ["refund", "delivery", "praise"] == list(model.labels)
        assert said["label"] == max(said["probabilities"], key=said["probabilities"].get)
        assert list(said["probabilities"].values()) == row.tolist()


def test_several_labels(saved: Callable[..., TextModel]) -> None:
    model = saved("multilabel", threshold=0.45)
    (said,) = model.predict([("great",)])
    assert said["labels"] == [name for name, value in said["probabilities"].items() if value >= 0.45]


def test_numbers(saved: Callable[..., TextModel]) -> None:
    model = saved("regression")
    assert model.labels == ()
    assert model.predict(["great"]) == [{"value": float(model.scores(["great"])[0])}]


def test_nothing_to_predict(saved: Callable[..., TextModel]) -> None:
    model = saved()
    assert model.predict([]) == [] and model.scores([]).shape == (0, 3)


def test_pairs_in_any_form(saved: Callable[..., TextModel]) -> None:
    model = saved(pairs=True)
    np.testing.assert_array_equal(model.scores([("a box", "great")]), model.scores([["a box", "great"]]))
    for wrong in ("a box", ("a box",), ("a", "b", "c"), ("a", None)):
        with pytest.raises(DataError, match=r"reads a pair of texts \(first, second\) per row; row 2 is"):
            model.scores([("a", "b"), wrong])


@pytest.mark.parametrize("wrong", [None, 3, 2.5, ("a", "b"), b"bytes"])
def test_what_is_no_text(wrong: object, saved: Callable[..., TextModel]) -> None:
    with pytest.raises(DataError, match="reads a text per row; row 1 is"):
        saved().scores([wrong])


def test_one_text_is_no_list(saved: Callable[..., TextModel]) -> None:
    with pytest.raises(DataError, match="a list of texts is expected; came one text, 'great'"):
        saved().predict("great")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(StoreError, match="there is no trained model in"):
            load(folder)


def test_texts_that_are_cut_are_told_with_counts(saved: Callable[..., TextModel]) -> None:
    model = saved()
    long = " ".join(["late"] * 100)
    with pytest.warns(
        TunewiseWarning, match=r"^2 texts are longer than 64 tokens and were cut; 76 tokens at their ends are lost$"
    ):
        scores = model.scores(["great", long, long])
    assert scores.shape == (3, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.scores(["great"])
