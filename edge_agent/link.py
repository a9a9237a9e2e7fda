"""Layer: one device's session: authenticate, refuse replays, read messages, answer what is committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import apsw
import cbor2

from edge_agent import hot, own_events, salvage, strips
from edge_agent.clock import Clock
from edge_agent.commands import Commands
from edge_agent.config import DeviceConfig
from edge_agent.counters import Rejects
from edge_agent.coverage import MAX_SEQ
from edge_agent.entries import Entry, HeldRaw, Job, Own, Received, Restated
from edge_agent.moments import Moments
from edge_agent.rotation import Rotation
from edge_agent.runs import MAX_UPTIME_CS, Joined, Survey, proof_of, surveyed
from edge_agent.store import loose
from edge_agent.store.devices import Ledger, SessionRow
from edge_agent.store.keys import KeyRow
from edge_agent.transports.port import Address, Port
from gatelink import cose, messages, reasons
from gatelink.errors import FrameError, GatelinkError
from gatelink.messages import Ack, Command, Events, Hello, Result, Status, Welcome

REKEY_RETRY_MS = 2_000  # pause before a pending key is sent again to a device that speaks
DISK_FULL = "disk_full"  # why an event was left with its device
UPDATE_ID = 0  # cmd_id of a RESULT that answers an UPDATE
MAX_HELD = 64  # different undecodable batches of a device that are kept

# port, address, event time, steady time of a read
Heard = tuple[Port, Address, int, int]


class LinkSettings(NamedTuple):
    """What all sessions share."""

    window: int
    drift_ppm: int
    command_retry_ms: int


class Shared(NamedTuple):
    """What a session calls: the next downward partial IV (None while none is reserved), the queue, the counters."""

    clock: Clock
    next_piv: Callable[[], int | None]
    submit: Callable[[Entry], None]
    rejects: Rejects
    online: Callable[[int], None]
    offline: Callable[[int], None]
    held: Callable[[], bool] = lambda: False  # there is no room: events stay with their device


class Session:
    """One device. Everything here runs on the event loop."""

    def __init__(self, config: DeviceConfig, key: KeyRow, settings: LinkSettings, shared: Shared) -> None:
        self.config = config
        self.device = config.device
        self._settings = settings
        self._shared = shared
        self._clock = shared.clock
        self._window = cose.ReplayWindow()
        # A barrier has mains and never sleeps; a tag may.
        self.moments = Moments(
            config.device, shared.clock, settings.drift_ppm, sleeps=config.role == messages.TAG_ROLE
        )
        self._book = self.moments.book
        self.port: Port | None = None  # where it was last heard in this run
        self._address: Address = None
        self._boot_nonce = b""
        self._held: set[int] = set()
        self._joined: Joined | None = None  # only while frames of one read are looked at
        self.boot = 0
        self.firmware = ""
        self.battery_mv: int | None = None
        self.pending = 0
        self.refused: list[int] = [0, 0, 0]
        self.acked_seq = 0
        self.newest_seq: int | None = None  # the last event that the device has, as far as it said in this run
        self.port_since_seq = 0  # what was held when it was first heard at its present port
        self.gaps: list[tuple[int, int]] = []
        self.last_contact_ms = 0
        self.heard_ms = 0  # by the clock that is never set
        self.online = False
        self.frames = 0
        self.replays = 0
        self.commands = Commands(
            shared.clock,
            settings.command_retry_ms,
            self.send,
            lambda now_ms: self._book.uptime_at_least(self.boot, now_ms),
            self._new_id,
        )
        self.rotation = Rotation(
            shared.clock, key, REKEY_RETRY_MS, shared.submit, self.send, self._new_id, self._rotated
        )
        self._use(self.rotation.keys)
        self.on_result: Callable[[Result], None] = lambda _: None
        self.on_hello: Callable[[], None] = lambda: None

    def restore(self, ledger: Ledger, row: SessionRow | None) -> None:
        """Goes on where the store says this device stood; no hello is needed after a restart of the edge."""
        self._window = cose.ReplayWindow(ledger.piv_high, ledger.piv_mask)
        self.acked_seq = ledger.coverage.upto
        self.gaps = ledger.coverage.gaps(messages.MAX_GAPS)
        self.last_contact_ms = ledger.last_contact_ms
        if row is not None:
            self.boot = row.boot
            self._boot_nonce = row.boot_nonce
            self.firmware = row.firmware
            self.battery_mv = row.battery_mv
            self.pending = row.pending
            self.refused = cbor2.loads(row.refused)
            self._book.load(cbor2.loads(row.time_book))
        if ledger.last_boot:
            self._book.happened(ledger.last_boot, ledger.last_lo_ms)

    @property
    def port_name(self) -> str:
        """Where it was last heard in this run, or "" if not yet."""
        return self.port.name if self.port is not None else ""

    def receive(self, port: Port, address: Address, frames: list[bytes], now_ms: int) -> None:
        """Frames of one read that claim to come from this device. Refused ones are counted and have no effect.

        Single events that follow each other go on as one run.
        """
        heard = (port, address, now_ms, self._clock.uptime_ms())
        for stretch in strips.stretches(frames):
            opened = self._open_strip(stretch)
            if opened is None:
                for frame in stretch:
                    one = self._authentic(port, frame, now_ms)
                    if one is not None:
                        self._look(*one, heard)
                continue
            piv, plaintexts = opened
            run = strips.merged(plaintexts) if piv > self._window.high else None
            if run is not None and self._book.anchored(run[0].boot):
                self._take(*run, piv, len(plaintexts), heard)
            else:
                for number, plaintext in enumerate(plaintexts, piv):
                    self._look(number, plaintext, heard)
        self._flush(now_ms)

    def _authentic(self, port: Port, frame: bytes, now_ms: int) -> tuple[int, bytes] | None:
        """(partial IV, plaintext) of an authentic frame; None for all others, which are dealt with here."""
        try:
            return self._open(frame) or cose.open_(self._keys, cose.UP, frame)
        except FrameError as error:
            self._shared.rejects.add(error.reason, port.name)
            return None
        except GatelinkError as error:
            self._flush(now_ms)  # belongs to the key so far
            renewed = self.rotation.open_(frame)
            if renewed is None:
                self._shared.rejects.add(error.reason, port.name, self.device)
                return None
            # Committed before anything is answered under it: the answers wait for entries that stand behind it.
            self._use(self.rotation.keys)
            self._window = cose.ReplayWindow()
            return renewed

    def _use(self, keys: cose.Keys) -> None:
        self._keys = keys
        self._open = hot.opener(keys)
        self._open_strip = strips.opener(keys)

    def _look(self, piv: int, plaintext: bytes, heard: Heard) -> None:
        """An authentic frame: of no effect if it is a replay."""
        if not self._window.fresh(piv):
            self.replays += 1
            self._shared.rejects.add(reasons.REPLAYED, heard[0].name, self.device)
            self.ack()  # the way back stays the one of the last fresh frame
            return
        message = hot.events_of(plaintext)
        found = _surveyed(message) if message is not None else None
        if message is not None and found is not None:
            self._take(message, found, piv, 1, heard)
        elif self._shared.held() and hot.is_events(plaintext):
            self._leave(piv, 1, heard)
        else:
            self._flush(heard[2])
            self._contact(piv, 1, heard)
            self._careful(plaintext, heard[2])

    def _take(self, message: Events, found: Survey, piv: int, count: int, heard: Heard) -> None:
        """Events of `count` fresh frames, the first one of `piv`: with those that they follow, or as a new run."""
        if self._shared.held():
            self._leave(piv, count, heard)
            return
        joined = self._joined
        if joined is not None and joined.take(message, found):
            hot.accept(self._window, piv, count)
            self.frames += count
            return
        self._flush(heard[2])
        self._contact(piv, count, heard)
        self._joined = Joined(message, found, grows=self._book.anchored(message.boot))

    def _leave(self, piv: int, count: int, heard: Heard) -> None:
        """No room for events: as if they had been lost on the way, the device keeps them and sends them again."""
        self._contact(piv, count, heard)
        self._shared.rejects.add(DISK_FULL, heard[0].name, self.device, count)

    def _contact(self, piv: int, count: int, heard: Heard) -> None:
        """Fresh frames: the device is there, and this is the way to it."""
        hot.accept(self._window, piv, count)
        port = heard[0]
        if port is not self.port:
            self.port_since_seq = self.acked_seq
        self.port, self._address, self.last_contact_ms, self.heard_ms = heard
        self.frames += count
        if not self.online:
            self.online = True
            self._shared.online(self.device)

    def _careful(self, plaintext: bytes, now_ms: int) -> None:
        """Any message; EVENTS among them that are of no common form, or broken."""
        assert self.port is not None
        try:
            message = messages.decode(cose.UP, plaintext)
        except GatelinkError as error:
            self._shared.rejects.add(error.reason, self.port.name, self.device)
            self._undecodable(plaintext, error.reason, now_ms)
            return
        if type(message) is Events:
            self._events(message, plaintext, now_ms)
        elif type(message) is Status:
            self._status(message, now_ms)
        elif type(message) is Hello:
            self._greeted(message, now_ms)
        else:
            self._shared.submit(self._received(now_ms))
            self.commands.answered(message)
            self.rotation.answered(message)
            if message.cmd_id == UPDATE_ID:
                self.on_result(message)

    def _received(self, now_ms: int, **more: Any) -> Received:
        return Received(self.device, self._window.high, self._window.mask, now_ms, **more)

    def _events(self, message: Events, plaintext: bytes, now_ms: int) -> None:
        try:
            found = surveyed(message)
        except GatelinkError as error:
            assert self.port is not None
            self._shared.rejects.add(error.reason, self.port.name, self.device)
            self._hold(message.first_seq, message.items, plaintext, error.reason, now_ms)
            return
        self._joined = Joined(message, found, grows=False)
        self._flush(now_ms)

    def _flush(self, now_ms: int) -> None:
        """The run that grew so far goes to the store. Before the window takes a frame that is not of it."""
        joined, self._joined = self._joined, None
        if joined is None:
            return
        window = self._window
        for run, last_lo, row in self.moments.rows(joined, now_ms):
            self._shared.submit(
                Received(self.device, window.high, window.mask, now_ms, run, last_lo, loose=row)
            )
        if joined.has_time:
            self._tighten(now_ms)

    def _tighten(self, now_ms: int) -> None:
        """Something new is known of the device's clock: says what it makes better."""
        if not self.moments.any_loose:
            return
        rows, still, done = self.moments.tightened(now_ms)
        if rows:

            def apply(connection: apsw.Connection) -> None:
                loose.save(connection, still)
                loose.drop(connection, done)

            self._shared.submit(Restated(tuple(rows), Job(apply)))

    def _undecodable(self, plaintext: bytes, reason: str, now_ms: int) -> None:
        """Authentic, but no message of this version: events among them are kept raw, all else is skipped."""
        first_seq = salvage.first_seq(plaintext)
        if first_seq is None:
            self._shared.submit(self._received(now_ms))
        else:
            self._hold(first_seq, b"", plaintext, reason, now_ms)

    def _hold(self, first_seq: int, items: bytes, plaintext: bytes, reason: str, now_ms: int) -> None:
        """Nothing is lost and the device isn't stuck: the bytes are stored; counted events are then acknowledged."""
        count = salvage.count(items)
        if first_seq in self._held or len(self._held) >= MAX_HELD:
            self._shared.submit(self._received(now_ms))
            self.ack()
            return
        self._held.add(first_seq)
        last_seq = min(first_seq + count - 1, MAX_SEQ) if count else None
        self._shared.submit(self._received(now_ms, held_raw=HeldRaw(reason, first_seq, last_seq, plaintext)))

    def _greeted(self, hello: Hello, now_ms: int) -> None:
        assert self.port is not None
        if hello.boot < self.boot or hello.version != messages.VERSION:
            why = reasons.STALE if hello.boot < self.boot else reasons.UNSUPPORTED
            self._shared.rejects.add(why, self.port.name, self.device)
            self._shared.submit(self._received(now_ms))
            return
        self.boot = hello.boot
        self.firmware = _clean(hello.firmware)
        self.newest_seq = hello.next_seq - 1
        self.moments.contact(hello.boot, hello.uptime_ms, now_ms)
        self._shared.submit(self._received(now_ms, hello=hello, session=self._row(hello.boot_nonce)))
        self._tighten(now_ms)

    def _status(self, status: Status, now_ms: int) -> None:
        self.moments.status(self.boot, status, now_ms)
        self.battery_mv = status.battery_mv
        self.pending = status.pending
        self.newest_seq = max(self.newest_seq or 0, status.chain_seq)
        self.refused = list(status.refused)
        proof = None
        uptime_cs = status.uptime_ms // 10
        if status.chain_seq and uptime_cs <= MAX_UPTIME_CS:
            proof = proof_of(self.device, self.boot, status.chain_seq, status.chain_mac8, uptime_cs, now_ms)
        # Answered at once, so that the device's anchor is narrow; it acknowledges nothing that isn't committed.
        clock = (status.uptime_ms, *self.moments.say())
        self.send(Ack(self.acked_seq, self.gaps, clock))
        row = self._row(self._boot_nonce) if self._boot_nonce else None
        self._shared.submit(self._received(now_ms, proof=proof, session=row))
        self._tighten(now_ms)

    def _row(self, boot_nonce: bytes) -> SessionRow:
        return SessionRow(
            self.device, self.boot, boot_nonce, self.firmware, self.battery_mv, self.pending,
            cbor2.dumps(self.refused), cbor2.dumps(self._book.to_value()),
        )  # fmt: skip

    def committed(self, ledger: Ledger, *, hello: Hello | None, answer: bool) -> None:
        """What the store now holds of this device; answers what was waiting for it."""
        coverage = ledger.coverage
        self.acked_seq = coverage.upto
        self.gaps = coverage.gaps(messages.MAX_GAPS) if coverage.islands else []
        if hello is not None:
            self._boot_nonce = hello.boot_nonce
            self._held.clear()
            self.rotation.greeted()
            self.send(Welcome(hello.uptime_ms, *self.moments.say(), self.acked_seq, self._settings.window))
            self.on_hello()
        elif answer:
            self.ack()
        if self.rotation.next is not None:
            self.rotation.tell()

    def ack(self) -> None:
        """Tells the device what is committed."""
        if self.gaps:
            self.send(Ack(self.acked_seq, self.gaps, None))
        else:
            self._send(hot.ack(self.acked_seq))

    def send(self, message: Any) -> bool:
        """Seals and sends. False without a session, a way back or a reserved counter: the device asks again."""
        return self._send(messages.encode(message), urgent=type(message) is Command)

    def _send(self, plaintext: bytes, *, urgent: bool = False) -> bool:
        port = self.port
        if port is None or not self._boot_nonce:
            return False
        piv = self._shared.next_piv()
        if piv is None:
            return False
        sealed = cose.seal(self._keys, cose.DOWN, piv, plaintext, self._boot_nonce)
        port.send(self._address, sealed, urgent=urgent)
        return True

    async def command(self, action: int, argument: object, within_ms: int) -> Result:
        """Issues a command; see Commands.issue."""
        return await self.commands.issue(action, argument, within_ms)

    def _new_id(self) -> int:
        return (self._shared.next_piv() or 0) & 0xFFFFFFFF

    def _rotated(self, epoch: int) -> Own:
        clock = self._clock
        payload = own_events.own(own_events.ROTATED, self.device, epoch)
        return Own(payload, clock.uptime_ms() // 10, clock.now_ms(), clock.error_ms)

    def check_silence(self, steady_ms: int, offline_after_ms: int) -> None:
        """Marks the device offline when nothing fresh came for too long; by the clock that is never set."""
        quiet = steady_ms - self.heard_ms > offline_after_ms
        if self.online and (quiet or (self.port is not None and self.port.silent(self.device))):
            self.online = False
            self._shared.offline(self.device)


def _surveyed(message: Events) -> Survey | None:
    try:
        return surveyed(message)
    except GatelinkError:
        return None


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:16]
