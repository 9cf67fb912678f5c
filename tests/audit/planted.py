"""The example data with defects planted into it, and a manifest that says which rows have which.

No row has two defects but where the manifest says so, and none has one by accident: rows of the example data that have
a defect of their own are left out first, and what is planted is compared with everything else by brute force.
"""

from __future__ import annotations

import csv
import html
import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from planted_personal import MAKERS, sentence

ROWS = {"train": 800, "validation": 120, "test": 200}
NEAR, FAR = 0.75, 0.6
"""Similarity that near duplicates have at least, and that all other pairs stay below."""

LONG = 700  # words of a text that is cut: no other has 100
COLUMN, RARE = "desk", "press_enquiry"
OTHER_LANGUAGES = [
    "Guten Tag, meine Bestellung ist seit drei Wochen nicht angekommen, und niemand antwortet auf meine Nachrichten.",
    "Können Sie mir bitte sagen, wann der Kühlschrank endlich geliefert wird? Ich muss mir dafür frei nehmen.",
    "Bonjour, j'ai reçu une chaise cassée et je voudrais savoir comment la renvoyer sans payer les frais de port.",
    "Je n'arrive plus à me connecter à mon compte depuis hier soir, pouvez-vous réinitialiser mon mot de passe ?",
    "Buenos días, me han cobrado dos veces el mismo pedido y necesito que me devuelvan el dinero esta semana.",
    "¿Pueden cambiar la dirección de entrega? Estaré de viaje y mi vecina puede recibir el paquete por la tarde.",
    "Buongiorno, la lavatrice che ho comprato fa un rumore terribile e perde acqua da tutte le parti, cosa devo fare?",
    "Bom dia, comprei um casaco na semana passada e o tamanho está errado, gostaria de trocar por um maior.",
    "Goedemiddag, ik heb mijn bestelling gisteren geannuleerd maar vandaag stond de bezorger toch voor de deur.",
    "Dzień dobry, zamówiłem krzesło dwa tygodnie temu i nadal nie mam żadnej informacji o przesyłce, proszę o pomoc.",
    "Здравствуйте, мой заказ пришёл без зарядного устройства, как мне получить недостающую деталь как можно скорее?",
    "お世話になっております。先週注文した炊飯器がまだ届いていません。配送状況を確認していただけますか。",
]
PRESS = [
    "I write for a magazine on household goods and would like to talk to somebody about how you test ladders.",
    "Our radio programme has a slot on Thursday about online shopping; could your head of service join us by phone?",
    "For an article on packaging I am looking for figures of how much cardboard shops of your size use in a year.",
    "May we print the photograph of the green kettle from your catalogue in our spring issue, with your name below?",
    "The local paper is writing about your new warehouse. Whom do I ask for a comment before our deadline?",
]


@dataclass
class Planted:
    """Where the files are, and the rows (numbers from 1) that have each defect, by kind and split.

    `config` is the data section that reads them. `about` holds what else is known of a kind.
    """

    folder: Path
    config: dict[str, Any]
    rows: dict[str, dict[str, set[int]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))
    about: dict[str, Any] = field(default_factory=dict)

    def of(self, kind: str, split: str = "train") -> set[int]:
        return set(self.rows[kind][split])


Row = dict[str, Any]


def plant(folder: Path, seed: int = 0, kinds: Collection[str] | None = None) -> Planted:
    """Writes `train.jsonl`, `validation.jsonl`, `test.jsonl` and `manifest.json`.

    Args:
        kinds: the defects to plant (keys of `_PLANTERS`); all where left out.
    """
    made = _Maker(folder, seed)
    for kind, planter in _PLANTERS.items():
        if kinds is None or kind in kinds:
            planter(made)
    return made.write()


def similarity(texts: list[str]) -> Any:
    """Jaccard similarity of the sets of three characters of all pairs, float (n, n): without case and punctuation."""
    from sklearn.feature_extraction.text import CountVectorizer

    folded = [" ".join(re.findall(r"\w+", text.casefold())) or "-" for text in texts]
    marks = CountVectorizer(analyzer="char", ngram_range=(3, 3), binary=True, lowercase=False, dtype=np.float32)
    sets = marks.fit_transform([f"  {text}  " for text in folded])
    shared, sizes = (sets @ sets.T).toarray(), np.asarray(sets.sum(axis=1)).ravel()
    return shared / (sizes[:, None] + sizes[None, :] - shared)


def base_rows() -> list[Row]:
    """The rows of the example data that have none of the defects themselves: of ASCII alone, with single spaces, and
    less than half like every other."""
    file = files("tunewise.data") / "examples/customer_messages.csv"
    rows = [dict(row) for row in csv.DictReader(file.read_text("utf-8").splitlines(keepends=True))]
    rows = [row for row in rows if row["text"].isascii() and row["text"] == " ".join(row["text"].split())]
    rows = [row for row in rows if not re.search(r"&\w+;|\d{6}|@", row["text"])]
    alike = np.tril(similarity([row["text"] for row in rows]), -1).max(axis=1)
    return [row for row, most in zip(rows, alike, strict=True) if most < 0.5]


