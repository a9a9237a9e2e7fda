# The device's side of the link, sans-IO: frames and uptimes in, frames out. Everything that arrives is
# hostile until it is authentic, of this boot and newer than all before; what is not is counted by reason and
# has no effect.
from gatelink import cose, messages, reasons
from gatelink.errors import AuthError, GatelinkError, ReplayError

from . import batch
from .pace import Pace
from .rekey import Rekey

try:
    from typing import Any, Callable
except ImportError:
    pass

STATUS_MS = 60_000
_FRESH_MS = 1000
_HELLO_MS = 1000
# unanswered in a row before the session counts as gone
_PATIENCE = 4
_WINDOW_MAX = 16
_ALARMS_MAX = 8
_FLIGHTS_MAX = _WINDOW_MAX + _ALARMS_MAX
_RESULTS_MAX = 8
_ANSWERS_MAX = 16
# a movement must be meant for now
_MOVEMENTS = (messages.OPEN, messages.CLOSE, messages.STOP)
_AHEAD_MS = 2000
_OTHER_AHEAD_MS = 60_000
# an edge may know of this many events more than a damaged journal, not of any number
_UNKNOWN_MAX = 1 << 20


# One EVENTS frame on its way: seq range, when it was sent and is due again, how often it was repeated.
class _Flight:
    def __init__(self, first: int, last: int, ahead: bool = False) -> None:
        self.first = first
        self.last = last
        self.ahead = ahead
        self.sent_ms = 0
        self.due_ms = 0
        self.tries = -1


