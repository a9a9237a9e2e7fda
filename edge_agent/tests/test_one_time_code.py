"""The line of the enrolment: round trips, every single slip found, hostile text."""

from __future__ import annotations

import contextlib
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import EnrolmentError
from edge_agent.identity import Identity, verify
from edge_agent.one_time_code import (
    CHECKS,
    CODE_SYMBOLS,
    PIN_BYTES,
    SYMBOLS,
    Ticket,
    line,
    new_code,
    parse,
    read,
    spell,
)
from edge_agent.sync import signing

TICKET = Ticket("https://192.168.7.2:8443", "riverside", "gate-pi", new_code(), bytes(range(PIN_BYTES)))


def test_the_line_is_one_word_and_comes_back() -> None:
    text = line(TICKET)
    assert not set(text) & set(" \t\n'\"\\")
    assert parse(text) == TICKET
    assert parse(f"  {text}\n") == TICKET
    local = Ticket("http://127.0.0.1:8080", "s", "e", new_code(), b"")
    assert parse(line(local)) == local


def test_a_code_has_a_hundred_bits_and_is_never_the_same() -> None:
    codes = {new_code() for _ in range(2_000)}
    assert len(codes) == 2_000
    assert all(len(code) == CODE_SYMBOLS and set(code) <= set(SYMBOLS) for code in codes)
    for at in range(CODE_SYMBOLS):  # every place takes every symbol: 2,000 draws miss one of 32 in 1 of 10^27
        assert {code[at] for code in codes} == set(SYMBOLS)


def test_as_people_write_it() -> None:
    digits = "0123456789ABCDEFGH10"
    spelled = spell(digits)
    assert spelled.count("-") == CODE_SYMBOLS // 5
    for heard in (
        spelled.lower(),
        spelled.replace("-", " "),
        spelled.replace("0", "o").replace("1", "l"),
        spelled.replace("1", "I"),
    ):
        assert read(heard, CODE_SYMBOLS, "code") == digits


def test_every_wrong_and_every_swapped_symbol_is_found() -> None:
    seed = 37
    print("seed", seed)
    rng = random.Random(seed)
    tried = 0
    for _ in range(20):
        digits = "".join(rng.choice(SYMBOLS) for _ in range(CODE_SYMBOLS))
        text = spell(digits).replace("-", "")
        for at in range(len(text)):
            alphabet = CHECKS if at == CODE_SYMBOLS else SYMBOLS
            slips = {text[:at] + other + text[at + 1 :] for other in alphabet if other != text[at]}
            if at < CODE_SYMBOLS - 1 and text[at] != text[at + 1]:
                slips.add(text[:at] + text[at + 1] + text[at] + text[at + 2 :])
            for slip in slips:
                tried += 1
                with pytest.raises(EnrolmentError):
                    read(slip, CODE_SYMBOLS, "code")
    print(f"{tried} slips, all found")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("https://", "http://"), "only https"), (("https://", "ftp://"), "address"), (("/#", "/"), "not whole"),
        (("riverside", "river side"), "site"), (("gate-pi", ""), "edge"), (("riverside/", ""), "not whole"),
        (("192.168.7.2:8443", ""), "address"),
    ],
)  # fmt: skip
def test_a_wrong_line_says_which_part(change: tuple[str, str], says: str) -> None:
    with pytest.raises(EnrolmentError, match=says):
        parse(line(TICKET).replace(*change))


@given(st.text(max_size=500))
def test_any_text_is_refused_or_read(text: str) -> None:
    with contextlib.suppress(EnrolmentError):
        parse(text)
    with pytest.raises(EnrolmentError):
        parse(line(TICKET)[:-1] + text + "?")


def test_a_signature_holds_for_one_request_only() -> None:
    identity = Identity(Ed25519PrivateKey.generate())
    other = Identity(Ed25519PrivateKey.generate())
    header = signing.sign(identity, "gate-pi", "ab" * 16, "POST", "/api/v1/sites/s/batches", b"body")
    assert len(header) < signing.MAX_HEADER
    proof = signing.parse(header)
    assert proof is not None
    assert signing.valid(proof, identity.public, "POST", "/api/v1/sites/s/batches")
    assert not signing.valid(proof, other.public, "POST", "/api/v1/sites/s/batches")
    assert not signing.valid(proof, identity.public, "GET", "/api/v1/sites/s/batches")
    assert not signing.valid(proof, identity.public, "POST", "/api/v1/sites/t/batches")
    for changed in (
        proof._replace(edge="gate-pj"), proof._replace(nonce="ac" * 16), proof._replace(body_sha256="0" * 64)
    ):  # fmt: skip
        assert not signing.valid(changed, identity.public, "POST", "/api/v1/sites/s/batches")
    assert not verify(identity.public[:31], proof.signature, b"")
    assert not verify(b"\xff" * 32, proof.signature, b"")


@given(st.text(max_size=450))
def test_any_header_is_refused_or_read(text: str) -> None:
    assert signing.parse(text) is None
    assert signing.parse(f"{signing.SCHEME} {text}") is None
