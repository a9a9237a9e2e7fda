"""Layer: one update of one device, sans-IO: what to send next, what an answer means. Event time in ms.

A chunk of the manifest is also the question how things stand; the device answers with the chunk that it misses first.
So nothing has to be remembered here: after any interruption the next question is where it goes on.
"""

from __future__ import annotations

from binascii import crc32
from collections import deque

from edge_agent.updates.release import Release
from gatelink.messages import DONE, FAILED, NOT_YET, Result, Update

CHUNK = 512  # the grid that devices keep chunks on
WINDOW = 2  # chunks that may be unanswered
MANIFEST = "manifest"
RTO_MS, RTO_MAX_MS = 2_000, 60_000
BUSY_MS = 1_000  # the device checks, or somebody is at it
READY_MS = 10_000  # it waits for a moment to restart
TRIAL_MS = 5_000
FAILED_MS = 60_000  # its file system gave up
MAX_FAILURES = 5
# so many times the chunks of the version, and it is given up: something is wrong with that flash
MAX_EFFORT = 10

SENDING = "sending"
FINAL = ("done", "refused", "rolled_back", "failed", "withdrawn")


class Sender:
    """state: SENDING or one of FINAL; phase: what is going on meanwhile; reason: the last thing the device refused."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.state = SENDING
        self.phase = "asking"
        self.reason = ""
        self.held = 0  # bytes that the device has, as far as known
        self.sent = 0  # chunks sent, those that got lost too
        self._names = sorted(release.files)
        self._limit = MAX_EFFORT * (release.size // CHUNK + len(self._names) + 20)
        self._name = ""
        self._queue: deque[int] = deque()
        self._flight: dict[tuple[str, int], tuple[int, int]] = {}  # -> sent_ms, CRC-32
        # The chunk with the signature: two versions never share it, and the device compares no other.
        self._asking = (len(release.signed) - 33) // CHUNK * CHUNK
        self._question = self._asking
        self._ask_ms = 0
        self._rto_ms = RTO_MS
        self._failures = 0

    def next(self, now_ms: int) -> Update | None:
        """The message that is due now, if any."""
        if self.state != SENDING:
            return None
        if any(now_ms - sent_ms > self._rto_ms for sent_ms, _ in self._flight.values()):
            self._rto_ms = min(self._rto_ms * 2, RTO_MAX_MS)
            self.phase = "no answer"
            self._ask(now_ms)
        if self._queue:
            if len(self._flight) >= WINDOW:
                return None
            return self._chunk(self._name, self.release.files[self._name], self._queue.popleft(), now_ms)
        if self._flight or now_ms < self._ask_ms:
            return None
        return self._chunk(MANIFEST, self.release.signed, self._question, now_ms)

    def unsent(self, now_ms: int) -> None:
        """The message that next() gave could not go out."""
        self.sent -= 1
        self._ask(now_ms + RTO_MS)

    def greeted(self, now_ms: int) -> None:
        """The device has started anew, or found its session again."""
        self._rto_ms = RTO_MS
        self._ask(now_ms)

    def answered(self, result: Result, now_ms: int) -> None:
        """RESULT of an UPDATE: code and "word name offset crc32"; see firmware/UPDATES.md."""
        if self.state != SENDING:
            return
        parts = result.detail.split(" ")
        if len(parts) != 4 or not parts[2].isdigit():
            self._stall("takes_no_updates", now_ms + FAILED_MS)
            return
        word, name, offset = parts[0], parts[1], int(parts[2])
        asked = (MANIFEST, self._question) if word == "want" else (name, offset)
        flight = self._flight.get(asked)
        if flight is None or parts[3] != f"{flight[1]:08x}":
            return  # late, or of another version
        sent_ms, _ = self._flight.pop(asked)
        self._rto_ms = min(max(RTO_MS, 4 * (now_ms - sent_ms)), RTO_MAX_MS)
        if word == "want":
            self._wanted(name, offset, now_ms)
        elif result.code == NOT_YET:
            self.phase = "checking" if name == MANIFEST else self.phase
            self._ask(now_ms + BUSY_MS)
        elif result.code == DONE:
            self._kept(name, offset, now_ms)
        elif result.code == FAILED:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                self._end("failed", word)
            else:
                self._stall(word, now_ms + FAILED_MS)
        elif word == "on_trial":
            self.phase = "on trial"
            self._ask(now_ms + TRIAL_MS)
        elif name != MANIFEST:
            self._stall(word, now_ms + BUSY_MS)
        elif word == "already_running":
            self._end("done", "")
        else:
            self._end("rolled_back" if word == "rolled_back" else "refused", word)

    def _ask(self, at_ms: int) -> None:
        self._queue.clear()
        self._flight.clear()
        self._question = self._asking
        self._ask_ms = at_ms

    def _stall(self, reason: str, until_ms: int) -> None:
        self.reason = reason
        self._ask(until_ms)

    def _end(self, state: str, reason: str) -> None:
        self.state = self.phase = state
        self.reason = reason
        self._ask(0)

    def _chunk(self, name: str, data: bytes, offset: int, now_ms: int) -> Update:
        chunk = data[offset : offset + CHUNK]
        self._flight[name, offset] = (now_ms, crc32(chunk))
        self.sent += 1
        return Update(name, len(data), offset, chunk)

    def _wanted(self, name: str, offset: int, now_ms: int) -> None:
        data = self.release.signed if name == MANIFEST else self.release.files.get(name)
        if data is None or offset % CHUNK or offset >= len(data):
            self._ask(now_ms + BUSY_MS)
            return
        if name == MANIFEST:
            self._question = offset
            self._ask_ms = now_ms
            return
        if self.sent > self._limit:
            self._end("failed", "does_not_come_to_an_end")
            return
        self.phase = "sending"
        self._name = name
        self._queue = deque(range(offset, len(data), CHUNK))
        before = self._names[: self._names.index(name)]
        self.held = sum(len(self.release.files[each]) for each in before) + offset

    def _kept(self, name: str, offset: int, now_ms: int) -> None:
        if name == MANIFEST:
            self.phase = "waiting to restart"
            self.held = self.release.size
            self._question = self._asking
            self._ask_ms = now_ms + READY_MS
            return
        self.held = min(self.held + min(CHUNK, len(self.release.files[name]) - offset), self.release.size)
        if not self._queue and not self._flight:
            self._ask(now_ms)
