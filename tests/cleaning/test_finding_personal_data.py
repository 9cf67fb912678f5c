"""Personal data: planted data of every kind are found, the quick look before loses none, and nothing is fetched."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from planted_personal_data import MAKERS, planted

from tunewise.cleaning.personal_data import (
    KINDS,
    Found,
    _recognisers,
    by_hash,
    by_kind,
    by_stars,
    finder,
    may_hold,
    replaced,
)

COUNT = 60


@pytest.mark.parametrize("kind", MAKERS)
def test_planted_data_are_found(kind):
    find, hits, named, false, wrong = finder(), 0, 0, 0, []
    for text, datum in planted(kind, COUNT):
        start, end = text.index(datum), text.index(datum) + len(datum)
        inside = [one for one in find(text) if one.start < end and start < one.end]
        whole = any(one.start <= start and end <= one.end for one in inside)
        hits += whole
        named += any(one.kind == kind for one in inside)
        false += len(find(text)) - len(inside)
        wrong += [] if whole else [datum]
    print(
        f"{kind}: recall {hits / COUNT:.3f}, of the right kind {named / COUNT:.3f}, {false} false; missed {wrong[:5]}"
    )
    assert hits >= 0.95 * COUNT, wrong
    assert false <= 0.05 * COUNT


SIGNS = st.text(st.sampled_from("0123456789ABCDEFxyz@:/.-+() ~_٣５\n"), max_size=60)


@settings(max_examples=400, deadline=None)
@given(SIGNS | st.text(max_size=40))
@example("a::b")
@example("::1")
@example("AAAAAALTALTALTAA")
def test_the_quick_look_loses_nothing(text):
    if not may_hold(text):
        for kind, recogniser in _recognisers().items():
            found = [one for one in recogniser.analyze(text, [kind], None) if one.score >= 0.1]
            assert not found, (kind, text)


@given(st.text(st.sampled_from("ab 12@.:-"), max_size=60), st.lists(st.integers(0, 60), max_size=6, unique=True))
def test_what_is_not_personal_stays_as_it_is(text, cuts):
    ends = sorted(cut for cut in cuts if cut <= len(text))
    found = [Found(start, end, "X") for start, end in zip(ends[::2], ends[1::2], strict=False)]
    told = []
    out = replaced(text, found, lambda kind, datum: told.append(datum) or "\0")
    assert told == [text[one.start : one.end] for one in found]
    pieces = iter(told)
    assert re.sub("\0", lambda _: next(pieces), out) == text


def test_nothing_is_fetched_and_no_file_is_written(tmp_path):
    program = """
import socket
def refuse(*_, **__): raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from tunewise.cleaning.personal_data import finder
text = "jane@mail.example.co.uk, 192.168.1.10, https://bob:pw@host.org/x and +44 20 7946 0958"
print([one.kind for one in finder()(text)])
print([one.kind for one in finder()("no ending: jane@nowhere.notatld")])
"""
    home = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "TLDEXTRACT_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=home, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()[-2:]
    assert first == "['EMAIL_ADDRESS', 'IP_ADDRESS', 'URL_WITH_USER', 'PHONE_NUMBER']"
    assert second == "[]"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "tld" in str(path).lower()]
    assert socket.getaddrinfo is not None


def test_ordinary_numbers_are_let_alone():
    find = finder()
    for text in (
        "order 2024/7719 of 2024-05-06, 12:30:45, costs $4,899.00",
        "chapter 3.2.1, 50 x 70 cm, ratio 16:9, page 1024",
        "card 4111 1111 1111 1112",  # the checksum does not fit
        "iban DE00 3704 0044 0532 0130 00",
        "ssn 000-12-3456",
        "see https://example.com/a/b?c=d",
        "the @ sign, and a@b",
    ):
        assert find(text) == (), text


def test_a_word_before_it_makes_a_doubtful_number_sure():
    find = finder()
    assert [one.kind for one in find("my ssn: 536221234")] == ["US_SSN"]
    assert "US_SSN" not in [one.kind for one in find("parcel 536221234")]
    assert [one.kind for one in find("nhs number 4155552671")] == ["UK_NHS"]
    assert [one.kind for one in find("call 4155552671")] == ["PHONE_NUMBER"]


def test_only_the_kinds_that_are_asked_for():
    text = "anna@example.com, 192.168.1.10"
    assert [one.kind for one in finder(("IP_ADDRESS",))(text)] == ["IP_ADDRESS"]
    assert set(_recognisers()) == set(KINDS)


def test_replaced_hashed_and_starred():
    find, text = finder(), "I am anna@example.com, card 4111 1111 1111 1111 or 4111-1111-1111-1111."
    assert replaced(text, find(text), by_kind) == "I am <EMAIL_ADDRESS>, card <CREDIT_CARD> or <CREDIT_CARD>."
    key = b"0123456789abcdef"
    code = hashlib.blake2b(b"4111111111111111", key=key, digest_size=8).hexdigest()
    hashed = replaced(text, find(text), by_hash(key))
    assert hashed.count(f"<CREDIT_CARD_{code}>") == 2 and "anna" not in hashed
    assert replaced(text, find(text), by_hash(key[::-1])) != hashed
    assert (
        replaced(text, find(text), by_stars) == "I am a***@e***.com, card **** **** **** **11 or ****-****-****-**11."
    )
    assert by_stars("URL_WITH_USER", "https://x.org/~bob") == "*****://*.***/~***"
    assert by_stars("PERSON", "Anna Schmidt") == "**** *******"
