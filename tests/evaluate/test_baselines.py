from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor

from tunewise.errors import DataError, RecipeError
from tunewise.evaluate.baselines import baselines_for, run_baseline
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.types import DataBundle, Schema, Split

TOPICS = {
    "card": ["my card is lost", "the card was declined", "card payment failed again", "new card please"],
    "parcel": ["where is my parcel", "the parcel is late", "parcel arrived broken", "track the parcel now"],
    "other": ["thanks a lot", "good morning to you", "what is your name", "hello there friend"],
}


def split(name: str, texts: list[tuple[str, ...]], targets) -> Split:
    return Split(name, tuple(texts), np.asarray(targets), np.arange(1, len(texts) + 1), "data.csv")


def bundle(schema: Schema, make, **sizes: int) -> DataBundle:
    sizes = {"train": 90, "validation": 40, "test": 50, **sizes}
    splits = {name: split(name, *make(np.random.default_rng(i), n)) for i, (name, n) in enumerate(sizes.items())}
    return DataBundle(splits, schema, (), "0")


def topics(rng: np.random.Generator, rows: int):
    """Texts of three topics, half of them `other`."""
    targets = rng.choice(3, size=rows, p=[0.25, 0.25, 0.5])
    phrases = list(TOPICS.values())
    texts = [(f"{phrases[t][rng.integers(4)]} {rng.integers(1000)}",) for t in targets]
    return texts, targets


def tags(rng: np.random.Generator, rows: int):
    marks = rng.random((rows, 3)) < [0.5, 0.3, 0.8]
    marks[:, 2] = True
    words = ("red", "blue", "green")
    texts = [(" ".join([w for w, m in zip(words, row, strict=True) if m] + ["thing"]),) for row in marks]
    return texts, marks.astype(np.float32)


def pairs(rng: np.random.Generator, rows: int):
    """Two sentences that share a known number of words: no word by itself tells how many."""
    vocabulary = np.array([f"word{i}" for i in range(40)])
    texts, targets = [], []
    for _ in range(rows):
        words, shared = rng.permutation(vocabulary)[:12], int(rng.integers(7))
        texts.append((" ".join(words[:6]), " ".join(np.concatenate([words[:shared], words[6 : 12 - shared]]))))
        targets.append(shared)
    return texts, np.array(targets, dtype=np.float32)


CLASSES = Schema("classification", ("text",), "label", tuple(TOPICS))
TAGS = Schema("multilabel", ("text",), "tags", ("red", "blue", "always"))
PAIRS = Schema("regression", ("first", "second"), "shared")


def run(name: str, data: DataBundle, metric: str, **options):
    evaluate = Evaluator(data.schema, EvaluateConfig(**options), Path("."))
    result = run_baseline(name, data, evaluate, metric, seed=0)
    return result, {split: evaluate.score(said) for split, said in result.predictions.items()}


def test_each_task_has_a_constant_and_a_tfidf() -> None:
    assert baselines_for("classification") == baselines_for("multilabel") == ["majority", "tfidf"]
    assert baselines_for("regression") == ["mean", "tfidf"]
    with pytest.raises(RecipeError, match="no baseline 'mean' for classification"):
        run("mean", bundle(CLASSES, topics), "f1_macro")


def test_majority_equals_scikit_learns() -> None:
    data = bundle(CLASSES, topics)
    result, _ = run("majority", data, "f1_macro")
    train, test = data.splits["train"], data.splits["test"]
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((90, 1)), train.targets)
    said = result.predictions["test"]
    np.testing.assert_array_equal(said.decisions, dummy.predict(np.zeros((50, 1))))
    np.testing.assert_allclose(said.scores, dummy.predict_proba(np.zeros((50, 1))))
    np.testing.assert_array_equal(said.targets, test.targets)
    assert result.costs["trainable_parameters"] == 3


def test_mean_and_label_shares() -> None:
    data = bundle(PAIRS, pairs)
    result, scored = run("mean", data, "r2")
    dummy = DummyRegressor().fit(np.zeros((90, 1)), data.splits["train"].targets.astype(float))
    np.testing.assert_allclose(result.predictions["test"].scores, dummy.predict(np.zeros((50, 1))))
    assert np.isnan(scored["test"]["pearson"]) and scored["test"]["r2"] <= 0
    result, _ = run("majority", bundle(TAGS, tags), "f1_macro")
    assert result.predictions["test"].decisions[:, 2].all()


def test_tfidf_learns_topics() -> None:
    result, scored = run("tfidf", bundle(CLASSES, topics), "f1_macro")
    assert scored["test"]["f1_macro"] > 0.95
    assert result.settings["C"] in (1.0, 10.0, 100.0)
    assert result.costs["train_seconds"] > 0 and result.costs["predict_ms_per_example"] > 0
    assert result.costs["trainable_parameters"] == result.costs["total_parameters"] > 100
    np.testing.assert_allclose(result.predictions["test"].scores.sum(axis=1), 1)


def test_tfidf_learns_labels_and_bears_one_that_all_rows_have() -> None:
    _, scored = run("tfidf", bundle(TAGS, tags), "f1_macro")
    assert scored["test"]["f1_macro"] == 1.0


def test_tfidf_sees_what_a_pair_shares() -> None:
    _, scored = run("tfidf", bundle(PAIRS, pairs, train=300), "r2")
    assert scored["test"]["r2"] > 0.9


def test_class_that_training_lacks_gets_probability_zero() -> None:
    four = Schema("classification", ("text",), "label", ("absent", *TOPICS))

    def shifted(rng: np.random.Generator, rows: int):
        texts, targets = topics(rng, rows)
        return texts, targets + 1

    result, scored = run("tfidf", bundle(four, shifted), "f1_macro")
    assert (result.predictions["test"].scores[:, 0] == 0).all()
    assert scored["test"]["f1_macro"] > 0.95


def test_threshold_of_the_recipe_holds_for_baselines_too() -> None:
    two = Schema("classification", ("text",), "label", ("rest", "card"))

    def rare(rng: np.random.Generator, rows: int):
        texts, targets = topics(rng, rows)
        return texts, ((targets == 0) & (rng.random(rows) < 0.6)).astype(np.int64)

    data = bundle(two, rare, train=300, validation=200)
    _, plain = run("tfidf", data, "f1")
    result, tuned = run("tfidf", data, "f1", threshold="f1")
    assert result.settings["threshold"] != 0.5
    assert tuned["validation"]["f1"] >= plain["validation"]["f1"]


def test_same_seed_gives_the_same_scores() -> None:
    data = bundle(CLASSES, topics)
    first, second = (run("tfidf", data, "f1_macro")[0].predictions["test"] for _ in range(2))
    np.testing.assert_array_equal(first.scores, second.scores)


def test_texts_without_words_are_an_error() -> None:
    data = bundle(CLASSES, lambda rng, rows: ([("!!! ...",)] * rows, topics(rng, rows)[1]))
    with pytest.raises(DataError, match="no word in the training texts"):
        run("tfidf", data, "f1_macro")
