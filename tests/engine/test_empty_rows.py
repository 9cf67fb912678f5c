"""Rows of which nothing is left to learn: out of the training, counted, and never a loss that is no number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from preference_rows import language_model
from training_bench import Recorder, set_up

from tests.models import language_bench as bench
from tunewise.data.labelled import LabelledTokens
from tunewise.data.ragged import Ragged
from tunewise.engine.events import Started, Step, Warned
from tunewise.engine.language_inputs import empty_rows
from tunewise.errors import DataError
from tunewise.models.token_losses import token_log_probs
from tunewise.objectives.dpo import dpo_losses
from tunewise.objectives.language_settings import DpoConfig
from tunewise.types import DataBundle, Schema, Split

EMPTY = (" ",)
"""A text without words: the end of text alone is its first token, and nothing gives the first token."""
PAIR = ("", " ", "please")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language_model(tmp_path_factory.mktemp("gpt2"), "gpt2")


def data(train: list[tuple[str, ...]], held_out: list[tuple[str, ...]]) -> DataBundle:
    splits = {}
    for name, rows in (("train", train), ("validation", held_out), ("test", held_out)):
        numbers = np.arange(11, 11 + len(rows))
        splits[name] = Split(name, tuple(rows), np.zeros(len(rows), np.float32), numbers, f"{name}.jsonl")
    pairs = len(train[0]) == 3
    schema = (
        Schema("preference", ("prompt", "chosen", "rejected"), "", (), "completion")
        if pairs
        else Schema("generation", ("text",), "", (), "text")
    )
    return DataBundle(splits, schema, (), fingerprint="empty")


TEXTS = [("please help me",), ("my order was late",), ("the card",)]
PAIRS = [("please", "help me", "go away"), ("my order", "came", "was late"), ("the card", "is fine", "is lost")]


@pytest.mark.parametrize("aim", ["sft", "dpo"])
def test_they_are_left_out_of_training_and_counted(aim: str, gpt2: Path, tmp_path: Path) -> None:
    """The training is that of the other rows, bit by bit, one row in a step."""
    empty, rows = (PAIR, PAIRS) if aim == "dpo" else (EMPTY, TEXTS)
    found = []
    for name, train in (("with", [rows[0], empty, rows[1], rows[2], empty]), ("without", rows)):
        (tmp_path / name).mkdir()
        recorder = Recorder()
        setup = set_up(
            gpt2, data(train, rows), tmp_path / name, objective={aim: {}}, observers=[recorder], dropout=0.0,
            batch_size=1, max_steps=6,
        )  # fmt: skip
        setup.train()
        found.append((setup, recorder))
    (setup, recorder), (other, plain) = found
    assert setup.digest == other.digest
    assert [event.loss for event in recorder.of(Step)] == [event.loss for event in plain.of(Step)]
    assert all(np.isfinite(event.loss) for event in recorder.of(Step))
    told = [event.message for event in recorder.of(Warned)]
    assert told == ["2 of 5 rows of train are left out of training: they have no token to learn (rows 12, 15)"]
    assert not plain.of(Warned) and recorder.of(Started)[0].total_steps == 6


def test_an_epoch_has_the_rows_that_teach(gpt2: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    train = [EMPTY, *TEXTS, EMPTY]
    settings: dict[str, Any] = {"observers": [recorder], "dropout": 0.0, "batch_size": 1, "epochs": 2}
    set_up(gpt2, data(train, TEXTS), tmp_path, objective={"sft": {}}, **settings).train()
    assert recorder.of(Started)[0].total_steps == 6


def test_of_validation_they_stay_and_are_told(gpt2: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    settings: dict[str, Any] = {"observers": [recorder], "dropout": 0.0, "batch_size": 2, "max_steps": 2}
    trained = set_up(gpt2, data(TEXTS, [EMPTY, *TEXTS]), tmp_path, objective={"sft": {}}, **settings).train()
    told = [event.message for event in recorder.of(Warned)]
    assert told == [f"1 of 4 rows of {name} have no token left to learn" for name in ("validation", "test")]
    assert all(np.isfinite(entry["metric"]) for entry in trained.curve)


@pytest.mark.parametrize("name", ["train", "validation"])
def test_a_split_of_such_rows_alone_is_refused(name: str, gpt2: Path, tmp_path: Path) -> None:
    given = {"train": TEXTS, "held_out": TEXTS} | {"train" if name == "train" else "held_out": [EMPTY, EMPTY]}
    setup = set_up(gpt2, data(**given), tmp_path, objective={"sft": {}}, max_steps=1)
    with pytest.raises(DataError, match=f"none of the 2 rows of {name} has a token to learn") as caught:
        setup.train()
    assert caught.value.where == f"{name}.jsonl"


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_batch_of_such_rows_alone_has_finite_numbers(family: str) -> None:
    """As in a validation, or where a step is looked through row by row; and gradients of 0."""
    model = bench.language_model(family)
    ids, none = [np.arange(4, 9), np.arange(5, 8)], [np.zeros(5), np.zeros(3)]
    sources = Ragged.of(ids, np.int32) if family == "t5" else None
    tokens = LabelledTokens(Ragged.of(ids, np.int32), Ragged.of(none, np.int8), 0, sources)
    for even in (True, False):
        found = token_log_probs(model, tokens.batch([0, 1]), even=even)
        assert torch.equal(found.row_numbers().detach(), torch.zeros(2, 3))
        gradients = bench.gradients(model, found.row_sums().sum())
        assert all(float(gradient.abs().max()) == 0 for gradient in gradients.values())


@pytest.mark.parametrize("loss", ["sigmoid", "hinge", "ipo"])
def test_pairs_of_empty_answers_have_finite_losses(loss: str) -> None:
    found = dpo_losses(torch.zeros(2, 2), torch.zeros(2, 2), DpoConfig(loss=loss))
    assert bool(torch.isfinite(found).all())


def test_rows_without_labels_have_none() -> None:
    tokens = bench.rows()
    assert empty_rows(replace(tokens, empty_rows=np.array([1]))).tolist() == [1]
    assert empty_rows(object()).tolist() == []  # type: ignore[arg-type]
