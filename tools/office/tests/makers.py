"""Devices that sign events as real ones do, and the rows and bodies that an edge would send of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.identity import Identity
from edge_agent.integrity import statement, tree
from edge_agent.integrity.leaves import Head, Leaves, signed_bytes
from gatelink import events, kdf

T0 = 1_760_000_000_000
CARD = bytes.fromhex("04a1b2c3d4e5f6")
Row = list[Any]


@dataclass
class Signed:
    """One event as the device minted it."""

    seq: int
    boot: int
    uptime_cs: int
    payload: bytes
    mac8: bytes


@dataclass
class Device:
    """Mints events and keeps its journal."""

    device: int
    key: bytes = b""
    boot: int = 1
    uptime_cs: int = 0
    journal: list[Signed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key = self.key or bytes([self.device % 256]) * 32

    def mint(self, payload: bytes, passed_cs: int = 100) -> Signed:
        """The next event of the chain."""
        self.uptime_cs += passed_cs
        seq = len(self.journal) + 1
        before = self.journal[-1].mac8 if self.journal else bytes(8)
        mac8 = kdf.mac8(self.key, before, events.record(seq, self.boot, self.uptime_cs, payload))
        self.journal.append(Signed(seq, self.boot, self.uptime_cs, payload, mac8))
        return self.journal[-1]

    def work(self, count: int, rng: random.Random | None = None) -> None:
        """Mint `count` events of several kinds."""
        rng = rng or random.Random(self.device)
        for _ in range(count):
            self.mint(some_payload(rng), rng.choice((0, 3, 23, 24, 100, 255, 256, 70_000)))

    def row(self, first: int, last: int, **other: Any) -> Row:
        """The journal's first..last as a row of one run; `other` replaces fields by name."""
        run = self.journal[first - 1 : last]
        head = run[0]
        values: dict[str, Any] = {
            "pos": 1,
            "device": self.device,
            "boot": head.boot,
            "first_seq": first,
            "last_seq": last,
            "uptime_cs": head.uptime_cs,
            "t_lo_ms": T0 + head.uptime_cs * 10,
            "t_hi_ms": T0 + head.uptime_cs * 10 + 40,
            "received_ms": T0 + run[-1].uptime_cs * 10 + 500,
            "skipped": 0,
            "mac_before": None,
            "items": events.join([one.uptime_cs for one in run], [one.payload for one in run]),
            "mac8": run[-1].mac8,
        }
        values.update(other)
        return list(values.values())

    def rows(self, first: int, last: int, size: int = 20) -> list[Row]:
        """first..last as runs of at most `size` events."""
        return [self.row(at, min(at + size - 1, last)) for at in range(first, last + 1, size)]

    def proof(self, seq: int) -> Row:
        """The row without events that a status gives."""
        one = self.journal[seq - 1]
        return [1, self.device, one.boot, seq + 1, seq, one.uptime_cs, 0, T0, T0, 0, None, b"", one.mac8]


def some_payload(rng: random.Random) -> bytes:
    """A payload of a random kind."""
    return events.encode(
        *rng.choice(
            (
                (events.VISIT, CARD),
                (events.HEARTBEAT, rng.choice((None, 3_700))),
                (events.BARRIER, rng.randrange(6), rng.randrange(9), rng.randrange(100_000)),
                (events.ACCESS, rng.randbytes(4), rng.randrange(2), 16, rng.randrange(2)),
                (events.SOS, None),
                (events.FAULT, 3, "x" * rng.randrange(25)),
                (events.JOURNAL_LOSS, 1, 0xFFFFFFFF),
            )
        )
    )


def numbered(rows: list[Row], start: int = 1) -> list[Row]:
    """The rows with rising positions."""
    return [[start + index, *row[1:]] for index, row in enumerate(rows)]


def body(rows: list[Row], site: str = "lakeside", lane: str = "normal", devices: Any = None, start: int = 1) -> bytes:
    """A request body."""
    value = {
        "v": 1,
        "site": site,
        "edge": "pi-1",
        "lane": lane,
        "rows": numbered(rows, start),
        "devices": {} if devices is None else devices,
    }
    return cbor2.dumps(value)


class Log:
    """An edge's log and its heads, as the edge agent makes them."""

    def __init__(self, site: str = "lakeside", edge: str = "pi-1") -> None:
        self.site, self.edge = site, edge
        self.identity = Identity(Ed25519PrivateKey.generate())
        self.leaves: list[bytes] = []
        self.pos = 0
        self.number = 0
        self.delivered = 0

    def add(self, rows: list[Row]) -> list[Row]:
        """The rows with the positions that they have in this log."""
        placed = numbered(rows, self.pos + 1)
        hashes = Leaves(self.site, self.edge)
        self.leaves += [hashes.hash(row) for row in placed]
        self.pos += len(placed)
        return placed

    def frontier(self, size: int) -> tree.Frontier:
        found = tree.Frontier()
        for leaf in self.leaves[:size]:
            found.append(leaf)
        return found

    def _node(self, level: int, index: int) -> bytes:
        part = tree.Frontier()
        for leaf in self.leaves[index << level : (index + 1) << level]:
            part.append(leaf)
        return part.root()

    def head(self, before: int | None = None, **other: Any) -> bytes:
        """The body of its next head; `other` replaces what is signed, `before` is what the proof goes on from."""
        self.number += 1
        frontier = self.frontier(len(self.leaves))
        values = {
            "site": self.site, "edge": self.edge, "number": self.number, "first_pos": 1, "size": frontier.size,
            "root": frontier.root(), "time_ms": T0 + self.number,
        }  # fmt: skip
        head = Head(**(values | other))
        before = self.delivered if before is None else before
        self.delivered = frontier.size
        proof = tree.consistency_proof(before, frontier.size, self._node) if before <= frontier.size else []
        signature = self.identity.sign(signed_bytes(head))
        return statement.encode(head, self.identity.public, signature, frontier.to_bytes(), before, proof)
