"""Layer: the one line that takes an edge to its office: address, one-time code, pin of the certificate; pure."""

from __future__ import annotations

import secrets
from typing import NamedTuple
from urllib.parse import urlsplit

from edge_agent.config_schema import site_id, url
from edge_agent.errors import EnrolmentError

SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
CHECKS = SYMBOLS + "*~$=U"  # his check symbol: the value modulo 37; finds any one wrong or swapped symbol
CODE_SYMBOLS = 20  # 100 bits
PIN_SYMBOLS = 32  # 160 bits of the SHA-256: nobody finds a second key with them
PIN_BYTES = PIN_SYMBOLS * 5 // 8
GROUP = 5
MAX_LINE = 400
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Ticket(NamedTuple):
    """What the line says. pin: PIN_BYTES of the certificate's pin, empty without TLS (this machine only)."""

    url: str
    site: str
    edge: str
    code: str
    pin: bytes


def new_code() -> str:
    """CODE_SYMBOLS random symbols."""
    return _digits(secrets.randbits(CODE_SYMBOLS * 5), CODE_SYMBOLS)


def line(ticket: Ticket) -> str:
    """The line, to be copied or read aloud; all that is secret stands behind the "#"."""
    pin = spell(_digits(int.from_bytes(ticket.pin, "big"), PIN_SYMBOLS)) if ticket.pin else "-"
    return f"{ticket.url}/#{ticket.site}/{ticket.edge}/{spell(ticket.code)}/{pin}"


def parse(text: str) -> Ticket:
    """The line -> what it says. Raises EnrolmentError naming the part that can't be right."""
    address, mark, rest = text.strip().partition("/#")
    parts = rest.split("/")
    if len(text) > MAX_LINE or not mark or len(parts) != 4:
        raise EnrolmentError("the code is not whole: it is one line, https://…/#site/edge/code/pin")
    site, edge, code, pin = parts
    if url(address) is not None:
        raise EnrolmentError(f"the code's address is wrong; right is {url(address)}")
    for name, value in (("site", site), ("edge", edge)):
        if site_id(value) is not None:
            raise EnrolmentError(f"the code's {name} is wrong; right are {site_id(value)}")
    plain = read(code, CODE_SYMBOLS, "code")
    where = urlsplit(address)
    if where.scheme == "https":
        number = _number(read(pin, PIN_SYMBOLS, "pin"))
        return Ticket(address, site, edge, plain, number.to_bytes(PIN_BYTES, "big"))
    if where.hostname not in LOOPBACK:
        raise EnrolmentError("the code's address is http: only https reaches an office on another machine")
    if pin != "-":
        raise EnrolmentError("the code has a pin, but its address is http")
    return Ticket(address, site, edge, plain, b"")


def spell(digits: str) -> str:
    """Symbols -> groups of GROUP and the check symbol: "7ZK2M-9QXDA-U"."""
    groups = [digits[at : at + GROUP] for at in range(0, len(digits), GROUP)]
    return "-".join([*groups, CHECKS[_number(digits) % 37]])


def read(text: str, length: int, what: str) -> str:
    """What spell() made, as people write it down: small letters, o for 0, i and l for 1. Raises EnrolmentError."""
    found = text.upper().replace("-", "").replace(" ", "")
    digits = found[:-1].replace("O", "0").replace("I", "1").replace("L", "1")
    if len(digits) != length or any(symbol not in SYMBOLS for symbol in digits):
        groups = length // GROUP
        raise EnrolmentError(f"the {what} must be {groups} groups of {GROUP} symbols and one check symbol")
    if CHECKS[_number(digits) % 37] != found[-1].replace("O", "0").replace("I", "1").replace("L", "1"):
        raise EnrolmentError(f"the {what} has a slip in it: its check symbol does not fit")
    return digits


def _digits(number: int, length: int) -> str:
    return "".join(SYMBOLS[number >> 5 * at & 31] for at in reversed(range(length)))


def _number(digits: str) -> int:
    number = 0
    for symbol in digits:
        number = number << 5 | SYMBOLS.index(symbol)
    return number
