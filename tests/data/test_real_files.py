"""Real files, where they are at hand: their folder is in TUNEWISE_TEST_DATA."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tunewise.data.draft import draft_recipe
from tunewise.data.prepare import prepare
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError

FOLDER = Path(os.environ.get("TUNEWISE_TEST_DATA", "../shared")) / "data"


def need(name: str) -> None:
    if not (FOLDER / name).exists():
        pytest.skip(f"{name} is not in the folder that TUNEWISE_TEST_DATA names")


def test_banking77():
    need("banking77/train.csv")
    data = prepare(DataConfig(train="banking77/train.csv", label="category", test="banking77/test.csv"), FOLDER)
    assert len(data.schema.labels) == 77
    assert data.schema.text == ("text",)
    assert len(data.splits["test"]) == 3080
    assert np.bincount(data.splits["test"].targets).tolist() == [40] * 77
    assert len(data.splits["train"]) + len(data.splits["validation"]) == 10_003
    whole = np.bincount(np.concatenate([data.splits[name].targets for name in ("train", "validation")]))
    assert (np.abs(np.bincount(data.splits["validation"].targets) - whole * 0.15) < 1).all()


def test_sms_spam_has_quotes_that_open_nothing():
    need("sms-spam/SMSSpamCollection")
    config = DataConfig(train="sms-spam/SMSSpamCollection", format="tsv", label="Label")
    data = prepare(config, FOLDER)
    lines = (FOLDER / config.train).read_text(encoding="utf-8").rstrip("\n").split("\n")[1:]
    labels = Counter(line.split("\t")[0] for line in lines)
    found = Counter(data.schema.labels[target] for split in data.splits.values() for target in split.targets)
    assert (found, sum(found.values())) == (labels, 5574)
    for split in data.splits.values():
        pairs = zip(split.targets, split.texts, strict=True)
        found_lines = [f"{data.schema.labels[target]}\t{text}" for target, (text,) in pairs]
        assert found_lines == [lines[row - 1] for row in split.rows]
        assert split.targets.mean() == pytest.approx(labels["spam"] / 5574, abs=0.001)
    with pytest.raises(DataError, match="line"):
        prepare(config.model_copy(update={"quotes": True}), FOLDER)


def test_stsb_has_no_header_in_train():
    need("stsb/train.tsv")
    config = DataConfig(
        train="stsb/train.tsv", validation="stsb/dev.tsv", text=[7, 8], label=9, header=False, limit=2000
    )
    data = prepare(config, FOLDER)
    assert data.schema.task == "regression"
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 1600, "validation": 1500, "test": 400}
    first = (FOLDER / "stsb/dev.tsv").read_text(encoding="utf-8").split("\n")[0].split("\t")
    assert data.splits["validation"].texts[0] == (first[7], first[8])
    assert data.splits["validation"].targets[0] == np.float32(first[9])
    with pytest.raises(DataError, match="take its first line out"):
        prepare(config.model_copy(update={"test": "stsb/test.tsv"}), FOLDER)


def test_a_draft_of_each_can_be_prepared():
    import yaml

    for name in ("banking77/train.csv", "sms-spam/SMSSpamCollection", "stsb/train.tsv"):
        need(name)
        drafted = yaml.safe_load(draft_recipe(name, "m", folder=FOLDER))["data"]
        assert len(prepare(DataConfig(**drafted), FOLDER).splits["train"]) > 2000


@pytest.mark.parametrize(
    ("options", "rows", "task", "form"),
    [
        ({"train": "instruct/alpaca_en_demo.json"}, 999, "generation", "chat"),
        ({"train": "instruct/dpo_en_demo.json"}, 300, "preference", "chat"),
        ({"train": "gsm8k/train_2000.jsonl", "test": "gsm8k/test.jsonl"}, 2000, "generation", "completion"),
        ({"train": "gsm8k/train_2000.jsonl", "task": "prompts"}, 2000, "prompts", "completion"),
        ({"train": "tinystories-sample/tinystories_sample.txt"}, 2317, "generation", "text"),
    ],
)
def test_language_data_is_read_as_it_is(options, rows, task, form):
    need(options["train"])
    data = prepare(DataConfig(**options), FOLDER)
    assert (data.schema.task, data.schema.form) == (task, form)
    read = next(step for step in data.steps if step.name == "read")
    assert read.rows_in == rows
    lost = sum(step.rows_in - step.rows_out for step in data.steps if step.name == "unusable rows")
    held = [split for name, split in data.splits.items() if not (name == "test" and "test" in options)]
    assert sum(map(len, held)) == rows - lost


def test_translations_beside_each_other(tmp_path):
    need("multi30k/val.en.gz")
    import gzip

    files = [FOLDER / f"multi30k/val.{side}.gz" for side in ("en", "de")]
    sides = [gzip.decompress(file.read_bytes()).decode().splitlines() for file in files]
    lines = [f"{one}\t{other}\n" for one, other in zip(*sides, strict=True)]
    (tmp_path / "pairs.tsv").write_text("en\tde\n" + "".join(lines), encoding="utf-8")
    data = prepare(DataConfig(train="pairs.tsv", task="generation", text="en", label="de"), tmp_path)
    found = {texts for split in data.splits.values() for texts in split.texts}
    assert found == {tuple(line.rstrip("\n").split("\t")) for line in lines}
