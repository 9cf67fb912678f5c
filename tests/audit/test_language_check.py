"""Texts in another language: found where they have enough letters, and no false alarm on real English messages."""

from __future__ import annotations

import csv
import os
from importlib.resources import files
from pathlib import Path

import pytest
from checked_data import found, split

from tunewise.audit.language import letters
from tunewise.errors import DataError

FOLDER = Path(os.environ.get("TUNEWISE_TEST_DATA", "../shared")) / "data"
ENGLISH = [
    "Where is the card that I ordered two weeks ago?",
    "I would like to close my account, please.",
    "The exchange rate of my payment was wrong again.",
]
OTHERS = {
    "de": "Ich habe meine Karte verloren und brauche eine neue.",
    "fr": "Je voudrais fermer mon compte le plus vite possible.",
    "es": "No me ha llegado todavía la tarjeta que pedí hace dos semanas.",
    "ja": "カードがまだ届いていません。確認してください。",
    "ru": "Здравствуйте, моя карта не работает уже третий день, помогите пожалуйста.",
}


def test_rows_in_other_languages_are_found():
    (finding,) = found("language", split([*ENGLISH, *OTHERS.values()]))
    assert finding.rows == (4, 5, 6, 7, 8)
    assert finding.details["language"] == "en"
    assert finding.details["languages"] == {"en": 3, **dict.fromkeys(OTHERS, 1)}
    assert finding.what.startswith("5 of 8 rows are not in the language en: 1 de, 1 fr, 1 es, 1 ja, 1 ru (8 rows have")


def test_other_splits_are_judged_by_the_language_of_train():
    (finding,) = found("language", split(ENGLISH), split([*list(OTHERS.values())[:2], ENGLISH[0]], name="test"))
    assert (finding.split, finding.rows) == ("test", (1, 2))


def test_the_recipe_may_name_the_language():
    (finding,) = found("language", split([*ENGLISH, OTHERS["de"]]), language="de")
    assert finding.rows == (1, 2, 3)
    with pytest.raises(DataError, match="'xx' is no language"):
        found("language", split(ENGLISH), language="xx")


@pytest.mark.parametrize("text", ["Danke schön", "ok", "12345 67890 12345 67890", "", "merci :-) :-) :-) :-) :-) :-)"])
def test_short_texts_are_not_judged(text):
    assert letters(text) < 20
    assert not found("language", split([*ENGLISH, text]))


def test_languages_that_are_alike_are_not_told_apart():
    danish = "Jeg har mistet mit kort og vil gerne have et nyt tilsendt."
    norwegian = "Jeg har mistet kortet mitt og vil gjerne ha et nytt tilsendt."
    assert not found("language", split([danish] * 3 + [norwegian]))


def test_no_false_alarm_on_the_example_messages():
    with (files("tunewise.data") / "examples/customer_messages.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    findings = found("language", split(texts))
    assert sum(finding.count for finding in findings) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["banking77/train.csv", "sms-spam/SMSSpamCollection"])
def test_no_false_alarm_on_real_english_messages(name):
    if not (FOLDER / name).exists():
        pytest.skip(f"{name} is not in the folder that TUNEWISE_TEST_DATA names")
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="," if name.endswith("csv") else "\t", quoting=csv.QUOTE_MINIMAL))
    texts = [row[0 if name.endswith("csv") else -1] for row in rows[1:]]
    assert not found("language", split(texts))
