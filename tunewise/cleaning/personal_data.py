"""Finds personal data in a text by Presidio's recognisers, and takes it out: without a language model or a network."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

PersonalKind = Literal[
    "EMAIL_ADDRESS",
    "URL_WITH_USER",
    "IP_ADDRESS",
    "IBAN_CODE",
    "CREDIT_CARD",
    "US_SSN",
    "UK_NINO",
    "ES_NIF",
    "ES_NIE",
    "IT_FISCAL_CODE",
    "FI_PERSONAL_IDENTITY_CODE",
    "PL_PESEL",
    "SE_PERSONNUMMER",
    "IN_AADHAAR",
    "DE_TAX_ID",
    "UK_NHS",
    "CA_SIN",
    "PHONE_NUMBER",
]
"""What is looked for without a language model, in Presidio's words. National ids have a checksum, but for US_SSN and
UK_NINO, which have a form. Where two stand in one place, the one that is told by a word before it is taken, then the
longer one, then the earlier one here."""

KINDS: tuple[PersonalKind, ...] = get_args(PersonalKind)
NAMES = {"PERSON": "PERSON", "PER": "PERSON", "GPE": "LOCATION", "LOC": "LOCATION", "FAC": "LOCATION"}
"""What spaCy's models call persons and places."""

REGIONS = ("US", "GB", "DE", "FR", "IN", "CA", "BR", "ES", "IT", "AU", "NL", "PL")
"""Whose phone numbers are known without a country code; with one, those of every country are."""

SURE = 0.4  # Presidio's scores: 1 where a checksum fits, 0.5 for a clear form, 0.4 for a valid phone number
NEAR = 60  # letters before a doubtful number in which a word such as "ssn" makes it sure

# One number in ten fits a check digit by chance: what is a valid phone number too is likelier one.
_CHANCE = {"IN_AADHAAR", "UK_NHS", "CA_SIN"}
_BARE = {"PL_PESEL", "DE_TAX_ID", "SE_PERSONNUMMER", "US_SSN"}  # written without a sign in between
_LONG_CODE = re.compile(r"[^\W_]{16}")
_NAME = r"[\w.\-]{2,}"
_URLS = (
    r"\b[a-z][a-z0-9+.\-]*://[^\s/@:]+(?::[^\s/@]*)?@[^\s/]+",
    rf"\bhttps?://[^\s/]+/(?:[^\s/]+/)*(?:~|@|users?/|profiles?/|people/|in/|u/){_NAME}",
    rf"\bhttps?://(?:www\.|m\.)?(?:twitter|x|facebook|instagram|github|tiktok|t)\.(?:com|me)/{_NAME}",
)