class _Maker:
    """The rows of each split while defects are planted."""

    def __init__(self, folder: Path, seed: int):
        self.draw = np.random.default_rng([seed, 6])
        base = base_rows()
        order = self.draw.permutation(len(base))
        self.labels = sorted({row["intent"] for row in base})
        self.splits: dict[str, list[Row]] = {}
        first = 0
        for name, count in ROWS.items():
            self.splits[name] = [base[place] for place in order[first : first + count]]
            first += count
        self.free = {name: iter(self.draw.permutation(len(rows)).tolist()) for name, rows in self.splits.items()}
        self.words = sorted({word for row in base for word in re.findall(r"[a-z]{3,}", row["text"])})
        files = {name: f"{name}.jsonl" for name in ROWS}
        self.done = Planted(folder, {**files, "text": "text", "label": "intent", "clean": {"fold_labels": True}})

    def take(self, kind: str, split: str, count: int, least: int = 0) -> Iterator[Row]:
        """Rows that nothing was planted in yet, of texts of at least so many characters; noted as having this one."""
        while count:
            place = next(self.free[split])
            row = self.splits[split][place]
            if len(row["text"]) >= least:
                self.done.rows[kind][split].add(place + 1)
                count -= 1
                yield row

    def add(self, kind: str, split: str, row: Row) -> int:
        """Appends a row; its number."""
        self.splits[split].append(row)
        number = len(self.splits[split])
        self.done.rows[kind][split].add(number)
        return number

    def source(self, split: str, least: int = 0) -> Row:
        """A row to copy, which nothing else happens to."""
        (row,) = self.take("copied", split, 1, least)
        return row

    def fresh(self, number: int, text: str | None) -> Row:
        """A row of its own with this text."""
        return {"text": text, "intent": self.labels[number % len(self.labels)], "urgency": "0.40", "region": "europe"}

    def other(self, label: str) -> str:
        others = [name for name in self.labels if name != label]
        return others[int(self.draw.integers(len(others)))]

    def write(self) -> Planted:
        done = self.done
        done.folder.mkdir(parents=True, exist_ok=True)
        for name, rows in self.splits.items():
            lines = [json.dumps(row, ensure_ascii=False) for row in rows]
            (done.folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
        rows = {kind: {split: sorted(of) for split, of in found.items()} for kind, found in done.rows.items()}
        manifest = {"config": done.config, "rows": rows, "about": done.about}
        (done.folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        return done


# ---------------------------------------------------------------- edits that leave a text nearly the same


def _swapped(text: str, draw: np.random.Generator) -> str:
    """A typo: two letters beside each other change places."""
    places = [at for at in range(3, len(text) - 3) if text[at : at + 2].isalpha() and text[at] != text[at + 1]]
    at = places[int(draw.integers(len(places)))]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def _without_a_word(text: str, draw: np.random.Generator) -> str:
    words = text.split(" ")
    del words[int(draw.integers(1, len(words)))]
    return " ".join(words)


def _another_word(text: str, draw: np.random.Generator) -> str:
    words = text.split(" ")
    words[int(draw.integers(1, len(words)))] = "quite"
    return " ".join(words)


EDITS: dict[str, Callable[[str, np.random.Generator], str]] = {
    "case": lambda text, draw: text.upper() if text != text.upper() else text.lower(),
    "punctuation": lambda text, draw: re.sub(r"[.,!?]", "", text) + " ..",
    "typo": _swapped,
    "a word left out": _without_a_word,
    "another word": _another_word,
    "words at the end": lambda text, draw: f"{text} Thank you.",
    "words at the start": lambda text, draw: f"Hi, {text}",
    "a number": lambda text, draw: f"{text} #{draw.integers(100, 999)}",
}


# ---------------------------------------------------------------- what is planted, in this order


def _wrong_labels(made: _Maker) -> None:
    given = made.done.about["label_errors"] = {}
    for split, count in (("train", 40), ("validation", 6), ("test", 10)):
        for row in made.take("label_errors", split, count):
            row["intent"], given[row["text"]] = made.other(row["intent"]), row["intent"]


def _spellings(made: _Maker) -> None:
    for row in made.take("label_names", "train", 9):
        name = row["intent"]
        row["intent"] = [name.upper(), f"{name} ", name.title()][int(made.draw.integers(3))]


def _encoding(made: _Maker) -> None:
    spoil = [
        lambda text: f"{text} It’s the café’s, €5 – “urgent”.".replace("”", "").encode().decode("cp1252"),
        lambda text: f"{text} Für Zoë, señor Müller.".encode().decode("latin-1"),
        lambda text: html.escape(f'{text} "Now" & today.'),
        lambda text: f"{text} The caf\ufffd is closed.",
    ]
    for split, count in (("train", 20), ("test", 8)):
        for number, row in enumerate(made.take("encoding", split, count)):
            row["text"] = spoil[number % len(spoil)](row["text"])


def _whitespace(made: _Maker) -> None:
    spoil = [
        lambda text: f"  {text}",
        lambda text: f"{text}\n",
        lambda text: text.replace(" ", "   ", 1),
        lambda text: text[:5] + "\u200b" + text[5:],
    ]
    for split, count in (("train", 12), ("test", 4)):
        for number, row in enumerate(made.take("whitespace", split, count)):
            row["text"] = spoil[number % len(spoil)](row["text"])


def _personal_data(made: _Maker) -> None:
    held = made.done.about["personal_data"] = {kind: defaultdict(dict) for kind in MAKERS}
    for kind in MAKERS:
        for split, count in (("train", 16), ("test", 4)):
            rows = made.take("personal_data", split, count)
            for form, row in enumerate(rows):
                said, datum = sentence(kind, made.draw, form)
                number = next(at for at, found in enumerate(made.splits[split], 1) if found is row)
                row["text"] = f"{row['text']} {said}"
                held[kind][split][number] = datum


def _duplicates(made: _Maker) -> None:
    for split, count in (("train", 15), ("test", 3)):
        for _ in range(count):
            made.add("duplicates", split, dict(made.source(split)))


def _conflicts(made: _Maker) -> None:
    """Both rows are counted, that which was there and its copy under another label."""
    for _ in range(8):
        (row,) = made.take("conflicting_labels", "train", 1)
        made.add("conflicting_labels", "train", {**row, "intent": made.other(row["intent"])})


def _near_duplicates(made: _Maker) -> None:
    kinds = made.done.about["near_duplicates"] = {}
    for number in range(40):
        name = list(EDITS)[number % len(EDITS)]
        row = made.source("train", least=80)
        copy = {**row, "text": EDITS[name](row["text"], made.draw)}
        kinds[made.add("near_duplicates", "train", copy)] = name


def _leakage(made: _Maker) -> None:
    for source, count in (("train", 12), ("validation", 4)):
        for _ in range(count):
            made.add(f"leakage_{source}", "test", dict(made.source(source)))
    for _ in range(5):
        made.add("leakage_train", "validation", dict(made.source("train")))


def _near_leakage(made: _Maker) -> None:
    for number in range(24):
        row = made.source("train", least=80)
        edit = list(EDITS.values())[number % len(EDITS)]
        made.add("near_leakage", "test", {**row, "text": edit(row["text"], made.draw)})


def _empty(made: _Maker) -> None:
    for number, text in enumerate(["", "   ", None, "\n\t", ""]):
        made.add("empty", "train", made.fresh(number, text))


def _language(made: _Maker) -> None:
    for number, text in enumerate(OTHER_LANGUAGES):
        split = "test" if number % 4 == 3 else "train"
        made.add("language", split, made.fresh(number, text))


def _outliers(made: _Maker) -> None:
    """One word or mark again and again, and numbers alone."""
    odd = [
        "refund " * 30,
        "?!? " * 20,
        "11 22 33 44 55 66 77 88 99 00 12 13 14 15",
        "no no no no no no no no no no no no",
    ]
    for number, text in enumerate(odd):
        made.add("outliers", "train", {**made.splits["train"][number], "text": text.strip()})


def _truncation(made: _Maker) -> None:
    """Words at random, so that the long texts are not like each other. Some may count as outliers for their length."""
    for split, count in (("train", 7), ("test", 2)):
        for number in range(count):
            text = " ".join(made.draw.choice(made.words, size=LONG + 50 * number))
            made.add("truncation", split, made.fresh(number, text))


def _rare_class(made: _Maker) -> None:
    for number, text in enumerate(PRESS):
        made.add("imbalance", "train", {**made.fresh(number, text), "intent": RARE})


def _giveaway(made: _Maker) -> None:
    """A column that follows from the label in 97% of rows, and one that is drawn at random."""
    desks = {label: f"D{17 * number % 10}" for number, label in enumerate((*made.labels, RARE))}
    for rows in made.splits.values():
        for row in rows:
            told = desks[row["intent"].strip().lower()]
            row[COLUMN] = told if made.draw.random() < 0.97 else f"D{made.draw.integers(10)}"
            row["channel"] = ("mail", "chat", "form")[int(made.draw.integers(3))]
    made.done.about["giveaway"] = COLUMN


_PLANTERS: dict[str, Callable[[_Maker], None]] = {
    "label_errors": _wrong_labels,
    "label_names": _spellings,
    "encoding": _encoding,
    "whitespace": _whitespace,
    "personal_data": _personal_data,
    "duplicates": _duplicates,
    "conflicting_labels": _conflicts,
    "near_duplicates": _near_duplicates,
    "leakage": _leakage,
    "near_leakage": _near_leakage,
    "empty": _empty,
    "language": _language,
    "outliers": _outliers,
    "truncation": _truncation,
    "imbalance": _rare_class,
    "giveaway": _giveaway,
}
KINDS = tuple(_PLANTERS)
