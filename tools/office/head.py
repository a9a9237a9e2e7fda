"""The body that brings a signed head of an edge's log -> a checked Statement. Pure: bytes in, values out."""

from __future__ import annotations

from io import BytesIO
from typing import Any, NamedTuple

import cbor2

from edge_agent.identity import KEY_BYTES, SIGNATURE_BYTES
from edge_agent.integrity import tree
from edge_agent.integrity.leaves import Head, fits
from edge_agent.integrity.tree import HASH_BYTES, Frontier
from tools.office.errors import RequestError

VERSION = 1
MAX_BODY = 16 * 1024
_MS, _POS = (1 << 48) - 1, (1 << 63) - 1
_NUMBERS = (
    ("number", 1, _POS), ("first_pos", 1, _POS), ("size", 0, _POS), ("time_ms", 0, _MS), ("before", 0, _POS),
)  # fmt: skip
_BYTES = (("root", HASH_BYTES), ("key", KEY_BYTES), ("signature", SIGNATURE_BYTES))
_KEYS = {"v", "site", "edge", "frontier", "proof", *(name for name, *_ in (*_NUMBERS, *_BYTES))}


class Statement(NamedTuple):
    """A head and what came with it; signed: whether the key that it names signed it.

    The frontier is that of the head's tree. The proof leads to it from the tree of `before` rows.
    """

    head: Head
    public: bytes
    signature: bytes
    signed: bool
    frontier: Frontier
    before: int
    proof: list[bytes]

    def goes_on_from(self, root: bytes) -> bool:
        """Whether the proof leads from the tree of `before` rows with this root."""
        return tree.consistent(self.before, self.head.size, root, self.head.root, self.proof)


def decode(body: bytes, site: str) -> Statement:
    """The statement in `body`, for the site of the address. Raises RequestError."""
    top = _load(body)
    if type(top) is not dict or set(top) != _KEYS:
        raise RequestError("body", "must be a map with the keys " + ", ".join(sorted(_KEYS)))
    if type(top["v"]) is not int or top["v"] != VERSION:
        raise RequestError("v", f"this office speaks version {VERSION}")
    if top["site"] != site:
        raise RequestError("site", f"must be the site of the address, {site!r}")
    edge = top["edge"]
    if type(edge) is not str or not edge or len(edge) > 64 or not edge.isprintable():
        raise RequestError("edge", "must be printable text of at most 64 characters")
    for name, low, high in _NUMBERS:
        if type(top[name]) is not int or not low <= top[name] <= high:
            raise RequestError(name, f"must be a whole number from {low} to {high}")
    for name, size in _BYTES:
        if type(top[name]) is not bytes or len(top[name]) != size:
            raise RequestError(name, f"must be {size} bytes")
    head = Head(site, edge, *(top[name] for name in Head._fields[2:]))
    if head.size > _POS - head.first_pos:
        raise RequestError("size", "runs past the last position that a log can have")
    proof = top["proof"]
    if (
        type(proof) is not list
        or len(proof) > tree.MAX_PROOF + 1
        or any(type(one) is not bytes or len(one) != HASH_BYTES for one in proof)
    ):
        raise RequestError("proof", f"must be an array of at most {tree.MAX_PROOF + 1} hashes of {HASH_BYTES} bytes")
    frontier = _frontier(top["frontier"], head)
    signed = fits(head, top["key"], top["signature"])
    return Statement(head, top["key"], top["signature"], signed, frontier, top["before"], proof)


def _frontier(packed: Any, head: Head) -> Frontier:
    if type(packed) is bytes:
        try:
            found = Frontier.from_bytes(head.size, packed)
        except ValueError:
            pass
        else:
            if found.root() == head.root:
                return found
    raise RequestError("frontier", "must be the full subtrees of the head's tree, the largest first")


def _load(body: bytes) -> Any:
    source = BytesIO(body)
    decoder = cbor2.CBORDecoder(
        source, max_depth=4, allow_indefinite=False, allow_duplicate_keys=False, strict_hashable_types=True
    )
    try:
        value = decoder.decode()
    except (cbor2.CBORError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise RequestError("body", f"is no CBOR that is spoken here: {str(error)[:120]}", 400) from error
    if source.tell() != len(body):
        raise RequestError("body", f"{len(body) - source.tell()} bytes follow the head", 400)
    return value