@dataclass(frozen=True, order=True)
class Found:
    """Where in a text a datum stands, and what it is."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Finder:
    """Texts -> what they hold; `recognisers` by kind, `named` finds persons and places."""

    recognisers: tuple[tuple[str, Any], ...]
    named: Callable[[str], Sequence[Found]] | None = None

    def __call__(self, text: str) -> tuple[Found, ...]:
        """What stands in a text, in its order, without overlaps."""
        found: list[tuple[bool, int, int, Found]] = []
        if may_hold(text):
            for place, (kind, recogniser) in enumerate(self.recognisers):
                found += _by(text, kind, recogniser, place)
        if self.named:
            found += [(False, one.start - one.end, len(KINDS), one) for one in self.named(text)]
        taken: list[Found] = []
        for *_, one in sorted(found, key=lambda item: (not item[0], *item[1:])):
            if all(one.end <= other.start or other.end <= one.start for other in taken):
                taken.append(one)
        return tuple(sorted(taken))


def may_hold(text: str) -> bool:
    """Whether a text has what every kind needs: an @, an address's ://, two colons, four digits, or a code of 16
    letters. It is what makes most texts quick."""
    if "@" in text or "://" in text or text.count(":") > 1:
        return True
    digits = 0
    for letter in text:
        digits += letter.isdecimal()
        if digits > 3:
            return True
    return _LONG_CODE.search(text) is not None


@lru_cache(maxsize=8)
def finder(kinds: tuple[str, ...] = KINDS, names: str | None = None) -> Finder:
    """A finder of these kinds; with `names`, an installed model of spaCy, also of persons and places.

    Raises:
        ImportError, OSError: Presidio or the model is not installed.
    """
    made = _recognisers()
    return Finder(tuple((kind, made[kind]) for kind in KINDS if kind in kinds), _named(names) if names else None)


def replaced(text: str, found: Sequence[Found], by: Callable[[str, str], str]) -> str:
    """The text with `by(kind, datum)` in the place of each datum."""
    parts, end = [], 0
    for one in found:
        parts += [text[end : one.start], by(one.kind, text[one.start : one.end])]
        end = one.end
    return "".join([*parts, text[end:]])


def by_kind(kind: str, _: str) -> str:
    """`<EMAIL_ADDRESS>`."""
    return f"<{kind}>"


def by_hash(key: bytes) -> Callable[[str, str], str]:
    """`<EMAIL_ADDRESS_1f0c…>`: keyed BLAKE2b (RFC 7693) of the datum in small letters without what parts its groups, so
    that one number is one code however it is written. Without the key, nobody can find it by trying all numbers.

    Args:
        key: 16 to 64 bytes.
    """

    def coded(kind: str, datum: str) -> str:
        plain = "".join(letter for letter in datum.casefold() if letter.isalnum() or letter in "@._")
        if kind not in ("EMAIL_ADDRESS", "URL_WITH_USER", "IP_ADDRESS"):
            plain = plain.replace(".", "")
        return f"<{kind}_{hashlib.blake2b(plain.encode(), key=key, digest_size=8).hexdigest()}>"

    return coded


def by_stars(kind: str, datum: str) -> str:
    """What can be shown: `j***@e***.com`; of all else the last two of at least eight letters and digits."""
    if kind == "EMAIL_ADDRESS":
        name, _, domain = datum.rpartition("@")
        return f"{name[:1]}***@{domain[:1]}***.{domain.rpartition('.')[2]}"
    plain = [place for place, letter in enumerate(datum) if letter.isalnum()]
    shown = set(plain[-2:]) if len(plain) >= 8 and kind in KINDS and kind != "URL_WITH_USER" else set()
    return "".join("*" if letter.isalnum() and place not in shown else letter for place, letter in enumerate(datum))


def _by(text: str, kind: str, recogniser: Any, place: int) -> list[tuple[bool, int, int, Found]]:
    """What a recogniser is sure of, or what a word before it makes sure; with what to sort it by."""
    results = recogniser.analyze(text, recogniser.supported_entities, None)
    found = []
    for result in results:
        before = text[max(0, result.start - NEAR) : result.start].casefold()
        told = any(word.strip().casefold() in before for word in recogniser.context or ()) and kind != "PHONE_NUMBER"
        if result.score >= SURE or told:
            bare = kind in _CHANCE or (kind in _BARE and text[result.start : result.end].isdecimal())
            order = len(KINDS) if bare else place
            found.append((told, result.start - result.end, order, Found(result.start, result.end, kind)))
    return found


# Numbers from 2221 to 2720 at their beginning, which Presidio does not know; Luhn's rule decides of these too.
_SECOND_SERIES = r"\b(222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)[- ]?\d{4}[- ]?\d{4}[- ]?\d{4}\b"


@lru_cache(maxsize=1)
def _recognisers() -> dict[str, Any]:
    import logging

    logging.getLogger("presidio-analyzer").setLevel(logging.CRITICAL)  # an error there holds the datum
    import tldextract
    from presidio_analyzer import Pattern, PatternRecognizer
    from presidio_analyzer import predefined_recognizers as known

    endings = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)  # the list in the package; nothing is fetched

    class Email(known.EmailRecognizer):
        def validate_result(self, pattern_text: str) -> bool:
            return endings(pattern_text).fqdn != ""

    class Iban(known.IbanRecognizer):
        def validate_result(self, pattern_text: str) -> bool:
            return super().validate_result(pattern_text.upper())

    second = Pattern("Mastercard from 2017 on", _SECOND_SERIES, 0.3)
    urls = [Pattern("URL with a user", pattern, 0.6) for pattern in _URLS]
    made = {
        "EMAIL_ADDRESS": Email(),
        "URL_WITH_USER": PatternRecognizer("URL_WITH_USER", patterns=urls, name="UrlWithUserRecognizer"),
        "IP_ADDRESS": known.IpRecognizer(),
        "IBAN_CODE": Iban(regex_flags=re.DOTALL | re.MULTILINE | re.IGNORECASE),
        "CREDIT_CARD": known.CreditCardRecognizer(patterns=[*known.CreditCardRecognizer.PATTERNS, second]),
        "US_SSN": known.UsSsnRecognizer(),
        "UK_NINO": known.UkNinoRecognizer(),
        "ES_NIF": known.EsNifRecognizer(),
        "ES_NIE": known.EsNieRecognizer(),
        "IT_FISCAL_CODE": known.ItFiscalCodeRecognizer(),
        "FI_PERSONAL_IDENTITY_CODE": known.FiPersonalIdentityCodeRecognizer(),
        "PL_PESEL": known.PlPeselRecognizer(),
        "SE_PERSONNUMMER": known.SePersonnummerRecognizer(),
        "IN_AADHAAR": known.InAadhaarRecognizer(),
        "DE_TAX_ID": known.DeTaxIdRecognizer(),
        "UK_NHS": known.NhsRecognizer(),
        "CA_SIN": known.CaSinRecognizer(),
        "PHONE_NUMBER": known.PhoneRecognizer(supported_regions=REGIONS),
    }
    return made


def _named(model: str) -> Callable[[str], Sequence[Found]]:
    import spacy

    nlp = spacy.load(model)

    def names(text: str) -> list[Found]:
        return [
            Found(entity.start_char, entity.end_char, NAMES[entity.label_])
            for entity in nlp(text).ents
            if entity.label_ in NAMES
        ]

    return names
