"""A proof of one event in a small file that is checked without any database."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import apsw

from edge_agent.identity import KEY_BYTES, fingerprint
from edge_agent.integrity import tree
from edge_agent.integrity.leaves import Head, Leaves, fits
from gatelink import events
from gatelink.errors import GatelinkError
from tools.errors import ToolError
from tools.office.chain import START, Chain, Signed
from tools.office.items import after
from tools.office.store.logs import StoredHead, chosen
from tools.verify.faults import Report
from tools.verify.rows import Checker, LogRow

VERSION = 1
KIND = "gatepost proof of one event"
MAX_FILE = 4 * 1024 * 1024
MAX_CHAIN = 5_000  # events between two chain values
ROW = (
    "pos", "device", "boot", "first_seq", "last_seq", "uptime_cs", "t_lo_ms", "t_hi_ms", "received_ms", "skipped",
    "mac_before", "items", "mac8",
)  # fmt: skip
_FINGERPRINT = re.compile(r"(?:[0-9a-f]{4}-){7}[0-9a-f]{4}")
_COLUMNS = (
    "pos, branch, device, boot, first, count, skipped, mac_before, mac8, uptime_cs, t_lo_ms, t_hi_ms,"
    " received_ms, leaf"
)


def make(db: apsw.Connection, site: str, site_key: int, event: tuple[int, int, int]) -> dict[str, Any] | None:
    """The proof of an event (device, boot, seq) as JSON's values; None when no signed row has it as it is stored."""
    device, boot, seq = event
    checker = Checker(db, Report(), site, site_key)
    logs: list[Any] = db.execute("SELECT key, edge FROM edge_log WHERE site = ?", (site_key,)).fetchall()
    for log, edge in logs:
        rows: list[Any] = db.execute(
            f"SELECT {_COLUMNS} FROM log_row WHERE log = ? AND device = ? AND boot = ? AND first <= ?"  # noqa: S608 - constants
            " AND first + count > ? ORDER BY pos, branch",
            (log, device, boot, seq, seq),
        ).fetchall()
        for row in (LogRow(*one) for one in rows):
            values = checker.values(edge, row)
            if values is None:
                continue
            for head in _heads(db, log, row.pos):
                path = _path(db, head, row, Leaves(site, edge))
                if path is not None:
                    return _document(db, site, edge, site_key, event, values, head, path)
    return None


def _heads(db: apsw.Connection, log: int, pos: int) -> list[StoredHead]:
    """Heads that cover a position, the first ones first: their trees are the smallest."""
    found = db.execute(
        "SELECT * FROM log_head WHERE log = ?1 AND first_pos <= ?2 AND first_pos + size > ?2 ORDER BY id LIMIT 8",
        (log, pos),
    )
    return [StoredHead(*row) for row in found]


def _path(db: apsw.Connection, head: StoredHead, row: LogRow, gaps: Leaves) -> list[bytes] | None:
    """The neighbours of the row in the head's tree, if its rows give the head's root."""
    leaves = chosen(db, head.log, head.first_pos, head.last_pos, head.branch)
    if leaves.get(row.pos) != row.leaf:
        return None
    hashes = [leaves.get(pos) or gaps.gap(pos) for pos in range(head.first_pos, head.last_pos + 1)]

    def node(level: int, index: int) -> bytes:
        part = tree.Frontier()
        for leaf in hashes[index << level : (index + 1) << level]:
            part.append(leaf)
        return part.root()

    index = row.pos - head.first_pos
    path = tree.inclusion_proof(index, head.size, node)
    return path if tree.included(row.leaf, index, head.size, path, head.root) else None


def _document(
    db: apsw.Connection,
    site: str,
    edge: str,
    site_key: int,
    event: tuple[int, int, int],
    values: list[object],
    head: StoredHead,
    path: list[bytes],
) -> dict[str, Any]:
    device, boot, seq = event
    payload = dict(_contents(values))[seq][1]
    return {
        "v": VERSION,
        "kind": KIND,
        "site": site,
        "edge": edge,
        "event": {"device": device, "boot": boot, "seq": seq, "payload": payload.hex()},
        "row": {name: _json(value) for name, value in zip(ROW, values, strict=True)},
        "path": [one.hex() for one in path],
        "head": {
            "number": head.number,
            "first_pos": head.first_pos,
            "size": head.size,
            "root": head.root.hex(),
            "time_ms": head.time_ms,
        },
        "key": head.public.hex(),
        "signature": head.signature.hex(),
        "chain": _chain(db, site_key, device, seq),
    }


