"""Layer: a signed head <-> the bytes of its delivery and the office's answer; pure."""

from __future__ import annotations

import json
from typing import NamedTuple

import cbor2

from edge_agent.errors import OfficeUnreachableError
from edge_agent.integrity.leaves import Head
from edge_agent.sync.wire import SENSELESS, whole

VERSION = 1
TAKEN, KNOWN, NAMED, PROVE = "taken", "known", "named", "prove"
STATES = (TAKEN, KNOWN, NAMED, PROVE)
MAX_FINDINGS = 16
# What can be found: by the office (tools/office/store/base.py says what each means), and by the edge of the office.
FINDINGS = ("again", "forked", "shrunken", "absent", "unlike", "forged", "other_key", "restarted", "gap")
OFFICE_LOST = "office_lost"  # it holds less than it had acknowledged


class Answer(NamedTuple):
    """What the office says of a head; number and size are those of the last head that it holds, 0 for none.

    taken, known: it has it. named: it has it, and it contradicts what the office held; `findings` say how.
    prove: it wants to see that the head goes on from that size.
    """

    state: str
    number: int
    size: int
    findings: list[str]


def encode(
    head: Head, public: bytes, signature: bytes, frontier: bytes, before: int, proof: list[bytes]
) -> bytes:
    """A head with all that the office needs to judge it; the proof leads from the tree of `before` rows to it."""
    return bytes(
        cbor2.dumps(
            {
                "v": VERSION,
                "site": head.site,
                "edge": head.edge,
                "number": head.number,
                "first_pos": head.first_pos,
                "size": head.size,
                "root": head.root,
                "time_ms": head.time_ms,
                "key": public,
                "signature": signature,
                "frontier": frontier,
                "before": before,
                "proof": proof,
            }
        )
    )


def answer(body: bytes) -> Answer:
    """The office's answer. Raises OfficeUnreachableError when it makes no sense."""
    try:
        value = json.loads(body)
        found = Answer(
            value["state"],
            whole(value["number"]),
            whole(value["size"]),
            [_plain(one) for one in value["findings"][:MAX_FINDINGS]],
        )
    except SENSELESS as error:
        raise OfficeUnreachableError(f"the answer to a head can't be read: {type(error).__name__}") from error
    if value.get("v") != VERSION or found.state not in STATES:
        raise OfficeUnreachableError("the answer to a head is of another version")
    return found


def _plain(text: object) -> str:
    return "".join(c if c.isprintable() else "?" for c in str(text)[:120])
