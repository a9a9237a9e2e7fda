"""Layer: how an edge becomes known to its office, once, by a one-time code; what it keeps of that: office.toml."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import NamedTuple

import aiohttp

from edge_agent import private_files
from edge_agent.config_schema import REQUIRED, Key, site_id, url, whole
from edge_agent.errors import ConfigError, EnrolmentError
from edge_agent.identity import Identity, load_or_make
from edge_agent.one_time_code import Ticket, parse
from edge_agent.pinning import PIN_BYTES, Pins
from edge_agent.sync import wire
from edge_agent.toml_file import TomlFile

FILE_NAME = "office.toml"
VERSION = 1
TIMEOUT_S = 30.0
MAX_ANSWER = 16_384
LATEST_MS = 1 << 47
MAX_PINS = 2  # the present one and the one announced for later
HEAD = "# Written by `gatepost edge enrol`: the office that knows this edge's key (identity.key beside this file).\n"


class Enrolled(NamedTuple):
    """The office that knows this edge; pins: the present one first, then one announced for later."""

    url: str
    site: str
    edge: str
    pins: tuple[bytes, ...]
    enrolled_ms: int


def _pins(value: object) -> str | None:
    good = isinstance(value, list) and len(value) <= MAX_PINS
    if isinstance(value, list):
        good = good and all(isinstance(one, str) and _pin(one) is not None for one in value)
    return None if good else f"at most {MAX_PINS} times 64 hexadecimal digits"


def _pin(text: str) -> bytes | None:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return None
    return found if len(found) == PIN_BYTES else None


_KEYS = (
    Key("url", REQUIRED, url, "the office's address"),
    Key("site", REQUIRED, site_id, "the site"),
    Key("edge", REQUIRED, site_id, "this edge's id"),
    Key("pins", REQUIRED, _pins, "SHA-256 of the public key of the office's certificate"),
    Key("enrolled_ms", REQUIRED, whole(0, LATEST_MS), "when, ms since 1970"),
)


def load(data_dir: Path, site: str, edge: str) -> Enrolled | None:
    """What the enrolment left in data_dir; None: not enrolled. Raises ConfigError."""
    path = data_dir / FILE_NAME
    if not path.exists():
        return None
    private_files.check_file(path)
    file = TomlFile(path)
    found = file.table("", 0, file.data, _KEYS)
    pins = tuple(bytes.fromhex(pin) for pin in found["pins"])  # type: ignore[attr-defined]  # checked by _pins
    known = Enrolled(
        str(found["url"]), str(found["site"]), str(found["edge"]), pins, int(str(found["enrolled_ms"]))
    )
    if (known.site, known.edge) != (site, edge):
        problem = f'is the enrolment of "{known.edge}" at "{known.site}"; remove it and enrol "{edge}" at "{site}"'
        raise ConfigError(FILE_NAME, None, "", problem)
    return known


def address(data_dir: Path, site: str, edge: str) -> str:
    """Where the office is, for people; "" while this edge is not enrolled."""
    try:
        known = load(data_dir, site, edge)
    except ConfigError:
        return ""
    return known.url if known else ""


def save(data_dir: Path, known: Enrolled) -> None:
    """On the disk, mode 0600, when this returns. Raises EnrolmentError."""
    pins = ", ".join(f'"{pin.hex()}"' for pin in known.pins)
    text = (
        f'{HEAD}url = "{known.url}"\nsite = "{known.site}"\nedge = "{known.edge}"\n'
        f"pins = [{pins}]\nenrolled_ms = {known.enrolled_ms}\n"
    )
    tomllib.loads(text)
    try:
        private_files.write(data_dir / FILE_NAME, text)
    except OSError as error:
        raise EnrolmentError(f"{FILE_NAME} can't be written: {error.strerror}") from error


def path_of(site: str, edge: str) -> str:
    """Where the office takes enrolments."""
    return f"/api/v1/sites/{site}/edges/{edge}/enrolment"


def proof_text(ticket: Ticket, public_key: bytes) -> bytes:
    """What the new edge signs: it holds the key, means this office (its pin), and nobody can put another key in."""
    head = f"gatepost edge enrolment v1\n{ticket.site}\n{ticket.edge}\n{ticket.code}\n{ticket.pin.hex()}\n"
    return head.encode() + public_key


async def enrol_here(data_dir: Path, site: str, edge: str, text: str) -> Enrolled:
    """Enrol the edge of this data_dir by the line that the office printed, and keep it. Raises EdgeError."""
    ticket = parse(text)
    if (ticket.site, ticket.edge) != (site, edge):
        raise EnrolmentError(
            f'the code is for "{ticket.edge}" at "{ticket.site}", edge.toml says "{edge}" at "{site}"; nothing was sent'
        )
    private_files.check_user(data_dir)
    known = await enrol(ticket, load_or_make(data_dir))
    save(data_dir, known)
    return known


async def enrol(ticket: Ticket, identity: Identity) -> Enrolled:
    """Show code and key to the office with the code's pin, and to no other. Raises EnrolmentError.

    Asking again with the same key is right: an office that took the code and whose answer was lost says the same again.
    """
    pins = Pins((ticket.pin,))
    body = {
        "v": VERSION,
        "code": ticket.code,
        "public_key": identity.public.hex(),
        "proof": identity.sign(proof_text(ticket, identity.public)).hex(),
    }
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=pins), timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)
            ) as http,
            http.post(
                ticket.url + path_of(ticket.site, ticket.edge), json=body, allow_redirects=False
            ) as answer,
        ):
            status, raw = answer.status, b""
            async for part in answer.content.iter_any():
                raw += part
                if len(raw) > MAX_ANSWER:
                    raise _odd(ticket, status)
    except aiohttp.ServerFingerprintMismatch as error:
        raise EnrolmentError(
            f"{ticket.url}: the server there is not the office that made the code: its certificate has another key. "
            "Nothing was sent. Check the address, and whether somebody listens in between"
        ) from error
    except TimeoutError as error:
        raise EnrolmentError(
            f"{ticket.url}: no answer within {TIMEOUT_S:g} s; try again with the same code"
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise EnrolmentError(
            f"{ticket.url}: can't be reached: {error}; try again with the same code"
        ) from error
    try:
        found = json.loads(raw)
        if status != 200:
            said = _printable(str(found["error"]["message"]))
            raise EnrolmentError(f"the office refused: {said}")
        if (found["v"], found["site"], found["edge"]) != (VERSION, ticket.site, ticket.edge):
            raise EnrolmentError("the office's answer is for another edge")
        enrolled_ms = wire.whole(found["enrolled_ms"], LATEST_MS)
    except wire.SENSELESS as error:
        raise _odd(ticket, status) from error
    return Enrolled(ticket.url, ticket.site, ticket.edge, (pins.seen,) if pins.seen else (), enrolled_ms)


def _odd(ticket: Ticket, status: int) -> EnrolmentError:
    return EnrolmentError(f"{ticket.url}: answers, but not as an office does (HTTP {status})")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:300]