def _json(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _chain(db: apsw.Connection, site_key: int, device: int, seq: int) -> dict[str, Any] | None:
    """The device's events from the chain value before this one to the next one after it; None where there is none."""
    before: Any = db.execute(
        "SELECT seq, mac8 FROM proof WHERE site = ? AND device = ? AND seq < ? ORDER BY seq DESC LIMIT 1",
        (site_key, device, seq),
    ).fetchone() or (0, START)
    behind: Any = db.execute(
        "SELECT seq, mac8 FROM proof WHERE site = ? AND device = ? AND seq >= ? ORDER BY seq LIMIT 1",
        (site_key, device, seq),
    ).fetchone()
    if behind is None or behind[0] - before[0] > MAX_CHAIN:
        return None
    found: list[Any] = db.execute(
        "SELECT seq, boot, uptime_cs, payload FROM event WHERE site = ? AND device = ? AND seq > ? AND seq <= ?"
        " ORDER BY seq, boot",
        (site_key, device, before[0], behind[0]),
    ).fetchall()
    return {
        "mac8_before": before[1].hex(),
        "events": [[*one[:3], one[3].hex()] for one in found],
        "mac8": behind[1].hex(),
    }


def _contents(values: list[Any]) -> list[tuple[int, tuple[int, bytes]]]:
    """A row's events: seq, (uptime_cs, payload). Raises GatelinkError."""
    first, uptime = values[3], values[5]
    return [
        (first + at, (uptime + since, payload))
        for at, (since, payload) in enumerate(events.split(values[11]))
    ]


def load(path: Path) -> dict[str, Any]:
    """A proof file. Raises ToolError."""
    try:
        raw = path.read_bytes()[: MAX_FILE + 1]
        found = json.loads(raw)
    except (OSError, ValueError, RecursionError) as error:
        raise ToolError(f"--proof {path}: can't be read: {error}") from error
    if not isinstance(found, dict) or found.get("kind") != KIND or found.get("v") != VERSION:
        raise ToolError(f"--proof {path}: is no proof of one event (version {VERSION})")
    return found


def check(document: dict[str, Any], key: str, event_key: bytes | None) -> Report:
    """Everything that the file says, against the fingerprint of the edge's key, and the event key."""
    report = Report()
    try:
        _check(document, key, event_key, report)
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        OverflowError,
        GatelinkError,
    ) as error:
        report.fault("proof_file", detail=f"{type(error).__name__}")
    return report


def _check(document: dict[str, Any], key: str, event_key: bytes | None, report: Report) -> None:
    site, edge, event = document["site"], document["edge"], document["event"]
    where = {"site": site, "edge": edge}
    of = {**where, "device": event["device"], "boot": event["boot"], "first": event["seq"]}
    row = [_value(name, document["row"][name]) for name in ROW]
    inside = dict(_contents(row)).get(event["seq"])
    same = (row[1], row[2]) == (event["device"], event["boot"])
    if inside is None or not same or inside[1] != bytes.fromhex(event["payload"]):
        report.fault("event_changed", **of)
        return
    said = document["head"]
    head = Head(
        site,
        edge,
        said["number"],
        said["first_pos"],
        said["size"],
        bytes.fromhex(said["root"]),
        said["time_ms"],
    )
    public = bytes.fromhex(document["key"])
    if len(public) != KEY_BYTES or key != fingerprint(public):
        report.fault("head_key", **where, head=head.number)
    if not fits(head, public, bytes.fromhex(document["signature"])):
        report.fault("head_forged", **where, head=head.number)
    leaf = Leaves(site, edge).hash(row)
    path = [bytes.fromhex(one) for one in document["path"]]
    if not tree.included(leaf, cast(int, row[0]) - head.first_pos, head.size, path, head.root):
        report.fault("row_changed", **of, pos=row[0])
    low, high = after(cast(int, row[6]), cast(int, row[7]), inside[0] - cast(int, row[5]))
    report.line(
        f"事件 {event['device']}/{event['boot']}/{event['seq']} 在日志行 {row[0]}，发生于 {low}..{high} 毫秒之间，"
        f"由边缘代理 {edge}（密钥 {fingerprint(public)}）第 {head.number} 号签名",
        f"event {event['device']}/{event['boot']}/{event['seq']} stands in row {row[0]}, happened between {low} and"
        f" {high} ms, signed by edge {edge} (key {fingerprint(public)}) in head {head.number}",
    )
    _chain_part(document.get("chain"), event, inside, event_key, report, of)


def _chain_part(
    chain: Any,
    event: dict[str, Any],
    inside: tuple[int, bytes],
    event_key: bytes | None,
    report: Report,
    of: dict[str, Any],
) -> None:
    if chain is None:
        report.note("尚无校验值覆盖此事件", "no chain value covers this event so far")
        return
    parts: list[Signed] = [(one[0], one[1], one[2], bytes.fromhex(one[3])) for one in chain["events"]]
    if (event["seq"], event["boot"], *inside) not in parts:
        report.fault("chain_misfit", **of)
    elif event_key is None:
        report.note(
            "未给出事件密钥，校验链未查", "without the event key (--event-keys) its chain is not checked"
        )
    elif Chain(event_key).follow(bytes.fromhex(chain["mac8_before"]), parts) != bytes.fromhex(chain["mac8"]):
        report.fault("chain_misfit", **of)
    else:
        report.line("设备校验链相符", "the device's own chain fits")


def _value(name: str, value: Any) -> Any:
    if name in ("mac_before", "items", "mac8"):
        return None if value is None else bytes.fromhex(value)
    if type(value) is not int:
        raise TypeError(name)
    return value


def fingerprint_of(text: str) -> str | None:
    """A key as people give it, by fingerprint or as 64 digits -> its fingerprint; None: it is neither."""
    found = text.lower()
    if re.fullmatch(r"[0-9a-f]{64}", found):
        return fingerprint(bytes.fromhex(found))
    return found if _FINGERPRINT.fullmatch(found) else None