class Uplink:
    # keystore: .keys, .next_piv(); boot_nonce: 8 fresh random bytes; rng: -> 0..255, for jitter;
    # on_command(action, argument) -> (RESULT code, detail); battery_mv() -> mV or None.
    def __init__(
        self,
        journal: "Any",
        clock: "Any",
        keystore: "Any",
        boot: int,
        boot_nonce: bytes,
        role: int,
        firmware: str,
        on_command: "Callable[[int, Any], tuple[int, str]]",
        rng: "Callable[[], int]",
        battery_mv: "Callable[[], int | None]",
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._keystore = keystore
        self._boot = boot
        self._nonce = boot_nonce
        self._role = role
        self._firmware = firmware
        self._on_command = on_command
        self._battery_mv = battery_mv
        self._pace = Pace(rng)
        self._rekey = Rekey(keystore)
        # (messages.Update) -> (RESULT code, detail)
        self.on_update: "Any" = None
        self.online = False
        # refused frames: reason -> count
        self.rejects: "dict[str, int]" = {}
        self._down_piv = -1
        self._hello_first_ms = -1
        self._hello_sent_ms = 0
        self._hello_due_ms = 0
        self._hello_tries = 0
        self._hurry = False
        self._window = 1
        self._cursor = 1
        self._flights: "list[_Flight]" = []
        self._alarms: "list[int]" = []
        self._answers: "list[Any]" = []
        self._results: "list[Any]" = []
        self._silence = 0
        self._silence_due_ms = 0
        self._told = None
        # the backlog waits for the first anchor
        self._hold = False
        self._status_sent_ms = -1
        self._status_due_ms = 0
        self._status_tries = 0

    # An alarm was journalled: it goes ahead of the backlog.
    def urgent(self, seq: int) -> None:
        self._hurry = True
        if len(self._alarms) < _ALARMS_MAX:
            self._alarms.append(seq)

    # One frame off the wire. Never raises on its content.
    def receive(self, frame: bytes, now_ms: int) -> None:
        try:
            piv, plaintext, pending = self._rekey.open_(frame, self._nonce)
            if piv <= self._down_piv:
                raise ReplayError(reasons.REPLAYED)
            self._down_piv = piv
            message = messages.decode(cose.DOWN, plaintext)
            if pending and not isinstance(message, messages.Welcome):
                # a pending key becomes the key by a WELCOME, nothing before it counts
                raise AuthError(reasons.NO_SESSION)
        except GatelinkError as problem:
            self._reject(problem.reason)
            return
        if isinstance(message, messages.Ack):
            self._on_ack(message, now_ms)
        elif isinstance(message, messages.Welcome):
            self._on_welcome(message, now_ms, pending)
        elif isinstance(message, messages.Command):
            self._on_action(message, now_ms)
        elif isinstance(message, messages.Config) and message.kind == messages.REKEY:
            code, detail = self._rekey.take(message)
            self._answer(messages.Result(message.version, code, detail))
        elif self.on_update and isinstance(message, messages.Update):
            code, detail = self.on_update(message)
            self._answer(messages.Result(0, code, detail))
        else:
            number = message.version if isinstance(message, messages.Config) else 0
            self._answer(messages.Result(number, messages.NOT_YET, ""))

    # What has to go out now, as sealed frames.
    def poll(self, now_ms: int) -> "list[bytes]":
        out = []
        while self._answers:
            out.append(self._seal(self._answers.pop(0)))
        if self._rekey.due:
            self._rekey.begin()
            self._leave(now_ms)
        if self.online:
            self._expire(now_ms)
        if not self.online:
            if self._hurry and self._hello_tries:
                self._hello_due_ms = min(self._hello_due_ms, self._hello_sent_ms + _HELLO_MS)
            self._hurry = False
            if now_ms >= self._hello_due_ms:
                self._rekey.turn()
                out.append(self._seal(self._hello(now_ms)))
            return out
        self._hurry = False
        fresh = self._status_tries or now_ms - self._status_sent_ms < _FRESH_MS
        if self._clock.sleeper and not fresh and (self._alarms or self._ready()):
            # says first how much of the time until these events was slept
            self._status_due_ms = now_ms
        if now_ms >= self._status_due_ms:
            out.append(self._seal(self._status(now_ms)))
        for flight in self._flights:
            if now_ms >= flight.due_ms:
                self._send(flight, now_ms, out)
        self._flights = [flight for flight in self._flights if flight.last]
        self._send_alarms(now_ms, out)
        # one at a time: several at once would need as many times the memory, and a tap would wait for all
        if self._ready():
            flight = _Flight(self._cursor, self._journal.next_seq - 1)
            self._send(flight, now_ms, out)
            if flight.last:
                self._cursor = flight.last + 1
                self._flights.append(flight)
            else:
                # damaged up to the end: told as skipped in front of whatever comes next
                self._cursor = self._journal.next_seq
        return out

    # How long poll() has nothing to do unless something arrives or is journalled, in ms.
    def next_wake_ms(self, now_ms: int) -> int:
        if (
            self._answers
            or self._rekey.due
            or self._hurry
            or (self.online and (self._alarms or self._ready()))
        ):
            return 0
        due_ms = self._status_due_ms if self.online else self._hello_due_ms
        if self.online:
            for flight in self._flights:
                due_ms = min(due_ms, flight.due_ms)
        return max(0, due_ms - now_ms)

    def _seal(self, message: "Any") -> bytes:
        return cose.seal(self._keystore.keys, cose.UP, self._keystore.next_piv(), messages.encode(message))

    def _hello(self, now_ms: int) -> "Any":
        self._hello_due_ms = now_ms + self._pace.wait_ms(self._hello_tries, _HELLO_MS)
        self._hello_tries = min(self._hello_tries + 1, 8)
        self._hello_sent_ms = now_ms
        if self._hello_first_ms < 0:
            self._hello_first_ms = now_ms
        journal = self._journal
        return messages.Hello(
            messages.VERSION,
            self._boot,
            self._nonce,
            now_ms,
            self._role,
            self._firmware,
            journal.first_seq,
            journal.next_seq,
        )

    # Carries the anchor that the edge uses for the events that follow.
    def _status(self, now_ms: int) -> "Any":
        self._status_sent_ms = now_ms
        self._status_due_ms = now_ms + self._pace.wait_ms(self._status_tries)
        self._status_tries += 1
        self._told = self._clock.told()
        if self._told or self._status_tries > 1:
            self._hold = False
        seq, mac8 = self._journal.chain()
        refused = tuple(self._journal.refused)
        pending = self._journal.pending
        return messages.Status(now_ms, self._told, self._battery_mv(), pending, refused, seq, mac8)

    # Counts silences; too many mean that nobody is there, or nobody who knows this session.
    def _expire(self, now_ms: int) -> None:
        late = self._status_tries and now_ms >= self._status_due_ms
        for flight in self._flights:
            late = late or now_ms >= flight.due_ms
        # several frames that ran late together are one silence
        if late and now_ms >= self._silence_due_ms:
            self._silence_due_ms = now_ms + self._pace.rto_ms
            self._silence += 1
            if self._silence > _PATIENCE:
                self._leave(now_ms)

    # Says hello again.
    def _leave(self, now_ms: int) -> None:
        self.online = False
        self._flights = []
        self._hello_due_ms = now_ms
        self._hello_tries = 0

    # flight.last becomes 0 when the journal holds nothing of it any more.
    def _send(self, flight: _Flight, now_ms: int, out: "list[bytes]") -> None:
        built = batch.build(self._journal, flight.first, flight.last)
        if built is None:
            flight.last = 0
            return
        message, flight.last = built
        out.append(self._seal(message))
        flight.tries += 1
        flight.sent_ms = now_ms
        flight.due_ms = now_ms + self._pace.wait_ms(flight.tries)

    def _send_alarms(self, now_ms: int, out: "list[bytes]") -> None:
        for seq in self._alarms:
            if seq > self._cursor and len(self._flights) < _FLIGHTS_MAX and self._journal.read(seq):
                flight = _Flight(seq, seq, ahead=True)
                self._send(flight, now_ms, out)
                self._flights.append(flight)
        self._alarms = []

    # May the next batch of the backlog go? Alarms that went ahead of it don't count: only it can settle them.
    def _ready(self) -> bool:
        under_way = sum([not flight.ahead for flight in self._flights])
        return not self._hold and under_way < self._window and self._cursor < self._journal.next_seq

    def _on_welcome(self, welcome: "Any", now_ms: int, pending: bool) -> None:
        if not 0 <= self._hello_first_ms <= welcome.uptime_ms <= now_ms:
            self._reject(reasons.STALE)
            return
        journal = self._journal
        if welcome.acked_seq >= journal.next_seq:
            if welcome.acked_seq - journal.next_seq > _UNKNOWN_MAX:
                self._reject(reasons.BAD_FIELD)
                return
            journal.resume_after(welcome.acked_seq)
        self._rekey.settle(pending)
        if welcome.edge_ms is not None:
            if welcome.uptime_ms == self._hello_sent_ms:
                self._clock.contact(welcome.uptime_ms, now_ms, welcome.edge_ms, welcome.error_ms)
            elif self._clock.anchor is None:
                # a hello that lay somewhere for long: its anchor would be worthless, a status gets a better
                # one
                self._hold = True
        journal.trim(welcome.acked_seq)
        self._silence = 0
        if self.online:
            if self._hold:
                self._status_due_ms = now_ms
            return
        self.online = True
        self._window = min(welcome.window, _WINDOW_MAX)
        # an edge that lost its store gets again what is still held
        self._cursor = welcome.acked_seq + 1
        self._flights = []
        self._hello_tries = 0
        self._status_due_ms = now_ms
        self._status_tries = 0

    def _on_ack(self, ack: "Any", now_ms: int) -> None:
        if ack.acked_seq >= self._journal.next_seq:
            self._reject(reasons.BAD_FIELD)
            return
        self._silence = 0
        self._journal.trim(ack.acked_seq)
        if ack.clock:
            self._on_clock(ack.clock, now_ms)
        if not self.online:
            return
        self._cursor = max(self._cursor, ack.acked_seq + 1)
        # what lies between two gaps has arrived, and one event after the last; beyond that nothing is known
        known = ack.gaps[-1][1] + 1 if ack.gaps else ack.acked_seq
        overdue_ms = now_ms - self._pace.late_ms()
        rtt_ms = -1
        flights = []
        behind = False
        for flight in self._flights:
            missing = flight.last > known
            for first, last in ack.gaps:
                if flight.first <= last and flight.last >= first:
                    missing = True
                    if flight.sent_ms < overdue_ms:
                        flight.due_ms = now_ms
            if missing:
                flights.append(flight)
                behind = behind or not flight.ahead
            elif flight.tries == 0:
                rtt_ms = now_ms - flight.sent_ms
        self._flights = flights
        if rtt_ms >= 0:
            self._pace.sample(rtt_ms)
        if not behind and self._cursor > ack.acked_seq + 1:
            # nothing is under way and the edge still lacks something: go back to it
            self._cursor = ack.acked_seq + 1

    # clock: (uptime_ms of the STATUS it answers, edge_ms, error_ms)
    def _on_clock(self, clock: "Any", now_ms: int) -> None:
        if clock[0] != self._status_sent_ms or not self._status_tries:
            return
        if self._status_tries == 1:
            self._pace.sample(now_ms - clock[0])
        self._status_tries = 0
        self._status_due_ms = now_ms + STATUS_MS
        if clock[1] is None:
            # an edge that doesn't know the time: the events don't wait for it
            self._hold = False
            return
        self._clock.contact(clock[0], now_ms, clock[1], clock[2])
        told = self._told
        if told is None or told[2] > 2 * self._clock.anchor[2] + 10:
            # the first, or a much better one: worth telling at once
            self._status_due_ms = now_ms

    # A repeated command gets the first answer again; a late one, or one for later, never acts.
    def _on_action(self, command: "Any", now_ms: int) -> None:
        for result in self._results:
            if result.cmd_id == command.cmd_id:
                self._answer(result)
                return
        ahead_ms = command.deadline_ms - now_ms
        limit_ms = _AHEAD_MS if command.action in _MOVEMENTS else _OTHER_AHEAD_MS
        # noted before it acts: a command that kills its task is not tried again
        result = messages.Result(command.cmd_id, messages.FAILED, "")
        self._results = self._results[1 - _RESULTS_MAX :] + [result]
        if 0 <= ahead_ms <= limit_ms:
            code, detail = self._on_command(command.action, command.argument)
        else:
            code, detail = messages.STALE, ""
        result = messages.Result(command.cmd_id, code, detail)
        self._results[-1] = result
        self._answer(result)

    def _reject(self, reason: str) -> None:
        self.rejects[reason] = self.rejects.get(reason, 0) + 1

    def _answer(self, result: "Any") -> None:
        if len(self._answers) < _ANSWERS_MAX:
            self._answers.append(result)
