"""Layer: who may speak on a half-duplex bus, sans-IO: bytes and times in, bytes to send and the next time out.

Times are microseconds (_us) of a clock that never steps. What is on the line: protocol/README.md, "A polled bus".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from gatelink import bus, framing
from gatelink.errors import GatelinkError

REPLY_US = 200_000  # a reply begins within this
ARRIVAL_US = 20_000  # what a USB adapter and the system's buffers may add to it
TURNAROUND_US = 4_000  # who spoke last needs it to let go of the line
IDLE_US = 60_000  # a reply that pauses for longer is over
LIMIT = 600  # bytes of one turn: a full frame of events and a STATUS
SHORT_LIMIT = 200  # of one out of turn: alarms and answers, nothing of a backlog
BULK_US = 500_000  # line time that frames may take in a round; then devices are only asked what they have
CALM_US = 50_000  # a round takes so long at least: a quiet bus is not driven in circles
PROBE_US = 600_000  # between two looks for a silent device while others speak
BABBLE_US = 1_000_000  # nobody waits longer than this for somebody who speaks out of turn
OFFLINE_US = 8_000_000
JAM_S = 6  # of the last seconds in which nobody answered, but something was on the line
QUIET_US = 3_000_000  # a line with nothing on it for so long is quiet
MISSES = 2  # polls without an answer, one after the other, that make a device silent
SMALL = 128  # frames to devices up to this size (acks, commands) are not held up by BULK_US
GAP_BYTES = 600  # of frames to devices before one poll
MAX_WAITING = 16_384  # bytes of frames to devices that may wait; beyond, they are dropped
BITS = 10  # a byte on the line

BROKEN, LATE, UNASKED, BABBLE, ECHO = "broken", "late", "unasked", "babble", "echo"


class Station:
    """What is known of one device on the bus."""

    def __init__(self, device: int) -> None:
        self.device = device
        self.kid = device.to_bytes(4, "big")
        self.live = True  # hopeful: the first round asks everybody
        self.tell = True  # it is to say where it stands
        self.more = False
        self.misses = 0  # in a row
        self.unanswered = 0  # in all
        self.turns = 0
        self.grants = 0  # turns in which it could have sent frames
        self.granted_us = 0
        self.asked_us = 0
        self.heard_us: int | None = None


class _Turn:
    def __init__(
        self, station: Station, number: int, limit: int, *, extra: bool, now_us: int, sent_us: int
    ) -> None:
        self.station = station
        self.number = number
        self.limit = limit
        self.extra = extra  # beside the one that everybody has in a round
        self.begun_us = now_us
        self.end_us = sent_us + REPLY_US + ARRIVAL_US
        self.last_us = 0  # when it ends whatever comes; 0: nothing came yet
        self.said = False  # a frame of its device came


class Poller:
    """One line with its devices. The edge alone begins to speak, a device answers in its turn."""

    def __init__(self, devices: Sequence[int], baudrate: int, now_us: int) -> None:
        self.stations = [Station(device) for device in devices]
        self.paused = False  # nothing is taken in: devices are only asked whether they are there
        self.dropped = 0
        self.errors: dict[str, int] = {}  # since the caller cleared it
        self.due_us = now_us
        self._noise_us = now_us
        self._noise_s = 0  # seconds with something on the line since anybody answered or it was quiet
        self._by_kid = {station.kid: station for station in self.stations}
        self._byte_us = BITS * 1_000_000 / baudrate
        self._down: deque[tuple[bytes, bytes, bool]] = deque()  # frame, its block, urgent
        self._waiting = 0
        self._number = 0
        self._asked: deque[Station] = deque()  # who was sent something urgent and was not asked since
        self._alarms: deque[Station] = deque()
        self._ahead = False  # the last poll was out of turn
        self._crowded = False  # a round has no room for all that is to be said
        self.restart(now_us)

    def restart(self, now_us: int) -> None:
        """The line was opened anew: everybody is asked."""
        self._decoder = framing.Decoder()
        self.dropped += len(self._down)
        self._down.clear()
        self._waiting = 0
        self._asked.clear()
        self._echo = b""  # what an adapter that hears itself brings back first
        self._held = b""  # what looks like that so far
        self._turn: _Turn | None = None
        self._left: deque[Station] = deque()  # who is still to be asked in this round
        self._bulk_us = BULK_US
        self._round_us = now_us - CALM_US
        self._probe_us = self._free_us = self.due_us = now_us
        self._babble_us: int | None = None
        for station in self.stations:
            station.live = station.tell = True
            station.misses = 0

    def silent(self, device: int, now_us: int) -> bool:
        """Whether a device that answered before has not done so for 8 s."""
        station = self._by_kid.get(device.to_bytes(4, "big"))
        heard_us = station.heard_us if station is not None else None
        return heard_us is not None and now_us - heard_us > OFFLINE_US

    def jammed(self, now_us: int) -> bool:
        """Whether for 8 s nobody got through, though somebody did before, and the line was hardly ever quiet."""
        heard = [station.heard_us for station in self.stations if station.heard_us is not None]
        silent = bool(heard) and now_us - max(heard) > OFFLINE_US
        return silent and self._noise_s >= JAM_S and now_us - self._noise_us < QUIET_US

    def send(self, frame: bytes, *, urgent: bool = False) -> bool:
        """A frame to the device that it names. urgent: goes first, and its device is asked next. False: dropped."""
        block = framing.encode(frame)
        if self._waiting + len(block) > MAX_WAITING:
            self.dropped += 1
            return False
        if urgent:
            # It overtakes what is large; what was sealed before it is refused after it.
            kept = [d for d in self._down if d[0][8:12] != frame[8:12] or len(d[1]) <= SMALL]
            self.dropped += len(self._down) - len(kept)
            self._down = deque(kept)
            self._waiting = sum(len(d[1]) for d in kept)
        self._down.append((frame, block, urgent))
        self._waiting += len(block)
        if self._turn is None:
            self.due_us = self._free_us
        return True

    # What comes in.

    def feed(self, data: bytes, now_us: int) -> list[bytes]:
        """Bytes off the line -> the frames among them, whoever sent them."""
        if self._echo:
            data = self._without_echo(data)
            if not data:
                return []
        turn = self._turn
        spoken = bool(data.strip(b"\0"))  # lone zeros come from a line that turns round, too
        if spoken and now_us - self._noise_us >= 1_000_000:
            self._noise_s = self._noise_s + 1 if now_us - self._noise_us < QUIET_US else 1
            self._noise_us = now_us
        if turn is None:
            if spoken:
                self._disturbed(now_us)
        elif spoken:
            turn.last_us = turn.last_us or now_us + self._cost(turn.limit + 100) * 3 // 2 + IDLE_US
            turn.end_us = self.due_us = min(now_us + IDLE_US, turn.last_us)
        frames: list[bytes] = []
        for block in self._decoder.feed(data):
            if block[0] != bus.FRAME:
                self._mark(block, now_us)
            else:
                frames.append(block)
                if self._turn is None or not self._turn.extra:
                    self._bulk_us -= self._cost(len(block))
                if self._turn is not None and block[8:12] == self._turn.station.kid:
                    self._turn.said = True
                    self._turn.station.tell = False
        for reason, count in self._decoder.errors.items():
            self._count(reason, count)
        self._decoder.errors.clear()
        return frames

    def _without_echo(self, data: bytes) -> bytes:
        data = self._held + data
        if self._echo.startswith(data):
            self._held = data
            return b""
        if data.startswith(self._echo):
            self._count(ECHO)
            data = data[len(self._echo) :]
        self._echo = self._held = b""
        return data

    def _mark(self, block: bytes, now_us: int) -> None:
        try:
            kind, device, number, *rest = bus.decode(block)
        except GatelinkError as error:
            self._count(error.reason)
            return
        turn = self._turn
        if kind == bus.POLL:
            self._count(UNASKED)
        elif turn is None or (device, number) != (turn.station.device, turn.number):
            self._count(LATE)  # of a turn that is over; its frames count all the same
        else:
            self._answered(turn, rest[0], now_us)

    def _answered(self, turn: _Turn, state: int, now_us: int) -> None:
        station = turn.station
        if not station.live and not any(other.live for other in self.stations):
            # Everybody was silent: that was the line, so everybody may be back.
            for other in self.stations:
                other.live, other.misses = True, MISSES - 1
        self._noise_s = 0
        station.live = True
        station.misses = 0
        station.heard_us = now_us
        if turn.limit and not turn.said:
            # it had room and said nothing: its word is not taken again before the next round
            state &= 0 if turn.limit == LIMIT else bus.MORE
        station.more = bool(state)
        if state & bus.ALARM and station not in self._alarms:
            self._alarms.append(station)
        if turn.extra:
            self._bulk_us -= now_us - turn.begun_us + TURNAROUND_US
        self._turn = None
        self._free_us = self.due_us = now_us + TURNAROUND_US

    def _over(self, turn: _Turn, now_us: int) -> None:
        """A turn without its end."""
        station = turn.station
        if turn.last_us:
            self._count(BABBLE if now_us >= turn.last_us else BROKEN)
        if turn.said:
            self._answered(turn, bus.MORE, now_us)
            return
        if turn.extra:
            self._bulk_us -= now_us - turn.begun_us + TURNAROUND_US
        station.unanswered += 1
        station.misses += 1
        if station.misses >= MISSES:
            station.live = station.more = False
            station.tell = True
        self._turn = None
        self._free_us = now_us

    def _disturbed(self, now_us: int) -> None:
        """Somebody speaks who has no turn: the line is left to him, but not for ever."""
        if self._babble_us is None:
            self._babble_us = now_us
            self._count(UNASKED)
        if now_us - self._babble_us < BABBLE_US:
            self._free_us = self.due_us = max(self._free_us, now_us + IDLE_US // 3)

    # What goes out.

    def step(self, now_us: int) -> bytes:
        """What to send now, if anything. Call it again at due_us, and after feed() and send()."""
        turn = self._turn
        if turn is not None:
            if now_us < turn.end_us:
                self.due_us = turn.end_us
                return b""
            self._over(turn, now_us)
        if now_us < self._free_us:
            self.due_us = self._free_us
            return b""
        self._babble_us = None
        blocks = self._outgoing()
        station, limit, extra = self._next(now_us)
        if station is None and not blocks:
            # Where nobody stands in between, a second one out of turn keeps nobody waiting.
            self.due_us = now_us if self._asked else self._round_us + CALM_US
            return b""
        out = b"\0" + b"".join(blocks)
        self._echo, self._held = out, b""
        if station is None:
            self._free_us = self.due_us = now_us + self._cost(len(out)) + TURNAROUND_US
            return out
        self._number = (self._number + 1) & 0xFF
        out += framing.encode(bus.poll(station.device, self._number, limit, int(station.tell and limit > 0)))
        self._echo = out
        sent_us = now_us + self._cost(len(out))
        self._turn = _Turn(station, self._number, limit, extra=extra, now_us=now_us, sent_us=sent_us)
        self.due_us = self._turn.end_us
        station.asked_us = now_us
        station.turns += 1
        if station in self._asked:
            self._asked.remove(station)
        if limit:
            station.grants += 1
            station.granted_us = now_us
        return out

    def _outgoing(self) -> list[bytes]:
        """Blocks of frames that go before the next poll; notes whose answer is urgent."""
        urgent = [frame[8:12] for frame, _, urgent in self._down if urgent]
        blocks: list[bytes] = []
        size = 0
        held: set[bytes] = set()  # what is for one device keeps its order: it refuses what was sealed earlier
        left: deque[tuple[bytes, bytes, bool]] = deque()
        for each in sorted(self._down, key=lambda each: each[0][8:12] not in urgent):
            frame, block, _ = each
            kid = frame[8:12]
            large = len(block) > SMALL
            if kid in held or (large and self._bulk_us <= 0) or (size and size + len(block) > GAP_BYTES):
                held.add(kid)
                left.append(each)
                continue
            blocks.append(block)
            size += len(block)
        self._down = left
        self._waiting -= size
        self._bulk_us -= self._cost(size)
        for kid in urgent:
            station = self._by_kid.get(kid)
            if station is not None and kid not in held and station not in self._asked:
                self._asked.append(station)
        return blocks

    def _next(self, now_us: int) -> tuple[Station | None, int, bool]:
        """Who is polled next (None: nobody before the next round), how much it may say, whether that is an extra."""
        full = 0 if self.paused else LIMIT
        live = [station for station in self.stations if station.live]
        ahead, self._ahead = self._ahead, False
        if self._asked and not ahead:
            self._ahead = True
            return self._asked[0], min(full, SHORT_LIMIT), True
        while self._alarms and not ahead and full:
            station = self._alarms.popleft()
            if station.live:
                self._ahead = True
                return station, SHORT_LIMIT, True
        dead = [station for station in self.stations if not station.live]
        if dead and (not live or now_us >= self._probe_us):
            self._probe_us = now_us + PROBE_US
            return min(dead, key=lambda station: station.asked_us), full, False
        if not self._left:
            wanting = [station for station in live if station.more and full]
            if wanting and self._bulk_us > 0:
                return min(wanting, key=lambda station: station.granted_us), full, True
            self._crowded = bool(wanting)
            if not wanting and now_us < self._round_us + CALM_US:
                return None, 0, False
            self._round_us = now_us
            self._bulk_us = BULK_US
            self._left.extend(live)
        while self._left:
            station = self._left.popleft()
            if station.live:
                room = station.tell or (not self._crowded and self._bulk_us > 0)
                return station, full if room else 0, False
        return None, 0, False

    def _cost(self, size: int) -> int:
        return int(size * self._byte_us)

    def _count(self, reason: str, count: int = 1) -> None:
        self.errors[reason] = self.errors.get(reason, 0) + count

    def describe(self) -> list[dict[str, Any]]:
        """For the status: each device's turns and whether it answers."""
        return [
            {
                "device": station.device,
                "answers": station.live and station.heard_us is not None,
                "turns": station.turns,
                "grants": station.grants,
                "unanswered": station.unanswered,
            }
            for station in self.stations
        ]
