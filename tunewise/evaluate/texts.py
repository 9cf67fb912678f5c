"""Metrics of texts that a model wrote, beside what stands there: sums over rows wherever there are any.

Shape legend: n rows, m of them with a text, R weightings of the rows, K numbers of a text.
"""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from tunewise.evaluate.sample import Sample

if TYPE_CHECKING:
    from tunewise.types import Predictions

Compute = Callable[[Sample], np.ndarray]
PACKAGES = {"bleu": "sacrebleu", "chrf": "sacrebleu"}
"""What a metric needs that not every installation has."""
WORD = re.compile(r"[^\W_]+")

_NUMBERS: WeakKeyDictionary[Predictions, dict[Any, np.ndarray]] = WeakKeyDictionary()


def missing(metric: str) -> str | None:
    """The package that a metric needs and that is not installed."""
    package = PACKAGES.get(metric)
    return package if package and importlib.util.find_spec(package) is None else None


def bleu(tokenizer: str) -> Compute:
    """sacreBLEU's corpus BLEU (0 to 100), of one reference."""

    def compute(sample: Sample) -> np.ndarray:
        made = _sacrebleu("bleu", tokenizer)
        sums_RK = _sums(sample, ("bleu", tokenizer), lambda said, wanted: _statistics(made, said, wanted))
        return _scored(sums_RK, lambda sums: made._compute_score_from_stats(sums).score)

    return compute


def chrf(sample: Sample) -> np.ndarray:
    """sacreBLEU's corpus chrF2 (0 to 100)."""
    made = _sacrebleu("chrf")
    sums_RK = _sums(sample, "chrf", lambda said, wanted: _statistics(made, said, wanted))
    return _scored(sums_RK, lambda sums: made._compute_score_from_stats(sums).score)


def rouge(kind: str) -> Compute:
    """F1 of ROUGE-1, ROUGE-2 or ROUGE-L, mean over texts."""

    def compute(sample: Sample) -> np.ndarray:
        return _mean(sample, f"rouge{kind}", lambda said, wanted: rouge_f1(kind, said, wanted))

    return compute


def exact_match(sample: Sample) -> np.ndarray:
    """Share of texts that are what stands there, but for white space, capitals and Unicode's ways to write a letter."""
    return _mean(sample, "exact", lambda said, wanted: float(normalised(said) == normalised(wanted)))


def words_written(sample: Sample) -> np.ndarray:
    """Words of a text, mean over texts."""
    return _mean(sample, "words", lambda said, _: float(len(said.split())))


def distinct(length: int) -> Compute:
    """Different runs of words among all that were written. Resamples repeat rows, and with them runs: no interval."""

    def compute(sample: Sample) -> np.ndarray:
        runs = [run for said, _ in written(sample.predictions) for run in _runs(said.split(), length)]
        value = len(set(runs)) / len(runs) if runs else np.nan
        return np.where((sample.weights_nR == 1).all(axis=0), value, np.nan)

    return compute


def written(predictions: Predictions) -> list[tuple[str, str]]:
    """What the model wrote and what stands there, of the rows that it was asked to continue."""
    pairs = zip(predictions.generated, predictions.references, strict=True)
    return [(said, wanted) for said, wanted in pairs if said is not None and wanted is not None]


def signatures(bleu_tokenizer: str) -> dict[str, str]:
    """How each metric of texts was computed, for the record."""
    found = {
        "rouge": "F1 of rouge1, rouge2, rougeL per text, mean; lower case, runs of letters and digits, no stemming",
        "exact_match": "NFKC, case folded, white space collapsed",
        "distinct": "words between white space; all texts together",
    }
    if missing("bleu") is None:
        for name, made in (("bleu", _sacrebleu("bleu", bleu_tokenizer)), ("chrf", _sacrebleu("chrf"))):
            made.corpus_score([""], [[""]])  # it counts references before it signs
            found[name] = str(made.get_signature())
    return found


def rouge_f1(kind: str, said: str, wanted: str) -> float:
    """Lin (2004), ROUGE: A Package for Automatic Evaluation of Summaries; as the package rouge-score without stemming
    (which drops letters beyond a to z)."""
    ours, theirs = (WORD.findall(text.lower()) for text in (said, wanted))
    if kind == "L":
        hits, sizes = _common_subsequence(ours, theirs), (len(ours), len(theirs))
    else:
        counts = [Counter(_runs(words, int(kind))) for words in (ours, theirs)]
        hits, sizes = (counts[0] & counts[1]).total(), (counts[0].total(), counts[1].total())
    return 2 * hits / sum(sizes) if hits else 0.0


def normalised(text: str) -> str:
    """For exact matches."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest run of words, with gaps, that both hold: as bits of whole numbers (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    everything = (1 << len(first)) - 1
    row = everything
    for word in second:
        hit = row & places.get(word, 0)
        row = ((row + hit) | (row - hit)) & everything
    return len(first) - row.bit_count()


def _runs(words: Sequence[str], length: int) -> list[Any]:
    if length == 2:
        return list(pairwise(words))
    return [tuple(words[place : place + length]) for place in range(len(words) - length + 1)]


@cache
def _sacrebleu(kind: str, tokenizer: str | None = None) -> Any:
    from sacrebleu.metrics import BLEU, CHRF

    return BLEU(tokenize=tokenizer, force=True) if kind == "bleu" else CHRF()


def _statistics(made: Any, said: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """What sacreBLEU adds up over texts, (m, K)."""
    return np.array(made._extract_corpus_statistics(list(said), [list(wanted)]), dtype=np.float64)


def _scored(sums_RK: np.ndarray, score: Callable[[list[float]], float]) -> np.ndarray:
    return np.array([score(sums.tolist()) if sums.any() else np.nan for sums in sums_RK])


def _sums(sample: Sample, key: Any, numbers: Callable[[Sequence[str], Sequence[str]], np.ndarray]) -> np.ndarray:
    """Numbers of each text, summed as the rows weigh: (R, K)."""
    known, rows = _kept(sample.predictions), _rows(sample.predictions)
    if key not in known:
        said, wanted = zip(*written(sample.predictions), strict=True) if len(rows) else ((), ())
        known[key] = numbers(said, wanted).reshape(len(rows), -1)
    return sample.weights_nR[rows].T @ known[key]


def _mean(sample: Sample, key: str, number: Callable[[str, str], float]) -> np.ndarray:
    """The weighted mean over texts, (R,)."""
    sums_RK = _sums(
        sample, key, lambda said, wanted: np.array([number(*pair) for pair in zip(said, wanted, strict=True)])
    )
    weight_R = sample.weights_nR[_rows(sample.predictions)].sum(axis=0)
    if not sums_RK.shape[1]:
        return np.full(len(weight_R), np.nan)
    return np.divide(sums_RK[:, 0], weight_R, out=np.full(len(weight_R), np.nan), where=weight_R > 0)


def _rows(predictions: Predictions) -> np.ndarray:
    """Places of the rows that have a text."""
    pairs = zip(predictions.generated, predictions.references, strict=True)
    return np.array([place for place, pair in enumerate(pairs) if None not in pair], dtype=np.int64)


def _kept(predictions: Predictions) -> dict[Any, np.ndarray]:
    """Numbers of the texts of these predictions that were computed before: the same for all weightings."""
    return _NUMBERS.setdefault(predictions, {})
