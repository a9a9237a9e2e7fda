"""Layer: a request that proves which edge sent it: the header, its fields, what is signed; for both sides, pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import NamedTuple

from edge_agent.identity import SIGNATURE_BYTES, Identity, verify

SCHEME = "Gatepost-Edge"
NONCE_HEADER = "Gatepost-Nonce"  # in every answer to an edge: sign the next request with it
NEXT_PIN_HEADER = "Gatepost-Next-Pin"  # the key that the office's certificate will have later
NONCE_PATH = "/api/v1/nonce"
NONCE_S = 600.0  # a nonce is good for at least so long
MAX_HEADER = 400
_HEADER = re.compile(
    r"Gatepost-Edge edge=([A-Za-z0-9_.-]{1,64}),nonce=([0-9a-f]{32}),body=([0-9a-f]{64}),sig=([A-Za-z0-9_-]{86})"
)
_NONCE = re.compile(r"[0-9a-f]{32}")


class Proof(NamedTuple):
    """The Authorization header of a signed request, not yet believed."""

    edge: str
    nonce: str
    body_sha256: str
    signature: bytes


def sign(identity: Identity, edge: str, nonce: str, method: str, path: str, body: bytes) -> str:
    """The Authorization header; path from /api on, body as it goes over the line."""
    digest = hashlib.sha256(body).hexdigest()
    signature = identity.sign(_signed(method, path, edge, nonce, digest))
    text = base64.urlsafe_b64encode(signature).decode().rstrip("=")
    return f"{SCHEME} edge={edge},nonce={nonce},body={digest},sig={text}"


def parse(header: str) -> Proof | None:
    """The header's fields; None when it is none of these."""
    found = _HEADER.fullmatch(header) if len(header) <= MAX_HEADER else None
    if found is None:
        return None
    try:
        signature = base64.urlsafe_b64decode(found[4] + "==")
    except binascii.Error:
        return None
    return Proof(found[1], found[2], found[3], signature) if len(signature) == SIGNATURE_BYTES else None


def is_nonce(text: str) -> bool:
    """Whether this can be an office's nonce."""
    return _NONCE.fullmatch(text) is not None


def valid(proof: Proof, public_key: bytes, method: str, path: str) -> bool:
    """Whether the holder of this key signed this request; nonce and body are still to be compared."""
    signed = _signed(method, path, proof.edge, proof.nonce, proof.body_sha256)
    return verify(public_key, proof.signature, signed)


def _signed(method: str, path: str, edge: str, nonce: str, digest: str) -> bytes:
    return "\n".join(["gatepost edge request v1", method, path, edge, nonce, digest]).encode()
