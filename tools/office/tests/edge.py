"""An edge as far as the office sees one: its key, its enrolment, its signed requests, over a raw connection."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.enrolment import path_of, proof_text
from edge_agent.identity import Identity
from edge_agent.one_time_code import Ticket, parse
from edge_agent.sync import signing
from tools.office import commands
from tools.office.tests.process import batches

Answer = tuple[int, dict[str, str], Any]


def ticket(config: Path, port: int, edge: str = "pi-1", site: str = "lakeside", minutes: int = 60) -> Ticket:
    """A code made beside the running server, as its line says it."""
    config_tls = (config.parent / "data" / "office.pem").exists()
    address = f"{'https' if config_tls else 'http'}://127.0.0.1:{port}"
    return parse(commands.enrol(config, site, edge, minutes, address, None))


class Edge:
    """Speaks to one office; `source` is its address on this machine."""

    def __init__(self, port: int, edge: str = "pi-1", *, tls: bool = False, source: str = "127.0.0.1") -> None:
        self.port, self.edge, self.tls, self.source = port, edge, tls, source
        self.identity = Identity(Ed25519PrivateKey.generate())
        self.nonce = ""

    def ask(self, method: str, path: str, raw: bytes | None, headers: dict[str, str]) -> Answer:
        """One request on a connection of its own; JSON back."""
        where = ("127.0.0.1", self.port)
        if self.tls:
            anybody = ssl._create_unverified_context()  # the pin is the agent's to check, not this helper's
            line: http.client.HTTPConnection = http.client.HTTPSConnection(
                *where, timeout=30, source_address=(self.source, 0), context=anybody
            )
        else:
            line = http.client.HTTPConnection(*where, timeout=30, source_address=(self.source, 0))
        with contextlib.closing(line):
            line.request(method, path, raw, headers)
            answer = line.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            self.nonce = found.get(signing.NONCE_HEADER.lower(), self.nonce)
            return answer.status, found, json.loads(answer.read())

    def enrol(self, told: Ticket, **changes: Any) -> Answer:
        """Show the code."""
        proof = self.identity.sign(proof_text(told, self.identity.public)).hex()
        wanted = {"v": 1, "code": told.code, "public_key": self.identity.public.hex(), "proof": proof, **changes}
        path = path_of(told.site, told.edge)
        return self.ask("POST", path, json.dumps(wanted).encode(), {"Content-Type": "application/json"})

    def signed(self, raw: bytes, site: str = "lakeside") -> dict[str, str]:
        """The headers of a batch."""
        if not self.nonce:
            assert self.ask("GET", signing.NONCE_PATH, None, {})[0] == 200
        proof = signing.sign(self.identity, self.edge, self.nonce, "POST", batches(site), raw)
        return {"Authorization": proof, "Content-Type": "application/cbor"}

    def send(self, raw: bytes, site: str = "lakeside") -> Answer:
        """A batch."""
        return self.ask("POST", batches(site), raw, self.signed(raw, site))
