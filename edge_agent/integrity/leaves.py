"""Layer: a row of the log -> the bytes of its leaf; a head -> the bytes that are signed; pure.

A leaf is the CBOR sequence [site, edge], row; the row is the array of 13 values that is uploaded
(tools/office/README.md, "Sending"), in deterministic encoding. Edge and office so compute the same from what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

import cbor2

from edge_agent import identity
from edge_agent.integrity.tree import HASH_BYTES

# What an edge's key signs begins with what it is signed for, so that no signature serves for something else.
CONTEXT = b"gatepost log head 1\x00"


class Head(NamedTuple):
    """What an edge states: its `number`-th head covers `size` rows of its log from first_pos on."""

    site: str
    edge: str
    number: int
    first_pos: int
    size: int
    root: bytes
    time_ms: int

    @property
    def last_pos(self) -> int:
        """The last row that it covers; first_pos - 1 when it covers none."""
        return self.first_pos + self.size - 1


class Leaves:
    """Leaf hashes of one edge's log."""

    def __init__(self, site: str, edge: str) -> None:
        self._start = sha256(b"\x00" + cbor2.dumps([site, edge]))

    def gap(self, pos: int) -> bytes:
        """The leaf hash of a position that has no row: the statement that there is none."""
        return self.hash((pos,))

    def hash(self, row: Sequence[object]) -> bytes:
        """The leaf hash of a row [pos, device, boot, first_seq, ... mac8]: 13 values as they are uploaded."""
        digest = self._start.copy()
        digest.update(cbor2.dumps(row))
        return digest.digest()


def signed_bytes(head: Head) -> bytes:
    """What the signature of a head covers."""
    return CONTEXT + bytes(cbor2.dumps(list(head)))


def fits(head: Head, public: bytes, signature: bytes) -> bool:
    """Whether this key signed this head."""
    return len(head.root) == HASH_BYTES and identity.verify(public, signature, signed_bytes(head))
