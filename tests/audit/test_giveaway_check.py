"""What gives the label away: columns of words and of numbers, the order of a file, names of labels in texts."""

from __future__ import annotations

import numpy as np
import pytest
from checked_data import found, split
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold
from sklearn.tree import DecisionTreeClassifier

from tunewise.audit.foretelling import error_taken_away, order_effect
from tunewise.audit.giveaway import is_feature, numbers_of
from tunewise.audit.label_names import names_in_texts

ROWS = 400


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def texts(count: int = ROWS) -> list[str]:
    return [f"message number {number}" for number in range(count)]


def noisy(generator, targets: np.ndarray, share: float, classes: int = 2) -> np.ndarray:
    """Targets, of which a share is drawn anew."""
    return np.where(generator.random(len(targets)) < share, generator.integers(0, classes, len(targets)), targets)


def test_a_column_made_from_the_label_is_found_and_chance_is_not(generator):
    targets = generator.integers(0, 2, ROWS)
    columns = {
        "code": [("K17", "B04")[target] for target in noisy(generator, targets, 0.2)],
        "region": generator.choice(["north", "south"], ROWS).tolist(),
        "copy": [str(target) for target in targets],
        "minutes": [f"{5 + target + 0.2 * generator.standard_normal():.2f}" for target in targets],
        "other": [f"{number:.2f}" for number in generator.standard_normal(ROWS)],
    }
    findings = found("giveaway", split(texts(), targets, columns=columns))
    assert [finding.details["column"] for finding in findings] == ["code", "copy", "minutes"]
    assert findings[1].details["error_taken_away"] == 1
    assert findings[1].rows == () and findings[1].of == ROWS
    assert "column 'copy' gives the label away: on rows that were held out, its value alone takes 100%" in (
        findings[1].what
    )


def test_names_and_numbers_of_rows_and_texts_are_no_features():
    assert not is_feature(tuple(f"{number:08x}x" for number in range(100)))
    assert not is_feature(tuple(str(number) for number in range(100)))
    assert not is_feature(tuple(f"a remark of its own, {number}" for number in range(100)))
    assert not is_feature(("same",) * 100)
    assert is_feature(("a", "b") * 50)
    assert is_feature(tuple(f"{number / 7:.4f}" for number in range(100)))


def test_numbers_of_a_column():
    assert numbers_of(("1", "2.5", "")).tolist()[:2] == [1.0, 2.5]
    assert np.isnan(numbers_of(("1", "2.5", ""))[2])
    assert numbers_of(("1", "x")) is None
    assert numbers_of(("", "")) is None
    assert numbers_of(("1", "inf")) is None


def test_error_taken_away_by_hand():
    # Word "a" foretells class 0 and "b" class 1; a tenth of each is wrong, and the constant guess is wrong in half.
    words = ["a"] * 100 + ["b"] * 100
    targets = np.array([0] * 90 + [1] * 10 + [1] * 90 + [0] * 10)
    assert error_taken_away(words, targets) == pytest.approx(1 - 20 / 100, abs=0.05)
    assert error_taken_away(["a", "b"] * 100, np.zeros(200, dtype=np.int64)) == 0.0


def test_values_that_stand_once_foretell_nothing(generator):
    targets = generator.integers(0, 2, ROWS)
    assert error_taken_away([str(number) for number in range(ROWS)], targets) <= 0.1


def test_a_column_of_noise_takes_nothing_away(generator):
    targets, numbers = generator.integers(0, 2, ROWS), generator.standard_normal(ROWS)
    assert error_taken_away(numbers, targets) < 0.25
    assert error_taken_away(generator.choice(list("abcdefgh"), ROWS).tolist(), targets) < 0.25


def test_numbers_as_scikit_learn_has_it(generator):
    targets = generator.integers(0, 3, ROWS)
    numbers = targets + generator.standard_normal(ROWS)
    rows = np.random.default_rng(0).permutation(ROWS)
    values, wanted = numbers[rows, None], targets[rows]
    right = majority = 0
    for fold in range(5):
        held = np.arange(ROWS) % 5 == fold
        tree = DecisionTreeClassifier(max_leaf_nodes=64, min_samples_leaf=5, random_state=0)
        right += int((tree.fit(values[~held], wanted[~held]).predict(values[held]) == wanted[held]).sum())
        majority += int((np.bincount(wanted[~held]).argmax() == wanted[held]).sum())
    assert error_taken_away(numbers, targets) == pytest.approx(1 - (ROWS - right) / (ROWS - majority))


