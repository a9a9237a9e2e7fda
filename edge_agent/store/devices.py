"""Layer: SQL of what is known of each device: watermark, replay window, boot nonce; and the agent's own counters."""

from __future__ import annotations

from typing import NamedTuple

import apsw
import cbor2

from edge_agent.coverage import MAX_SEQ, Coverage
from edge_agent.store.database import TRANSIENT, transaction


class Ledger:
    """What must move together with the rows: coverage and replay window of one device. The writer thread owns it."""

    __slots__ = (
        "coverage", "device", "epoch", "last_boot", "last_contact_ms", "last_lo_ms", "piv_high", "piv_mask",
        "proved_seq",
    )  # fmt: skip

    def __init__(self, device: int, epoch: int) -> None:
        self.device = device
        self.epoch = epoch
        self.piv_high = -1
        self.piv_mask = 0
        self.coverage = Coverage()
        self.proved_seq = 0
        self.last_contact_ms = 0
        self.last_boot = 0
        self.last_lo_ms = 0

    def copy(self) -> Ledger:
        """An independent copy, to be kept when its transaction commits."""
        twin = Ledger.__new__(Ledger)
        twin.device = self.device
        twin.epoch = self.epoch
        twin.piv_high = self.piv_high
        twin.piv_mask = self.piv_mask
        twin.coverage = self.coverage.copy()
        twin.proved_seq = self.proved_seq
        twin.last_contact_ms = self.last_contact_ms
        twin.last_boot = self.last_boot
        twin.last_lo_ms = self.last_lo_ms
        return twin


class SessionRow(NamedTuple):
    """One row of table session."""

    device: int
    boot: int
    boot_nonce: bytes
    firmware: str
    battery_mv: int | None
    pending: int
    refused: bytes
    time_book: bytes


_NO_ISLANDS = cbor2.dumps([])
_TOP = 1 << 63


def save(connection: apsw.Connection, ledgers: list[Ledger]) -> None:
    """Writes ledgers; inside the transaction of the rows they speak of."""
    connection.executemany(
        "INSERT OR REPLACE INTO device VALUES (?,?,?,?,?,?,?,?,?,?)",
        [
            (
                each.device,
                each.epoch,
                each.piv_high,
                each.piv_mask - (_TOP << 1) if each.piv_mask >= _TOP else each.piv_mask,
                each.coverage.upto,
                cbor2.dumps(each.coverage.islands) if each.coverage.islands else _NO_ISLANDS,
                each.proved_seq,
                each.last_contact_ms,
                each.last_boot,
                each.last_lo_ms,
            )
            for each in ledgers
        ],
    )


def load(connection: apsw.Connection) -> dict[int, Ledger]:
    """Every device ever heard."""
    ledgers = {}
    for row in connection.execute("SELECT * FROM device"):
        ledger = Ledger(int(row[0]), int(row[1]))
        ledger.piv_high = int(row[2])
        ledger.piv_mask = int(row[3]) & (_TOP << 1) - 1
        # An earlier program let a broken device bring its watermark beyond what an ack can name.
        upto = min(int(row[4]), MAX_SEQ)
        ledger.coverage = Coverage(upto, [(a, b) for a, b in cbor2.loads(bytes(row[5])) if b <= MAX_SEQ])
        ledger.proved_seq, ledger.last_contact_ms = int(row[6]), int(row[7])
        ledger.last_boot, ledger.last_lo_ms = int(row[8]), int(row[9])
        ledgers[ledger.device] = ledger
    return ledgers


def save_session(connection: apsw.Connection, row: SessionRow) -> None:
    """Writes what a device said of itself."""
    connection.execute("INSERT OR REPLACE INTO session VALUES (?,?,?,?,?,?,?,?)", row)


def load_sessions(connection: apsw.Connection) -> dict[int, SessionRow]:
    """What every device last said of itself."""
    return {int(row[0]): SessionRow(*row) for row in connection.execute("SELECT * FROM session")}


# The agent's own counters (table meta).
EDGE_BOOT = "edge_boot"  # how often it started
CLEAN_STOP = "clean_stop"  # 1: it ended as it should
RESTORED = "restored"  # 1: the store is one of a backup, and the agent has not told it yet
NEXT_POS = "next_pos"  # the next row gets at least this position
DOWN_PIV = "down_piv"  # frames to devices are numbered up to here at most


def meta(connection: apsw.Connection, name: str) -> int:
    """One of the agent's own counters, 0 before its first use."""
    found = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).get
    return int(found) if isinstance(found, int) else 0


def set_meta(connection: apsw.Connection, name: str, value: int) -> None:
    """Sets one of the agent's own counters."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (name, value))


def ended_cleanly(connection: apsw.Connection) -> bool:
    """Tells the next start that all ended as it should. False when the disk doesn't take that: a crash, then."""
    try:
        with transaction(connection):
            set_meta(connection, CLEAN_STOP, 1)
    except TRANSIENT:
        return False
    return True
