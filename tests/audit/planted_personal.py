"""Personal data that nobody has, drawn by a seed, in the forms in which people write it.

Phone numbers are of ranges kept for films (North America 555-01xx; Britain 020 7946 0xxx; Germany 030 23125 xxx;
Australia 02 5550 xxxx), addresses of domains and networks kept for examples (RFC 2606, RFC 5737, RFC 3849). Cards carry
a right last digit (Luhn, ISO/IEC 7812-1), IBANs right check digits (ISO 13616), since detectors look at them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Draw = np.random.Generator


def _digits(draw: Draw, count: int) -> str:
    return "".join(map(str, draw.integers(0, 10, size=count)))


def _pick(draw: Draw, options: list[str]) -> str:
    return options[int(draw.integers(len(options)))]


def email(draw: Draw, form: int) -> str:
    first = _pick(draw, ["maria", "tom", "li.wei", "o.adeyemi", "anna-lena", "jd"])
    last = _pick(draw, ["garcia", "novak", "smith", "haddad", "kim"])
    host = _pick(draw, ["example.com", "example.org", "mail.example.net"])
    number = int(draw.integers(1, 99))
    forms = [
        f"{first}.{last}@{host}",
        f"{first}_{last}{number}@{host}",
        f"{first}+shop{number}@{host}",
        f"{first.upper()}@{host.upper()}",
        f"<{last}{number}@{host}>",
    ]
    return forms[form % len(forms)]


def phone(draw: Draw, form: int) -> str:
    area, line = _pick(draw, ["202", "312", "415", "617", "646"]), _digits(draw, 2)
    forms = [
        f"({area}) 555-01{line}",
        f"{area}-555-01{line}",
        f"+1 {area} 555 01{line}",
        f"{area}.555.01{line}",
        f"+1-{area}-555-01{line}",
        f"+44 20 7946 0{_digits(draw, 3)}",
        f"+49 30 23125{_digits(draw, 3)}",
        f"+61 2 5550 {_digits(draw, 4)}",
    ]
    return forms[form % len(forms)]


def card(draw: Draw, form: int) -> str:
    starts = [("4", 16), ("51", 16), ("2221", 16), ("34", 15), ("6011", 16)]
    start, length = starts[form % len(starts)]
    body = start + _digits(draw, length - 1 - len(start))
    number = body + luhn_digit(body)
    if length == 15:
        return f"{number[:4]} {number[4:10]} {number[10:]}"
    mark = [" ", "-", ""][form % 3]
    return mark.join(number[place : place + 4] for place in range(0, 16, 4))


def luhn_digit(body: str) -> str:
    """The digit that makes the sum of ISO/IEC 7812-1, every second digit from the right doubled, a multiple of ten."""
    doubled = [int(digit) * (2 - place % 2) for place, digit in enumerate(reversed(body))]
    return str(-sum(value // 10 + value % 10 for value in doubled) % 10)


def iban(draw: Draw, form: int) -> str:
    country, body = [
        ("DE", _digits(draw, 18)),
        ("GB", "WEST" + _digits(draw, 14)),
        ("NL", "ABNA" + _digits(draw, 10)),
        ("AT", _digits(draw, 16)),
    ][form % 4]
    whole = country + iban_check(country, body) + body
    return whole if form % 3 == 2 else " ".join(whole[place : place + 4] for place in range(0, len(whole), 4))


def iban_check(country: str, body: str) -> str:
    """98 minus the remainder by 97 of body, country and 00, letters as 10 to 35 (ISO 13616)."""
    return f"{98 - int(''.join(str(int(letter, 36)) for letter in f'{body}{country}00')) % 97:02d}"


def ip_address(draw: Draw, form: int) -> str:
    forms = [
        f"192.0.2.{draw.integers(1, 255)}",
        f"198.51.100.{draw.integers(1, 255)}",
        f"203.0.113.{draw.integers(1, 255)}",
        f"2001:db8:{draw.integers(1, 9999)}::{draw.integers(1, 9999)}",
        f"2001:0db8:85a3:0000:0000:8a2e:0370:{draw.integers(1000, 9999)}",
    ]
    return forms[form % len(forms)]


def national_id(draw: Draw, form: int) -> str:
    """US social security numbers: areas 900 and above, 000 and 666 were never given, nor group 00 and serial 0000."""
    area, group, serial = draw.integers(100, 600), draw.integers(10, 99), draw.integers(1000, 9999)
    return f"{area}{' -'[form % 2]}{group}{' -'[form % 2]}{serial}"


MAKERS: dict[str, tuple[Callable[[Draw, int], str], tuple[str, ...]]] = {
    "email": (email, ("You can write to {} any day.", "My address is {}, please confirm.")),
    "phone": (phone, ("Call me on {} after six.", "My phone is {}, leave a message.")),
    "card": (card, ("I paid with the credit card {}.", "The card number is {}, it expires next year.")),
    "iban": (iban, ("Please send the money to {}.", "My IBAN is {}, as last time.")),
    "ip": (ip_address, ("Your page says that my IP address is {}.", "I am connecting from {} today.")),
    "national_id": (national_id, ("My social security number is {}.", "For the form, my SSN: {}.")),
}
"""What makes each kind, and sentences that hold it."""


def sentence(kind: str, draw: Draw, form: int) -> tuple[str, str]:
    """A sentence with personal data of a kind, and what stands in it."""
    make, sentences = MAKERS[kind]
    datum = make(draw, form)
    return sentences[form % len(sentences)].format(datum), datum