def test_a_number_to_predict_is_foretold_by_r_squared(generator):
    targets = generator.standard_normal(ROWS).astype(np.float32)
    words = ["high" if target > 0 else "low" for target in targets]
    share = error_taken_away(words, targets)
    # Two means instead of one explain 2 / pi of the variance of a normal distribution.
    assert share == pytest.approx(2 / np.pi, abs=0.05)
    found_means = np.empty(ROWS)
    for rest, held in KFold(5, shuffle=True, random_state=0).split(targets):
        means = {word: targets[[place for place in rest if words[place] == word]].mean() for word in ("high", "low")}
        found_means[held] = [means[words[place]] for place in held]
    assert share == pytest.approx(r2_score(targets, found_means), abs=0.02)
    columns = {"level": words, "half": [f"{target / 2:.3f}" for target in targets]}
    findings = found("giveaway", split(texts(), targets, columns=columns, dtype=np.float32), task="regression")
    assert [finding.details["column"] for finding in findings] == ["level", "half"]
    assert "the number to predict" in findings[0].what


def test_labels_of_several_are_looked_at_one_by_one(generator):
    targets = generator.integers(0, 2, (ROWS, 2)).astype(np.float32)
    columns = {"flag": ["yes" if row[1] else "no" for row in targets]}
    data = split(texts(), targets, columns=columns, dtype=np.float32)
    (finding,) = found("giveaway", data, task="multilabel", labels=("late", "broken"))
    assert "column 'flag' gives the label 'broken' away" in finding.what


def test_order_by_hand():
    assert order_effect(np.array([0, 0, 0, 0, 1, 1, 1, 1])) == pytest.approx((6 / 7 - 0.5) / 0.5)
    assert order_effect(np.array([0, 1, 0, 1, 0, 1, 0, 1])) == pytest.approx(-1)
    assert order_effect(np.zeros(8, dtype=np.int64)) == 0
    assert order_effect(np.linspace(0, 1, 50)) == pytest.approx(1)
    assert order_effect(np.ones(8)) == 0


def test_a_sorted_file_is_told(generator):
    targets = generator.integers(0, 4, ROWS)
    labels = ("w", "x", "y", "z")
    (finding,) = found("giveaway", split(texts(), np.sort(targets)), labels=labels)
    assert finding.what.startswith("the file is sorted") and finding.details["order_effect"] > 0.9
    assert not found("giveaway", split(texts(), targets), labels=labels)
    numbers = np.sort(generator.random(ROWS))
    (finding,) = found("giveaway", split(texts(), numbers, dtype=np.float32), task="regression")
    assert "correlation" in finding.what


def test_names_of_labels_stand_word_for_word():
    labels, rows = ["lost_card", "hi", "Refund", "7"], ["My LOST card!", "lostcard", "refunds", "a refund, hi 7"]
    found_names = list(names_in_texts(labels, [(row,) for row in rows]))
    assert found_names[0].tolist() == [True, False, False, False]
    assert found_names[2].tolist() == [False, False, False, True]
    assert found_names[1] is None and found_names[3] is None


def test_texts_that_hold_their_label_are_told(generator):
    labels = ("refund", "delivery")
    targets = generator.integers(0, 2, 200)
    rows = [f"Topic: {labels[target]}. Please help with case {place}." for place, target in enumerate(targets)]
    (finding,) = found("giveaway", split(rows, targets), labels=labels)
    assert finding.count == 200
    assert finding.details["refund"] == {"own": 1.0, "others": 0.0}
    everywhere = [f"{row} Is it a refund or a delivery?" for row in rows]
    assert not found("giveaway", split(everywhere, targets), labels=labels)


def test_few_rows_and_entities_are_not_judged():
    assert not found("giveaway", split(texts(10), [0, 1] * 5, columns={"copy": ["0", "1"] * 5}))
    tags = split(texts(40), [[0, 1, -1]] * 40, columns={"copy": ["0", "1"] * 20})
    assert not found("giveaway", tags, task="token_classification", labels=("O", "B-x"))
