"""Texts in another language than the others, by the language identifier py3langid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from tunewise.audit.finding import Finding
from tunewise.audit.found import found_in_rows
from tunewise.audit.view import View
from tunewise.errors import DataError
from tunewise.types import Split

CONFIDENCE = 0.8
"""Probability from which on a language is believed."""

BYTES = 20
"""Letters, as bytes of UTF-8, that a text needs to be judged: 20 in English, 7 in Chinese."""

_NONE = "zxx"  # no language: codes, figures
_ALIKE = ({"no", "nb", "nn", "da"}, {"hr", "sr", "bs"}, {"id", "ms"}, {"cs", "sk"}, {"en", "pcm"})

_LOOK = 200  # characters of a text that it is judged by

Guess = Callable[[str], tuple[str, float]]


def find(view: View) -> Iterator[Finding]:
    """The rows of each split that are of another language than that of `check.language`, or of most training rows.

    Languages that are much alike (Danish and Norwegian, Croatian and Serbian, ...) are not told apart.

    Raises:
        DataError: `check.language` is none that the identifier knows.
    """
    guess = _identifier(view.config.language)
    main = view.config.language
    for split in view.data.splits.values():
        languages = _languages(view, split, guess)
        counts = Counter(languages.values())
        if main is None and counts:
            main = max(counts, key=lambda language: (counts[language], language))
        other = {place: language for place, language in languages.items() if not _same(language, main)}
        if other:
            found = Counter(other.values()).most_common()
            told = ", ".join(f"{count:,} {language}" for language, count in found[:5])
            yield found_in_rows(
                "language",
                split,
                {place: f"probably {language}" for place, language in other.items()},
                what=f"{len(other):,} of {len(split):,} rows are not in the language {main}: {told}"
                f"{f' and {len(found) - 5} more languages' if len(found) > 5 else ''} ({len(languages):,} rows have "
                "enough letters, and a language that is clear)",
                fix="leave them out, or take a model that knows these languages; `check: {language: ...}` says which "
                "language the texts should have",
                details={"language": main, "judged": len(languages), "languages": dict(counts.most_common())},
            )


def _identifier(wanted: str | None) -> Guess:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    if wanted is not None and wanted not in identifier.labels:
        raise DataError(
            f"'{wanted}' is no language that can be told",
            where="check.language",
            fix=f"use one of {', '.join(sorted(set(identifier.labels) - {_NONE}))}",
        )
    return identifier.classify


def _languages(view: View, split: Split, guess: Guess) -> dict[int, str]:
    """The language of each row that has enough letters and a language that is clear."""
    found = {}
    for place, parts in view.each_row(split):
        text = " ".join(parts)[:_LOOK]
        if letters(text) >= BYTES:
            language, probability = guess(text)
            if probability >= CONFIDENCE and language != _NONE:
                found[place] = language
    return found


def letters(text: str) -> int:
    """The bytes of UTF-8 that the letters of a text take."""
    return len("".join(filter(str.isalpha, text)).encode(errors="ignore"))


def _same(language: str, main: str | None) -> bool:
    return language == main or any({language, main} <= alike for alike in _ALIKE)
