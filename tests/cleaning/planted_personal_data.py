"""Personal data made on the spot, in the forms in which people write it; every checksum by its published rule."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

import numpy as np

Random = np.random.Generator


def digits(random: Random, count: int) -> str:
    return "".join(map(str, random.integers(0, 10, count)))


def grouped(text: str, sizes: tuple[int, ...], sign: str) -> str:
    parts, start = [], 0
    for size in sizes:
        parts.append(text[start : start + size])
        start += size
    return sign.join(part for part in (*parts, text[start:]) if part)


def luhn(body: str) -> str:
    """ISO/IEC 7812-1."""
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(body))]
    return body + str(-sum(number // 10 + number % 10 for number in doubled) % 10)


def card(random: Random) -> str:
    start, length = [("4", 16), ("51", 16), ("55", 16), ("2221", 16), ("2720", 16), ("6011", 16), ("37", 15)][
        random.integers(7)
    ]
    number = luhn(start + digits(random, length - len(start) - 1))
    sizes = (4, 6) if length == 15 else (4, 4, 4)
    return [number, grouped(number, sizes, " "), grouped(number, sizes, "-")][random.integers(3)]


def iban(random: Random) -> str:
    """ISO 13616, the check digits by ISO 7064 mod 97-10."""
    forms = {"DE": "n18", "FR": "n23", "NL": "aINGBn10", "GB": "aNWBKn14", "ES": "n20", "AT": "n16", "BE": "n12"}
    country = list(forms)[random.integers(len(forms))]
    form = forms[country]
    body = form[1:5] + digits(random, int(form[6:])) if form[0] == "a" else digits(random, int(form[1:]))
    number = int("".join(str(int(letter, 36)) for letter in body + country)) * 100
    whole = f"{country}{98 - number % 97:02d}{body}"
    return [whole, grouped(whole, (4,) * 9, " "), whole.lower()][random.integers(3)]


def phone(random: Random) -> str:
    n = digits
    forms: list[Callable[[], str]] = [
        lambda: f"+1 415 555 {n(random, 4)}",
        lambda: f"(212) 736-{n(random, 4)}",
        lambda: f"617-253-{n(random, 4)}",
        lambda: f"312.664.{n(random, 4)}",
        lambda: f"+44 20 7946 {n(random, 4)}",
        lambda: f"020 7946 {n(random, 4)}",
        lambda: f"07911 12{n(random, 4)}",
        lambda: f"0791112{n(random, 4)}",
        lambda: f"+49 30 9018{n(random, 4)}",
        lambda: f"030 9018{n(random, 4)}",
        lambda: f"0049 171 920{n(random, 4)}",
        lambda: f"+33 1 42 68 {n(random, 2)} {n(random, 2)}",
        lambda: f"01 42 68 {n(random, 2)} {n(random, 2)}",
        lambda: f"+91 98765 4{n(random, 4)}",
        lambda: f"98765 4{n(random, 4)}",
        lambda: f"+61 2 9374 {n(random, 4)}",
        lambda: f"+39 06 698 {n(random, 5)}",
        lambda: f"+34 912 34 {n(random, 2)} {n(random, 2)}",
        lambda: f"+81 3-3224-{n(random, 4)}",
        lambda: f"+55 11 9{n(random, 4)}-{n(random, 4)}",
    ]
    return forms[random.integers(len(forms))]()


def email(random: Random) -> str:
    names = ["anna", "j.smith", "maria_lopez", "bob+news", "o'neill", "x", "First.Last", "user%list", "jürgen"]
    hosts = ["example.com", "mail.example.co.uk", "uni-koeln.de", "EXAMPLE.ORG", "post.gov.au", "firma.io", "a-b.fr"]
    return f"{names[random.integers(len(names))]}{random.integers(100)}@{hosts[random.integers(len(hosts))]}"


def address(random: Random) -> str:
    if random.integers(2):
        return str(ipaddress.IPv4Address(int(random.integers(1 << 24, 223 << 24))))
    number = ipaddress.IPv6Address((0x20010DB8 << 96) + int(random.integers(1 << 60)))
    return [number.compressed, number.exploded][random.integers(2)]


def ssn(random: Random) -> str:
    body = f"{random.integers(100, 600)}{random.integers(10, 99)}{random.integers(1000, 9999)}"
    return grouped(body.replace("666", "667", 1), (3, 2), ["-", " "][random.integers(2)])


def nhs(random: Random) -> str:
    """Weights 10 to 2, mod 11."""
    while True:
        body = digits(random, 9)
        check = -sum(int(digit) * (10 - place) for place, digit in enumerate(body)) % 11
        if check < 10 and body[0] in "4567":
            return grouped(f"{body}{check}", (3, 3), [" ", "", "-"][random.integers(3)])


def nif(random: Random) -> str:
    body = digits(random, 8)
    return f"{body}{'-' * int(random.integers(2))}{'TRWAGMYFPDXBNJZSQVHLCKE'[int(body) % 23]}"


def nino(random: Random) -> str:
    body = f"{'ABCEH'[random.integers(5)]}{'ABCEH'[random.integers(5)]}{digits(random, 6)}{'ABCD'[random.integers(4)]}"
    return [body, grouped(body, (2, 2, 2, 2), " ")][random.integers(2)]


def finnish(random: Random) -> str:
    """Mod 31 of date and number."""
    body = f"{random.integers(1, 29):02d}{random.integers(1, 13):02d}{random.integers(30, 99)}"
    number = f"{random.integers(2, 900):03d}"
    return f"{body}-{number}{'0123456789ABCDEFHJKLMNPRSTUVWXY'[int(body + number) % 31]}"


def pesel(random: Random) -> str:
    """Weights 1 3 7 9, mod 10."""
    body = f"{random.integers(30, 99)}{random.integers(1, 13):02d}{random.integers(1, 29):02d}{digits(random, 4)}"
    return body + str(-sum(int(d) * w for d, w in zip(body, (1, 3, 7, 9) * 3, strict=False)) % 10)


def swedish(random: Random) -> str:
    body = luhn(f"{random.integers(30, 99)}{random.integers(1, 13):02d}{random.integers(1, 29):02d}{digits(random, 3)}")
    return f"{body[:6]}-{body[6:]}"


MAKERS: dict[str, Callable[[Random], str]] = {
    "EMAIL_ADDRESS": email,
    "PHONE_NUMBER": phone,
    "CREDIT_CARD": card,
    "IBAN_CODE": iban,
    "IP_ADDRESS": address,
    "US_SSN": ssn,
    "UK_NHS": nhs,
    "UK_NINO": nino,
    "ES_NIF": nif,
    "FI_PERSONAL_IDENTITY_CODE": finnish,
    "PL_PESEL": pesel,
    "SE_PERSONNUMMER": swedish,
}
FRAMES = (
    "Please write to me under {}, thanks",
    "{} is what I gave you last week.",
    "my details ({}) have changed since order 2024/7719",
    "Why do you still have {}?",
    "Refund of $410 for 3 chairs, see {}; it was due at 12:30 on 2024-05-06.",
    "it's {}",
)


def planted(kind: str, count: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Texts with a datum of a kind, and that datum."""
    random = np.random.default_rng([seed, *kind.encode()])
    for number in range(count):
        datum = MAKERS[kind](random)
        yield FRAMES[number % len(FRAMES)].format(datum), datum
