"""Texts that are too long: what a model learns from, and that it is handed over to read as it was trained."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_handover import handed_over, resealed, with_meta
from training_bench import Setup
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tunewise.engine.evaluation import evaluate
from tunewise.engine.model_meta import META
from tunewise.engine.text_model import load
from tunewise.errors import CorruptError, TunewiseWarning
from tunewise.evaluate.scores import to_scores
from tunewise.types import DataBundle

LIMIT = 12
BEFORE = " ".join(["the order was with a box and it is very"] * 2)


@pytest.fixture
def late(toy_data: Callable[..., DataBundle]) -> Callable[..., DataBundle]:
    """Rows whose telling words come after more than a model reads of them; of the test set, every second one."""

    def make(**sizes: Any) -> DataBundle:
        data = toy_data(**sizes)
        splits = {}
        for name, split in data.splits.items():
            texts = [(f"{BEFORE} {first}", *rest) for first, *rest in split.texts]
            if name == "test":
                texts[::2] = split.texts[::2]
            splits[name] = replace(split, texts=tuple(texts))
        return replace(data, splits=splits, fingerprint=f"late-{data.fingerprint}")

    return make


def quiet_scores(folder: Path, setup: Setup) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TunewiseWarning)
        return load(folder).scores(setup.job.data.splits["test"].texts, batch_size=5)


def test_what_stands_at_the_end_is_learned_by_those_that_read_it(
    training: Callable[..., Setup], late: Callable[..., DataBundle]
) -> None:
    found = {}
    for cut in ("head", "tail", "both"):
        setup = training("full", data=late(train=120), at=cut, cut=cut, max_length=LIMIT, epochs=10)
        trained = setup.train()
        found[cut] = max(point["metric"] for point in trained.curve)
    assert found["head"] == pytest.approx(1 / 6)  # all rows are the same: one of three classes for all
    assert min(found["tail"], found["both"]) > 0.8


@pytest.mark.parametrize("cut", ["tail", "both"])
@pytest.mark.parametrize(
    ("method", "family", "pairs"),
    [
        ("full", "bert", False),
        ("full", "roberta", True),
        ("last_k", "gpt2", False),
        ("full", "t5", True),
        ("lora", "bert", True),
        ("adapter", "distilbert", False),
        ("features", "bert", True),
        ("prompt_tuning", "bert", False),
        ("p_tuning", "gpt2", False),
    ],
)
def test_the_model_handed_over_reads_as_it_was_trained(
    method: str, family: str, pairs: bool, cut: str, training: Callable[..., Setup], late: Callable[..., DataBundle]
) -> None:
    options = {"tokens": 4} if method in ("prompt_tuning", "p_tuning") else {}
    setup = training(
        method, family=family, data=late(pairs=pairs), options=options, cut=cut, max_length=LIMIT, epochs=1
    )
    _, logits_NC, folder, _ = handed_over(setup)
    np.testing.assert_allclose(
        quiet_scores(folder, setup), to_scores("classification", logits_NC), rtol=1e-5, atol=1e-6
    )
    meta = json.loads((folder / META).read_text())
    assert (meta["kept"], meta["format"], meta["max_length"]) == (cut, 2, LIMIT)
    other = quiet_scores(resealed(folder, with_meta(kept="head", kind=meta["kind"])), setup)
    assert np.abs(other - to_scores("classification", logits_NC)).max() > 1e-5  # it does depend on what is read


@pytest.mark.parametrize(("family", "pairs"), [("bert", False), ("bert", True), ("roberta", False), ("gpt2", False)])
def test_a_tokeniser_that_was_handed_over_keeps_the_end_by_itself(
    family: str, pairs: bool, training: Callable[..., Setup], late: Callable[..., DataBundle]
) -> None:
    setup = training("full", family=family, data=late(pairs=pairs), cut="tail", max_length=LIMIT, epochs=1)
    _, logits_NC, folder, _ = handed_over(setup)
    assert json.loads((folder / "tokenizer_config.json").read_text())["truncation_side"] == "left"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    columns = [list(column) for column in zip(*setup.job.data.splits["test"].texts, strict=True)]
    batch = tokenizer(*columns, padding=True, truncation=True, max_length=LIMIT, return_tensors="pt")
    with torch.no_grad():
        np.testing.assert_allclose(model(**batch).logits.numpy(), logits_NC, atol=2e-6)


def test_peft_and_the_tokeniser_beside_the_adapter_give_the_same(
    training: Callable[..., Setup], late: Callable[..., DataBundle]
) -> None:
    from peft import PeftModel

    setup = training("lora", data=late(), cut="tail", max_length=LIMIT, epochs=1)
    _, logits_NC, folder, _ = handed_over(setup)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    base = AutoModelForSequenceClassification.from_pretrained(
        setup.net.located.path, num_labels=3, pad_token_id=tokenizer.pad_token_id
    )
    texts = [text for (text,) in setup.job.data.splits["test"].texts]
    batch = tokenizer(texts, padding=True, truncation=True, max_length=LIMIT, return_tensors="pt")
    with torch.no_grad():
        logits = PeftModel.from_pretrained(base, folder).eval()(**batch).logits.numpy()
    np.testing.assert_allclose(logits, logits_NC, atol=2e-6)


def test_head_is_what_is_done_where_nothing_is_said(
    training: Callable[..., Setup], late: Callable[..., DataBundle]
) -> None:
    digests = set()
    for at, more in (("none", {}), ("head", {"cut": "head"})):
        setup = training("full", data=late(), at=at, max_length=LIMIT, epochs=1, **more)
        _, logits_NC, folder, _ = handed_over(setup)
        digests.add((setup.digest, logits_NC.tobytes(), (folder / META).read_bytes()))
        assert json.loads((folder / META).read_text())["format"] == 1
    assert len(digests) == 1


def test_a_model_of_before_reads_as_its_tokeniser_says(
    training: Callable[..., Setup], late: Callable[..., DataBundle]
) -> None:
    setup = training("full", data=late(), max_length=LIMIT, epochs=1)
    _, logits_NC, folder, _ = handed_over(setup)

    def as_before(staging: Path) -> None:
        meta = json.loads((staging / META).read_text())
        del meta["kept"]
        (staging / META).write_text(json.dumps(meta))

    scores = quiet_scores(resealed(folder, as_before), setup)
    np.testing.assert_allclose(scores, to_scores("classification", logits_NC), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrong", ["middle", 3, ["head"], ""])
def test_another_cut_in_the_models_file_is_refused(wrong: Any, training: Callable[..., Setup]) -> None:
    setup = training("head", max_steps=1)
    _, _, folder, _ = handed_over(setup)
    with pytest.raises(CorruptError, match="its 'kept' is not what tunewise writes"):
        load(resealed(folder, with_meta(kept=wrong)))


@pytest.mark.parametrize(("cut", "where"), [("tail", "at their beginnings"), ("both", "in their middles")])
def test_which_tokens_are_lost_is_told(
    cut: str, where: str, training: Callable[..., Setup], late: Callable[..., DataBundle]
) -> None:
    setup = training("features", data=late(), cut=cut, max_length=LIMIT)
    _, _, folder, _ = handed_over(setup)
    assert f"tokens {where} are lost" in setup.job.observers.warnings[0]
    with pytest.warns(TunewiseWarning, match=rf"^1 texts are longer than 12 tokens and were cut; 10 tokens {where}"):
        load(folder).scores([f"{BEFORE}"])


@pytest.mark.parametrize("method", ["full", "features"])
def test_the_metric_on_rows_that_were_cut_is_told_beside_the_others(
    method: str, training: Callable[..., Setup], late: Callable[..., DataBundle]
) -> None:
    length = {} if method == "features" else {"epochs": 1}
    setup = training(method, data=late(held_out=60), max_length=LIMIT, evaluate={"resamples": 100}, **length)
    told: list[str] = []
    results = evaluate(setup.train(), setup.job.data, setup.job.evaluator, lambda: None, told.append, "accuracy")
    lengths = [len(setup.net.tokenizer(text).input_ids) for (text,) in setup.job.data.splits["test"].texts]
    was_cut = np.array(lengths) > LIMIT
    assert 30 <= was_cut.sum() <= 40
    said = results.predictions["test"]
    right = said.decisions == said.targets
    found = re.fullmatch(
        r"test: accuracy is (\S+) \(\S+ to \S+\) on the (\d+) rows that were cut, "
        r"(\S+) \(\S+ to \S+\) on the (\d+) rows that were read whole",
        told[1],
    )
    assert len(told) == 2 and "were cut" in told[0]
    assert (int(found[2]), int(found[4])) == (was_cut.sum(), (~was_cut).sum())
    assert float(found[1]) == pytest.approx(right[was_cut].mean(), abs=5e-4)
    assert float(found[3]) == pytest.approx(right[~was_cut].mean(), abs=5e-4)


def test_of_pairs_a_row_is_cut_where_either_text_is(
    training: Callable[..., Setup], toy_data: Callable[..., DataBundle]
) -> None:
    """`features` embeds the two texts of a row by themselves."""
    data = toy_data(pairs=True, held_out=60)
    test = data.splits["test"]
    texts = [
        (BEFORE, two) if row % 4 == 0 else (one, BEFORE) if row % 4 == 1 else ("box", "late")
        for row, (one, two) in enumerate(test.texts)
    ]
    data = replace(data, splits={**data.splits, "test": replace(test, texts=tuple(texts))})
    setup = training("features", data=data, max_length=LIMIT, evaluate={"resamples": 100})
    told: list[str] = []
    evaluate(setup.train(), data, setup.job.evaluator, lambda: None, told.append)
    assert "on the 30 rows that were cut" in told[1] and "on the 30 rows that were read whole" in told[1]
