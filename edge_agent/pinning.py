"""Layer: which office is the right one: the SHA-256 of its certificate's public key, known since the enrolment."""

from __future__ import annotations

import asyncio
import hashlib

import aiohttp
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PIN_BYTES = 32


def pin_of(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo: curl --pinnedpubkey takes the same; a renewed certificate keeps it."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


class Pins(aiohttp.Fingerprint):
    """aiohttp's `ssl`: only a server with one of these pins is spoken to; no CA, no names, no dates count.

    `accepted` may change at any time and holds for the next connection; `seen` is the pin of the last accepted one.
    """

    def __init__(self, accepted: tuple[bytes, ...] = ()) -> None:
        super().__init__(bytes(PIN_BYTES))
        self.accepted = accepted
        self.seen = b""

    def check(self, transport: asyncio.Transport) -> None:
        """Called by aiohttp after the handshake and before the first byte of a request."""
        if transport.get_extra_info("sslcontext") is None:
            return
        der = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        try:
            found = pin_of(x509.load_der_x509_certificate(der))
        except (ValueError, UnsupportedAlgorithm):
            found = b""
        if not any(found[: len(pin)] == pin for pin in self.accepted if pin):
            host, port, *_ = transport.get_extra_info("peername")
            raise aiohttp.ServerFingerprintMismatch(b"".join(self.accepted), found, host, port)
        self.seen = found
