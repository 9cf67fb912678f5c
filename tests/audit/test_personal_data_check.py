"""The check personal_data and data.clean.personal_data: counted by kind, never shown, the same for later files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunewise.audit.audit import audit
from tunewise.audit.settings import CheckConfig
from tunewise.data.prepare import load_split, prepare
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError, RecipeError
from tunewise.models.locate import locate
from tunewise.recipe import recipe_from

DATA = ("anna.berg@example.com", "192.168.17.23", "4111 1111 1111 1111")


def write_data(folder: Path, rows: int = 40) -> None:
    held = {3: f"mail {DATA[0]} please", 5: f"from {DATA[1]} and {DATA[0]}", 9: f"card {DATA[2]}"}
    lines = [f"{held.get(row, f'plain message number {row}')},{'ab'[row % 2]}\n" for row in range(1, rows + 1)]
    (folder / "data.csv").write_text("text,label\n" + "".join(lines))


def prepared(folder: Path, clean=None, **options):
    clean = {"personal_data": clean} if clean else {}
    config = DataConfig.model_validate({"train": "data.csv", "label": "label", "clean": clean, **options})
    return config, prepare(config, folder)


def texts_of(data) -> dict[int, str]:
    return {int(r): t[0] for split in data.splits.values() for r, t in zip(split.rows, split.texts, strict=True)}


def test_counts_by_kind_and_masked_examples(tmp_path, tiny_bert):
    write_data(tmp_path)
    _, data = prepared(tmp_path)
    seen = []
    found = audit(
        data, locate(str(tiny_bert), Path()), CheckConfig(), ["personal_data"], lambda *told: seen.append(told)
    )
    rows = sorted(row for finding in found.findings for row in finding.rows)
    assert rows == [3, 5, 9]
    counts = [finding.details["counts"] for finding in found.findings]
    assert sum(count.get("EMAIL_ADDRESS", 0) for count in counts) == 2
    assert sum(count.get("IP_ADDRESS", 0) for count in counts) == 1
    assert all(finding.of == len(data.splits[finding.split]) for finding in found.findings)
    written = json.dumps(found.as_dict())
    assert not any(datum in written for datum in DATA)
    assert "a***@e***.com" in written
    assert seen[-1] == ("Personal data", 1.0)
    narrow = CheckConfig(personal_data=["CREDIT_CARD"])
    found = audit(data, locate(str(tiny_bert), Path()), narrow, ["personal_data"])
    assert [finding.rows for finding in found.findings] == [(9,)]


def test_replaced_in_every_split_and_in_later_files(tmp_path, tiny_bert):
    write_data(tmp_path)
    config, data = prepared(tmp_path, "replace")
    texts = texts_of(data)
    assert texts[3] == "mail <EMAIL_ADDRESS> please" and texts[9] == "card <CREDIT_CARD>"
    steps = [step.reason for step in data.steps if step.name == "personal data"]
    assert "data.csv: 2 EMAIL_ADDRESS in rows 3, 5: replaced" in steps and len(steps) == 3
    later = load_split(config, "data.csv", tmp_path, data.schema, "later", with_targets=True)
    assert {int(r): t[0] for r, t in zip(later.rows, later.texts, strict=True)} == texts
    assert not audit(data, locate(str(tiny_bert), Path()), CheckConfig(), ["personal_data"]).findings
    assert prepared(tmp_path, "replace")[1].fingerprint == data.fingerprint


def test_hashed_by_a_key_that_must_be_there(tmp_path, monkeypatch):
    write_data(tmp_path)
    monkeypatch.delenv("TUNEWISE_HASH_KEY", raising=False)
    with pytest.raises(DataError, match="needs a secret key") as caught:
        prepared(tmp_path, "hash")
    assert "secrets.token_hex" in caught.value.fix
    monkeypatch.setenv("TUNEWISE_HASH_KEY", "short")
    with pytest.raises(DataError, match="it is shorter"):
        prepared(tmp_path, "hash")
    monkeypatch.setenv("TUNEWISE_HASH_KEY", "k" * 32)
    texts = texts_of(prepared(tmp_path, "hash")[1])
    code = texts[3].removeprefix("mail ").removesuffix(" please")
    assert code.startswith("<EMAIL_ADDRESS_") and code in texts[5]
    assert texts == texts_of(prepared(tmp_path, "hash")[1])
    monkeypatch.setenv("TUNEWISE_HASH_KEY", "l" * 32)
    assert texts[3] != texts_of(prepared(tmp_path, "hash")[1])[3]


def test_dropped_from_train_alone(tmp_path):
    write_data(tmp_path)
    (tmp_path / "test.csv").write_text(f"text,label\nask {DATA[0]},a\nask again,b\n")
    _, data = prepared(tmp_path, "drop", test="test.csv")
    held = {int(row) for name in ("train", "validation") for row in data.splits[name].rows}
    assert held == set(range(1, 41)) - {3, 5, 9}
    assert data.splits["test"].texts[0] == (f"ask {DATA[0]}",)
    steps = [step for step in data.steps if step.name == "personal data"]
    assert [(step.rows_in, step.rows_out) for step in steps] == [(40, 38), (38, 37), (2, 2)]
    assert "only train is thinned out" in steps[-1].reason


def test_kinds_and_names(tmp_path):
    write_data(tmp_path)
    texts = texts_of(prepared(tmp_path, {"do": "replace", "kinds": ["IP_ADDRESS"]})[1])
    assert texts[5] == f"from <IP_ADDRESS> and {DATA[0]}"
    with pytest.raises(DataError, match="personal data cannot be looked for") as caught:
        prepared(tmp_path, {"do": "replace", "names": "no_such_model"})
    assert "no_such_model" in caught.value.fix


def test_names_by_a_model_of_spacy(tmp_path):
    import spacy

    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": "Anna Berg"}, {"label": "GPE", "pattern": "Bremen"}])
    nlp.to_disk(tmp_path / "names")
    (tmp_path / "data.csv").write_text(
        "text,label\n" + "".join(f"message {n} of Anna Berg in Bremen,{'ab'[n % 2]}\n" for n in range(20))
    )
    _, data = prepared(tmp_path, {"do": "replace", "names": str(tmp_path / "names")})
    assert texts_of(data)[1] == "message 0 of <PERSON> in <LOCATION>"


def test_words_with_tags_are_not_changed(tmp_path):
    (tmp_path / "data.jsonl").write_text('{"tokens": ["a@example.com", "b"], "tags": ["O", "B-x"]}\n' * 20)
    with pytest.raises(DataError, match="would change the words"):
        prepared(tmp_path, "replace", train="data.jsonl", label="tags")


@pytest.mark.parametrize(
    "value", ["mask", {"kinds": ["EMAIL_ADDRESS"]}, {"do": "drop", "kinds": []}, {"do": "drop", "kinds": ["X"]}]
)
def test_bad_options(value):
    with pytest.raises(RecipeError):
        recipe_from({"model": "m", "data": {"train": "d.csv", "clean": {"personal_data": value}}})
    with pytest.raises(RecipeError):
        recipe_from({"model": "m", "data": {"train": "d.csv"}, "check": {"personal_data": ["PASSWORD"]}})
