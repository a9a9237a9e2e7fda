"""Layer: what the store needs to know of a batch of events, and how it is cut where parts are already held; pure."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from edge_agent.store.events import Run
from gatelink import cbor, events
from gatelink.messages import Events

CLASSES = tuple(events.class_of(kind) for kind in range(256))


class Survey(NamedTuple):
    """How many events, how long after the first the last one happened, and the highest class among them."""

    size: int
    span_cs: int
    priority: int


def survey(items: bytes) -> Survey:
    """Items of a batch -> Survey. Raises GatelinkError when they are not well-formed; contents are the office's."""
    found = events.split(items)
    kinds = {payload[1] for _, payload in found}
    if 24 in kinds:  # kinds from 24 on stand in the byte behind
        kinds = {payload[1] if payload[1] < 24 else payload[2] for _, payload in found}
    return Survey(len(found), found[-1][0], max([CLASSES[kind] for kind in kinds]))


def run_of(device: int, message: Events, found: Survey, t_lo_ms: int, t_hi_ms: int, received_ms: int) -> Run:
    """A whole batch as one row, its bytes as received."""
    first: int = message.first_seq
    return (
        device, message.boot, first, first + found.size - 1, message.uptime_cs, t_lo_ms, t_hi_ms, received_ms,
        found.priority, message.skipped, message.mac_before, message.items, message.mac8,
    )  # fmt: skip


def proof_of(device: int, boot: int, seq: int, mac8: bytes, uptime_cs: int, received_ms: int) -> Run:
    """A row without events: the chain's value after `seq`."""
    return (device, boot, seq + 1, seq, uptime_cs, 0, received_ms, received_ms, 0, 0, None, b"", mac8)


def cut(run: Run, parts: list[tuple[int, int]]) -> list[Run]:
    """Those parts of a run that are not held yet, each a row; a chain value whose event is held stays as a proof."""
    (
        device,
        boot,
        first,
        last,
        uptime_cs,
        t_lo_ms,
        t_hi_ms,
        received_ms,
        _,
        skipped,
        mac_before,
        items,
        mac8,
    ) = run
    found = events.split(items)
    rows: list[Run] = []
    for low, high in parts:
        chosen = found[low - first : high - first + 1]
        since_cs = chosen[0][0]
        pieces = [chosen[0][1]]
        for (before_cs, _), (at_cs, payload) in pairwise(chosen):
            pieces += (cbor.dumps(at_cs - before_cs), payload)
        priority = max(CLASSES[events.kind_of(payload)] for _, payload in chosen)
        head = low == first
        high_ms = min(t_hi_ms + since_cs * 10, received_ms)
        low_ms = min(t_lo_ms + since_cs * 10, high_ms) if t_lo_ms else 0
        rows.append(
            (
                device, boot, low, high, uptime_cs + since_cs,
                low_ms, high_ms, received_ms, priority, skipped if head else 0, mac_before if head else None,
                b"".join(pieces), mac8 if high == last else None,
            )
        )  # fmt: skip
    if mac8 is not None and rows and rows[-1][3] != last:
        rows.append(proof_of(device, boot, last, mac8, uptime_cs + found[-1][0], received_ms))
    return rows
