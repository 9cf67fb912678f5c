"""Labels that are likely wrong: planted ones are found, in every split and task, by what cleanlab says."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunewise.audit.audit import audit, refuse_blocked
from tunewise.audit.out_of_fold import FOLDS, REPEATS, fitted, folds_of, out_of_fold
from tunewise.audit.settings import CheckConfig
from tunewise.data.prepare import prepare
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError
from tunewise.models.locate import EMBEDDED_PACKAGE, locate
from tunewise.types import DataBundle, Schema

KIND = ["label_errors"]
REAL = Path(os.environ.get("TUNEWISE_TEST_DATA", "../shared")) / "data"


def planted(data: DataBundle, rate: float, seed: int = 0) -> tuple[DataBundle, dict[str, dict[int, int]]]:
    """Classes of so many rows of each split turned at random; row -> the right class."""
    generator, classes, splits, right = np.random.default_rng(seed), len(data.schema.labels), {}, {}
    for name, split in data.splits.items():
        places = generator.choice(len(split), round(rate * len(split)), replace=False)
        targets = split.targets.copy()
        targets[places] = (targets[places] + generator.integers(1, classes, len(places))) % classes
        splits[name] = replace(split, targets=targets)
        right[name] = {int(split.rows[place]): int(split.targets[place]) for place in places}
    return replace(data, splits=splits), right


def found(data: DataBundle, model: Path) -> dict:
    return {finding.split: finding for finding in audit(data, locate(str(model), Path()), CheckConfig(), KIND).findings}


def test_planted_classes_are_found_in_every_split_with_the_right_one(toy_data, tiny_bert):
    data, right = planted(toy_data(train=240, held_out=60), 0.05)
    findings = found(data, tiny_bert)
    for name, rows in right.items():
        finding = findings[name]
        assert set(finding.rows) <= set(rows), name
        assert len(finding.rows) >= 0.7 * len(rows)
        suspects = finding.details["suspects"]
        assert [one["score"] for one in suspects] == sorted(one["score"] for one in suspects)
        for one in suspects:
            assert one["suggested"] == data.schema.labels[rows[one["row"]]]
            assert one["given"] != one["suggested"]
        assert "reads like" in finding.examples[0].note and "quality" in finding.examples[0].note
    assert json.loads(json.dumps(findings["train"].details))
    again = found(data, tiny_bert)
    assert again == findings


def test_right_labels_are_let_alone(toy_data, tiny_bert):
    assert found(toy_data(train=240, held_out=60), tiny_bert) == {}


def test_train_is_judged_without_the_test(toy_data, tiny_bert):
    data, _ = planted(toy_data(train=240, held_out=60), 0.05)
    other = dict(data.splits, test=replace(data.splits["test"], targets=np.roll(data.splits["test"].targets, 1)))
    assert found(replace(data, splits=other), tiny_bert)["train"] == found(data, tiny_bert)["train"]


def test_pairs(toy_data, tiny_bert):
    data, right = planted(toy_data(pairs=True, train=240, held_out=60), 0.05)
    rows = set(found(data, tiny_bert)["train"].rows)
    assert rows <= set(right["train"]) and len(rows) >= 0.6 * len(right["train"])


def test_planted_labels_of_several_are_found(toy_data, tiny_bert):
    data = toy_data("multilabel", train=300, held_out=60)
    targets = data.splits["train"].targets.copy()
    wrong = [5, 27, 50, 77, 110, 151, 190, 223, 260, 290]
    targets[wrong, 1] = 1 - targets[wrong, 1]
    turned = replace(data, splits={**data.splits, "train": replace(data.splits["train"], targets=targets)})
    finding = found(turned, tiny_bert)["train"]
    hits = [one for one in finding.details["suspects"] if one["row"] - 1 in wrong]
    assert len(hits) >= 7 and len(finding.rows) <= len(hits) + 6
    for one in hits:
        right = [data.schema.labels[c] for c in np.flatnonzero(data.splits["train"].targets[one["row"] - 1])]
        assert one["suggested"] == right and one["given"] != right


def test_planted_numbers_are_found(toy_data, tiny_bert):
    data = toy_data("regression", train=200, held_out=40)
    targets = data.splits["train"].targets.copy()
    targets[[3, 70]] = 1000, -500
    turned = replace(data, splits={**data.splits, "train": replace(data.splits["train"], targets=targets)})
    finding = found(turned, tiny_bert)["train"]
    assert {4, 71} <= set(finding.rows)
    assert {one["row"] for one in finding.details["suspects"][:2]} == {4, 71}
    assert finding.details["suspects"][0]["given"] == 1000


def test_a_class_of_few_texts_is_not_judged_and_this_is_told(toy_data, tiny_bert):
    data = toy_data(train=240, held_out=60)
    targets = data.splits["train"].targets.copy()
    rare = len(data.schema.labels)
    targets[:3] = rare
    data = replace(data, schema=replace(data.schema, labels=(*data.schema.labels, "rare")))
    turned = [10, 40, 75, 110, 140, 180]
    targets[turned] = (targets[turned] + 1) % rare
    finding = found(
        replace(data, splits={**data.splits, "train": replace(data.splits["train"], targets=targets)}), tiny_bert
    )["train"]
    assert finding.rows and {row - 1 for row in finding.rows} <= set(turned)
    assert finding.details["not_judged"] == 3
    assert "3 rows of classes with less than 5 texts in train were not judged" in finding.what


def test_words_and_too_few_rows_are_refused_with_the_reason(tagged_data, toy_data, tiny_bert):
    located = locate(str(tiny_bert), Path())
    tagged = audit(tagged_data(), located, CheckConfig(), KIND)
    assert "the task is token_classification" in tagged.left_out["label_errors"]
    few = audit(toy_data(train=6, held_out=6), located, CheckConfig(), KIND)
    assert "5 different texts" in few.left_out["label_errors"]
    with pytest.raises(DataError, match="cannot be looked for: it is for classes"):
        refuse_blocked(tagged, CheckConfig(block=KIND))


def test_out_of_fold_is_scikit_learn_on_the_same_folds():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict

    generator = np.random.default_rng(3)
    targets = generator.integers(0, 3, 60)
    features = (generator.normal(size=(60, 5)) + targets[:, None]).astype(np.float32)
    texts = [(f"text {number % 55}",) for number in range(60)]
    ours = out_of_fold(texts, targets.tolist(), features, targets, Schema("classification", ("t",), "l", tuple("abc")),
                       lambda share: None)  # fmt: skip
    theirs = np.mean(
        [
            cross_val_predict(
                LogisticRegression(C=1.0, max_iter=1000),
                features,
                targets,
                cv=PredefinedSplit(folds_of(texts, targets.tolist(), repeat)),
                method="predict_proba",
            )
            for repeat in range(REPEATS)
        ],
        axis=0,
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_linear_model_of_numbers_is_ridge():
    from sklearn.linear_model import Ridge

    generator = np.random.default_rng(3)
    features = generator.normal(size=(40, 5)).astype(np.float32)
    targets = 100 + 7 * features[:, 0]
    model = fitted(features, targets, Schema("regression", ("t",), "l"))
    scaled = (targets - targets.mean()) / targets.std()
    theirs = Ridge(alpha=1.0).fit(features, scaled).predict(features) * targets.std() + targets.mean()
    np.testing.assert_allclose(model(features), theirs, rtol=1e-4)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=2, max_size=80), st.integers(0, 3))
def test_folds_keep_equal_texts_together_and_share_out_each_class(rows, repeat):
    texts = [(str(text),) for text, _ in rows]
    strata = [text % 4 for text, _ in rows]
    folds = folds_of(texts, strata, repeat)
    assert len({(text, fold) for text, fold in zip(texts, folds.tolist(), strict=True)}) == len(set(texts))
    for stratum in set(strata):
        members = {text: fold for text, fold, own in zip(texts, folds.tolist(), strata, strict=True) if own == stratum}
        counts = np.bincount(list(members.values()), minlength=FOLDS)
        assert counts.max() - counts.min() <= 1
    order = np.random.default_rng(0).permutation(len(rows))
    again = folds_of([texts[place] for place in order], [strata[place] for place in order], repeat)
    assert (again == folds[order]).all()


CONFIGS = {
    "example": (DataConfig(train="example:customer-messages", text="text", label="intent"), Path(), (0, 1, 2)),
    "sms-spam": (DataConfig(train="sms-spam/SMSSpamCollection", format="tsv", label="Label"), REAL, (0,)),
    "banking77": (
        DataConfig(train="banking77/train.csv", label="category", test="banking77/test.csv"),
        REAL,
        (0,),
    ),
}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec(EMBEDDED_PACKAGE) is None, reason="needs the real MiniLM")
@pytest.mark.parametrize("name", CONFIGS)
def test_of_as_many_as_were_planted_most_are_right(name):
    config, folder, seeds = CONFIGS[name]
    if folder == REAL and not (REAL / config.train).exists():
        pytest.skip(f"{config.train} is not in the folder that TUNEWISE_TEST_DATA names")
    data = prepare(config, folder)
    for rate in (0.03, 0.05):
        precisions, recalls = [], []
        for seed in seeds:
            wrong, right = planted(data, rate, seed)
            located = locate("sentence-transformers/all-MiniLM-L6-v2", Path())
            findings = audit(wrong, located, CheckConfig(), KIND).findings
            ranked = sorted(
                (one["score"], one["row"] in right[finding.split])
                for finding in findings
                for one in finding.details["suspects"]
            )
            many = sum(map(len, right.values()))
            precisions.append(np.mean([hit for _, hit in ranked[:many]]))
            recalls.append(sum(hit for _, hit in ranked) / many)
        spread = f"{min(precisions):.2f} to {max(precisions):.2f}"
        print(
            f"{name}, {rate:.0%} planted: precision at that number {np.mean(precisions):.2f} ({spread}), "
            f"recall of all told {np.mean(recalls):.2f}"
        )
        assert np.mean(precisions) >= 0.6
        assert np.mean(recalls) >= 0.6
