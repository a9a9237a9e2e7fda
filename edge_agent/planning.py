"""Layer: a group of entries -> the rows and ledgers of one transaction; dedupes; pure but for the ledgers' copies."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import apsw

from edge_agent import own_events
from edge_agent.entries import Entry, HeldRaw, Job, NewEpoch, Own, Received, Restated, Revoked
from edge_agent.runs import cut
from edge_agent.store import loose
from edge_agent.store.devices import Ledger, SessionRow
from edge_agent.store.events import Run
from edge_agent.store.loose import Loose
from edge_agent.timing import GRAIN_MS, UNKNOWN_MS
from gatelink.messages import Hello


class Notice:
    """Things that a plan found out and that the agent records as its own events."""

    SEQ_RESTARTED = "seq_restarted"
    NEVER_SEEN = "never_seen"
    HELD_RAW = "held_raw"
    TOO_SCATTERED = "too_scattered"


class Plan:
    """One transaction: what it writes, and what is true once it is committed."""

    def __init__(self, ledgers: dict[int, Ledger], next_pos: int, own_device: int, own_boot: int) -> None:
        self._committed = ledgers
        self._own_device = own_device
        self._own_boot = own_boot
        self.next_pos = next_pos
        self.ledgers: dict[int, Ledger] = {}
        self.rows: list[tuple[object, ...]] = []
        self.sessions: dict[int, SessionRow] = {}
        self.quarantine: list[tuple[int, int, HeldRaw]] = []
        self.jobs: list[Job] = []
        self._kept: list[Loose] = []  # of the last job that keeps some
        self._keeping: Callable[[apsw.Connection], None] | None = None
        self.normal_events = 0
        self.alarm_events = 0
        self.duplicates = 0
        self.frames = 0
        self.answered: set[int] = set()  # devices that sent something an ack answers
        self.hellos: dict[int, Hello] = {}
        self.notices: list[tuple[str, int, int, int]] = []  # notice, device, first, last

    def add_all(self, entries: Iterable[Entry]) -> None:
        """Takes entries in their order."""
        for entry in entries:
            if type(entry) is Received:
                self._received(entry)
            elif type(entry) is Own:
                self._own(entry)
            elif type(entry) is Job:
                self.jobs.append(entry)
            elif type(entry) is Restated:
                self.jobs.append(entry.job)
                for row in entry.rows:
                    self._append(row, 0)
            elif type(entry) is NewEpoch:
                self._new_epoch(entry)
            elif type(entry) is Revoked:
                self.jobs.append(entry.job)
                self._own(entry.own)

    def _new_epoch(self, entry: NewEpoch) -> None:
        ledger = self._ledger(entry.device)
        ledger.epoch, ledger.piv_high, ledger.piv_mask = entry.epoch, -1, 0
        self.jobs.append(entry.job)
        self._own(entry.own)

    def _ledger(self, device: int) -> Ledger:
        found = self.ledgers.get(device)
        if found is None:
            found = self.ledgers[device] = self._committed[device].copy()
        return found

    def _received(self, entry: Received) -> None:
        ledger = self._ledger(entry.device)
        ledger.piv_high = entry.piv_high
        ledger.piv_mask = entry.piv_mask
        ledger.last_contact_ms = entry.received_ms
        self.frames += 1
        run = entry.run
        if run is not None:
            self.answered.add(entry.device)
            self._run(ledger, run, entry.last_lo_ms)
            if entry.loose is not None:
                self._keep(entry.loose)
            return
        if entry.session is not None:
            self.sessions[entry.device] = entry.session
        if entry.hello is not None:
            self._hello(ledger, entry)
        if entry.proof is not None and entry.proof[3] > ledger.proved_seq:
            ledger.proved_seq = entry.proof[3]
            self._append(entry.proof, 0)
        if entry.held_raw is not None:
            self._held_raw(ledger, entry, entry.held_raw)

    def _keep(self, row: Loose) -> None:
        """Remembers a run whose time is known loosely, in the order of the jobs; neighbours as one job."""
        if not self.jobs or self.jobs[-1].apply is not self._keeping:
            rows: list[Loose] = []
            self._kept = rows
            self._keeping = lambda connection: loose.save(connection, rows)
            self.jobs.append(Job(self._keeping))
        self._kept.append(row)

    def _append(self, run: Run, events: int) -> None:
        self.rows.append((self.next_pos, *run))
        self.next_pos += 1
        if run[8] == 2:
            self.alarm_events += events
        else:
            self.normal_events += events

    def _run(self, ledger: Ledger, run: Run, last_lo_ms: int) -> None:
        coverage = ledger.coverage
        first, last, skipped, mac8 = run[2], run[3], run[9], run[12]
        if first == coverage.upto + 1 and not coverage.islands and not skipped:
            coverage.upto = last
            self._append(run, last - first + 1)
        else:
            parts = coverage.missing(first, last)
            fresh = sum(high - low + 1 for low, high in parts)
            self.duplicates += last - first + 1 - fresh
            if not coverage.add(first - skipped, last):
                # Not stored, not acknowledged: the device sends it again when the gaps before it are closed.
                self.notices.append((Notice.TOO_SCATTERED, ledger.device, first, last))
                return
            if not parts:
                return
            if fresh == last - first + 1:
                self._append(run, fresh)
            else:
                for piece in cut(run, parts):
                    self._append(piece, piece[3] - piece[2] + 1)
        if mac8 is not None and last > ledger.proved_seq:
            ledger.proved_seq = last
        if run[1] > ledger.last_boot:
            ledger.last_boot, ledger.last_lo_ms = run[1], last_lo_ms
        elif run[1] == ledger.last_boot and last_lo_ms > ledger.last_lo_ms:
            ledger.last_lo_ms = last_lo_ms

    def _hello(self, ledger: Ledger, entry: Received) -> None:
        hello = entry.hello
        assert hello is not None
        self.hellos[entry.device] = hello
        coverage = ledger.coverage
        highest = coverage.islands[-1][1] if coverage.islands else coverage.upto
        holds = hello.first_seq < hello.next_seq
        behind = hello.next_seq <= highest and hello.boot > ledger.last_boot
        restarted_at = 0
        if ledger.last_boot < 0 and holds and hello.first_seq <= highest:
            # Provisioned anew, and what it holds has numbers of events that are here: a board that took the place of
            # another counts from the start; its boots begin elsewhere. Events of one that is the same may come twice.
            restarted_at = hello.first_seq
        elif behind and (holds or coverage.islands):
            # The device lost the end of its journal and has minted events with numbers of lost ones. Its boot number
            # tells them apart; taking them for duplicates would lose them. (A device that has minted nothing yet is
            # told the watermark by the welcome and goes on after it.)
            restarted_at = hello.next_seq
        if restarted_at:
            self.notices.append((Notice.SEQ_RESTARTED, ledger.device, restarted_at, highest))
            coverage.upto, coverage.islands = hello.first_seq - 1, []
            ledger.proved_seq = 0
        elif hello.first_seq > coverage.upto + 1:
            # The device no longer holds these and this edge never had them: waiting would block it for ever.
            for low, high in coverage.missing(coverage.upto + 1, hello.first_seq - 1):
                self.notices.append((Notice.NEVER_SEEN, ledger.device, low, high))
            coverage.add(coverage.upto + 1, hello.first_seq - 1)

    def _held_raw(self, ledger: Ledger, entry: Received, held: HeldRaw) -> None:
        self.answered.add(entry.device)
        self.quarantine.append((entry.device, entry.received_ms, held))
        last = held.last_seq
        if last is not None and not ledger.coverage.missing(held.first_seq, last):
            return
        self.notices.append((Notice.HELD_RAW, ledger.device, held.first_seq, last or held.first_seq))
        if last is not None:
            ledger.coverage.add(held.first_seq, last)

    def _own(self, entry: Own) -> None:
        ledger = self._ledger(self._own_device)
        seq = ledger.coverage.upto + 1
        ledger.coverage.upto = seq
        ledger.last_contact_ms = entry.now_ms
        low, high = 0, UNKNOWN_MS
        if entry.error_ms is not None:
            low, high = max(entry.now_ms - entry.error_ms, 0), entry.now_ms + entry.error_ms + GRAIN_MS
        priority = own_events.class_of(entry.payload)
        self._append(
            (
                self._own_device, self._own_boot, seq, seq, entry.uptime_cs, low, high, entry.now_ms,
                priority, 0, None, entry.payload, None,
            ),
            1,
        )  # fmt: skip
