"""Entities by every kind of method and model: trained, resumed, handed over, and loaded by the libraries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from seqeval.scheme import IOB2, Entities
from sklearn.linear_model import LogisticRegression
from test_handover import handed_over
from training_bench import At, Recorder, Setup
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from tunewise.data.cuts import Losses
from tunewise.data.sentences import words_of
from tunewise.engine.events import Step, Warned
from tunewise.engine.stop import Stop
from tunewise.engine.text_model import load
from tunewise.errors import DataError, Interrupted, MethodError, ModelError
from tunewise.evaluate.scores import to_scores
from tunewise.methods import METHODS
from tunewise.types import DataBundle

FAMILIES = ["bert", "roberta", "distilbert", "modernbert", "gpt2", "llama", "t5", "deberta-v2", "electra"]
TAGGING = [name for name, kind in METHODS.items() if "token_classification" in kind.tasks and "text" in kind.modalities]


@pytest.fixture(scope="module")
def data(tagged_data: Callable[..., DataBundle]) -> DataBundle:
    return tagged_data()


def share_right(logits_NWC: np.ndarray, data: DataBundle) -> float:
    """Of the words of the test split; 0.59 are O."""
    targets = data.splits["test"].targets
    there = targets >= 0
    assert np.array_equal(np.isnan(logits_NWC).all(axis=2), ~there)
    return float((logits_NWC[there].argmax(axis=-1) == targets[there]).mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_entities(family: str, training: Callable[..., Setup], data: DataBundle) -> None:
    trained = training("full", family=family, data=data, epochs=16, learning_rate=5e-3).train()
    assert share_right(trained.outputs(data.splits["test"].texts, 7, lambda: None), data) > 0.75


@pytest.mark.parametrize(("family", "rows_of_a_part"), [("bert", 8192), ("gpt2", 8192), ("t5", 8192), ("bert", 7)])
def test_features_are_a_classifier_of_first_tokens(
    family: str,
    rows_of_a_part: int,
    training: Callable[..., Setup],
    data: DataBundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tunewise.engine.features.ROWS_OF_A_PART", rows_of_a_part)
    options = {"strength": 30.0}  # on vectors of length 1
    setup = training("features", family=family, data=data, options=options, max_steps=1)
    trained = setup.train()
    tokenizer, model = AutoTokenizer.from_pretrained(setup.net.located.path), setup.net.model.base_model.eval()

    def vectors(name: str) -> np.ndarray:
        found = []
        for (text,) in data.splits[name].texts:
            batch = tokenizer(words_of(text), is_split_into_words=True, return_tensors="pt")
            places = [batch.word_ids().index(word) for word in range(len(words_of(text)))]
            with torch.no_grad():
                ids = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
                found.append(model(**ids).last_hidden_state[0, places])
        return torch.nn.functional.normalize(torch.cat(found), dim=-1).numpy()

    targets = {name: split.targets[split.targets >= 0] for name, split in data.splits.items()}
    expected = LogisticRegression(C=30.0, max_iter=1000).fit(vectors("train"), targets["train"])
    logits_NWC = trained.outputs(data.splits["test"].texts, 7, lambda: None)
    assert share_right(logits_NWC, data) > 0.6
    scores = to_scores("token_classification", logits_NWC)[data.splits["test"].targets >= 0]
    np.testing.assert_allclose(scores, expected.predict_proba(vectors("test")), atol=0.02)


def test_features_of_words_cannot_be_pooled(training: Callable[..., Setup], data: DataBundle) -> None:
    with pytest.raises(MethodError, match="pooling is for whole texts"):
        training("features", data=data, options={"pooling": "mean"}, max_steps=1).train()


@pytest.mark.parametrize("method", TAGGING)
def test_every_method_hands_over_what_it_trained(method: str, training: Callable[..., Setup], data: DataBundle) -> None:
    setup = training(method, data=data, max_steps=2)
    _, logits_NWC, folder, _ = handed_over(setup)
    assert logits_NWC.shape == (*data.splits["test"].targets.shape, 7)
    scores = load(folder).scores(data.splits["test"].texts, batch_size=5)
    np.testing.assert_allclose(scores, to_scores("token_classification", logits_NWC), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "t5"])
def test_the_pipeline_of_transformers_gives_the_same_tags(
    family: str, training: Callable[..., Setup], data: DataBundle
) -> None:
    _, logits_NWC, folder, _ = handed_over(training("full", family=family, data=data, epochs=6, learning_rate=5e-3))
    tagger = pipeline("token-classification", str(folder), ignore_labels=[])
    seen = set()
    for row, (text,) in enumerate(data.splits["test"].texts):
        starts, place = {}, 0
        for number, word in enumerate(words_of(text)):
            starts[place], place = number, place + len(word) + 1
        said = {starts[token["start"]]: token for token in tagger(text) if token["start"] in starts}
        assert sorted(said) == list(range(len(starts)))
        for number, token in said.items():
            best = logits_NWC[row, number].argmax()
            assert token["entity"] == data.schema.labels[best]
            assert token["score"] == pytest.approx(
                to_scores("token_classification", logits_NWC[row : row + 1])[0, number, best], rel=1e-4
            )
            seen.add(token["entity"])
    assert len(seen) > 2


def test_plain_peft_loads_an_adapter(training: Callable[..., Setup], data: DataBundle) -> None:
    setup = training("lora", data=data, max_steps=3)
    _, logits_NWC, folder, _ = handed_over(setup)
    base = AutoModelForTokenClassification.from_pretrained(setup.net.located.path, num_labels=7)
    model = PeftModel.from_pretrained(base, folder).eval()
    assert model.peft_config["default"].task_type == "TOKEN_CLS"
    (text,) = data.splits["test"].texts[0]
    batch = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        logits_TC = model(**batch).logits[0].numpy()
    np.testing.assert_allclose(logits_TC[1:-1], logits_NWC[0, : len(words_of(text))], atol=1e-5)


def test_a_resumed_training_is_the_one_that_never_stopped(training: Callable[..., Setup], data: DataBundle) -> None:
    def make(at: str, **more: Any) -> Setup:
        return training("lora", data=data, at=at, save_steps=4, dropout=0.2, **more)

    whole, stop = make("a"), Stop()
    trained = whole.train()
    with pytest.raises(Interrupted):
        make("b", stop=stop, observers=[At(6, lambda: setattr(stop, "requested", True))]).train()
    again = make("b")
    assert again.train().curve == trained.curve and again.digest == whole.digest


def test_accumulated_batches_are_the_mean_over_words(training: Callable[..., Setup], data: DataBundle) -> None:
    losses = []
    for size, accumulate in ((8, 1), (2, 4)):
        recorder = Recorder()
        settings = {"batch_size": size, "accumulate": accumulate, "max_steps": 3, "dropout": 0.0}
        training("full", data=data, at=f"{size}", observers=[recorder], **settings).train()
        losses.append([event.loss for event in recorder.of(Step)])
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_the_first_loss_is_that_of_transformers(training: Callable[..., Setup], data: DataBundle) -> None:
    """Its labels: the tag at the first token of each word, -100 elsewhere."""
    recorder = Recorder()
    setup = training("full", data=data, batch_size=48, max_steps=1, dropout=0.0, observers=[recorder])
    words = [words_of(text) for (text,) in data.splits["train"].texts]
    tokenizer = AutoTokenizer.from_pretrained(setup.net.located.path)
    batch = tokenizer(words, is_split_into_words=True, padding=True, return_tensors="pt")
    labels = torch.full_like(batch["input_ids"], -100)
    for row, tags in enumerate(data.splits["train"].targets):
        for place, word in enumerate(batch.word_ids(row)):
            if word is not None and word not in batch.word_ids(row)[:place]:
                labels[row, place] = int(tags[word])
    with torch.no_grad():
        expected = float(setup.net.model.eval()(**batch, labels=labels).loss)
    setup.train()
    assert recorder.of(Step)[0].loss == pytest.approx(expected, rel=1e-5)


def test_words_that_are_cut_off_are_told_not_learned_and_taken_for_outside(
    training: Callable[..., Setup], data: DataBundle
) -> None:
    recorder = Recorder()
    setup = training("full", data=data, max_length=6, max_steps=2, observers=[recorder])
    counts = {name: (split.targets >= 0).sum(axis=1) for name, split in data.splits.items()}
    lost = {name: int(np.maximum(0, count - 4).sum()) for name, count in counts.items()}  # [CLS] and [SEP] take two
    trained = setup.train()
    assert [message.message for message in recorder.of(Warned)][:2] == [
        f"{(counts[name] > 4).sum()} of {len(counts[name])} rows of {name} are longer than 6 tokens and were cut; "
        f"{lost[name]} tokens at their ends are lost; {lost[name]} words have no token, and are taken for O"
        for name in ("train", "validation")
    ]
    assert (
        Losses(0, 0, 4).told("of 9 rows of test", 6, "head")
        == "4 words have no token, and are taken for O (9 rows of test)"
    )
    found: list[Losses] = []
    logits_NWC = trained.outputs(data.splits["test"].texts, 16, lambda: None, found.append)
    (told,) = found
    assert (told.texts, told.tokens, told.words) == (int((counts["test"] > 4).sum()), lost["test"], lost["test"])
    assert told.rows.tolist() == np.flatnonzero(counts["test"] > 4).tolist()
    for row, count in enumerate(counts["test"]):
        assert (logits_NWC[row, 4:count].argmax(axis=-1) == 0).all()
        assert (to_scores("token_classification", logits_NWC[row : row + 1])[0, 4:count, 0] > 0.9999).all()
    # What stands there makes no difference to the training.
    other = {name: replace(split, targets=split.targets.copy()) for name, split in data.splits.items()}
    other["train"].targets[:, 4:][other["train"].targets[:, 4:] >= 0] = 3
    again = training("full", data=replace(data, splits=other), at="b", max_length=6, max_steps=2)
    again.train()
    assert again.digest == setup.digest


def test_predictions_by_name(training: Callable[..., Setup], data: DataBundle) -> None:
    model = load(handed_over(training("full", data=data, epochs=12, learning_rate=5e-3))[2])
    rows = [words_of(text) for (text,) in data.splits["test"].texts]
    scores = model.scores(rows)
    decisions = model.decisions(scores)
    answers = model.predict([" ".join(row) for row in rows])
    tags = [[model.labels[tag] for tag in row if tag >= 0] for row in decisions]
    assert [answer["words"] for answer in answers] == rows and [answer["tags"] for answer in answers] == tags
    found = Entities(tags, IOB2).entities
    assert sum(map(len, found)) > 20
    for place, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        assert answer["entities"] == [
            {
                "type": entity.tag,
                "text": " ".join(row[entity.start : entity.end]),
                "start": entity.start,
                "end": entity.end,
                "score": pytest.approx(scores[place, entity.start : entity.end].max(axis=1).mean(), rel=1e-5),
            }
            for entity in found[place]
        ]


def test_rows_of_words(training: Callable[..., Setup], data: DataBundle) -> None:
    model = load(handed_over(training("full", data=data, max_steps=1))[2])
    answers = model.predict([["a", "b c"], "  my \n order ", [], ("a courier",)])
    assert [answer["words"] for answer in answers] == [["a", "b\u00a0c"], ["my", "order"], [], ["a", "courier"]]
    assert answers[2] == {"words": [], "tags": [], "entities": []}
    assert model.predict([]) == [] and model.scores([]).shape == (0, 0, 7)
    for wrong in (("a", "b"), ["a", " "], ["a", 1], 3):
        with pytest.raises(DataError, match="row 1"):
            model.predict([wrong])


def test_a_tokeniser_without_offsets_is_refused(
    training: Callable[..., Setup], data: DataBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.PreTrainedTokenizerFast.is_fast", False)
    with pytest.raises(ModelError, match=r"does not tell where"):
        training("full", data=data)
