"""Layer: when one device's events happened: what a session hears goes in, intervals and later, better ones come out."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from edge_agent.clock import Clock
from edge_agent.runs import Joined, cut, restated, split
from edge_agent.store.events import Run
from edge_agent.store.loose import Loose
from edge_agent.timebook import TimeBook
from edge_agent.timing import GRAIN_MS, UNKNOWN_MS, Anchor
from gatelink import events
from gatelink.errors import GatelinkError
from gatelink.messages import Status

RHO_PPM = 10  # with which the office works out the later events of a run
LOOSE_MS = 2_000  # wider than this is remembered
MAX_LOOSE = 512  # runs of a device that are remembered
KEPT_ANSWERS = 16


class Part(NamedTuple):
    """Some events of a run, from one on: all later ones follow from the first one's interval and RHO_PPM."""

    at: int
    size: int
    span_cs: int
    low: int
    high: int


class Moments:
    """One device. sleeps: it may sleep (a tag) unless it says otherwise."""

    def __init__(self, device: int, clock: Clock, drift_ppm: int, *, sleeps: bool) -> None:
        self._device = device
        self._clock = clock
        self._over_ppm = max(drift_ppm - RHO_PPM, 0)
        self.book = TimeBook(drift_ppm, sleeps=sleeps)
        self._said: deque[tuple[int, int]] = deque(maxlen=KEPT_ANSWERS)
        self._loose: dict[tuple[int, int], Loose] = {}

    def restore(self, loose: list[Loose]) -> None:
        """What was loose when the agent stopped."""
        self._loose = {(row.boot, row.first_seq): row for row in loose}

    def say(self) -> tuple[int | None, int]:
        """What a device may be told now: (edge_ms or None, error_ms)."""
        self._clock.look()
        error = self._clock.error_ms
        if error is None:
            return None, 0
        now_ms = self._clock.now_ms()
        self._said.append((now_ms, self._clock.stepped_ms))
        return now_ms, error + 1

    def stepped(self, by_ms: int) -> None:
        """The edge's clock was set while it was believed to be right."""
        self.book.widen(abs(by_ms))

    def contact(self, boot: int, uptime_ms: int, now_ms: int) -> None:
        """A message that stated its uptime."""
        self.book.contact(boot, uptime_ms, now_ms, self._clock.error_ms)

    def status(self, boot: int, status: Status, now_ms: int) -> None:
        """A STATUS: an uptime, and perhaps the device's anchor."""
        self.contact(boot, status.uptime_ms, now_ms)
        if status.anchor is None:
            return
        uptime_ms, edge_ms, error_ms, *slept = status.anchor
        # An answer of an earlier run of the agent is not among these: nothing was set since it started to look.
        then = next((stepped for said, stepped in self._said if said == edge_ms), 0)
        anchor = Anchor(uptime_ms, edge_ms, error_ms + self._clock.stepped_ms - then)
        self.book.anchor(boot, anchor, (slept[0], slept[1], status.uptime_ms) if slept else None)

    def latest_ms(self, now_ms: int) -> int:
        """What has arrived by now_ms was over by then."""
        error = self._clock.error_ms
        return UNKNOWN_MS if error is None else now_ms + error + GRAIN_MS

    def rows(self, joined: Joined, now_ms: int) -> list[tuple[Run, int, Loose | None]]:
        """A run that came in now -> its rows, nearly always one, each with the time before which its last event surely
        had not happened (0: not known), and what is to be stored of it because a later anchor may tighten it.
        """
        parts = self.of_run(joined, now_ms)
        run = joined.run(self._device, parts[0].low, parts[0].high, now_ms)
        runs = [run]
        if len(parts) > 1:
            extents = [(run[2] + part.at, run[2] + part.at + part.size - 1) for part in parts]
            runs = [
                (*piece[:5], part.low, part.high, *piece[7:])
                for part, piece in zip(parts, cut(run, extents), strict=True)
            ]
        found = []
        for part, timed in zip(parts, runs, strict=True):
            last_lo = part.low + part.span_cs * (10_000_000 - 10 * RHO_PPM) // 1_000_000 if part.low else 0
            self.book.happened(joined.boot, last_lo)
            found.append((timed, last_lo, self.note(joined.boot, timed[2], timed[4], part)))
        return found

    def of_run(self, run: Joined, now_ms: int) -> list[Part]:
        """A run that came in now -> its parts; nearly always one."""
        boot, uptime_cs, span_cs = run.boot, run.uptime_cs, run.span_cs
        book = self.book
        book.reached(boot, (uptime_cs + span_cs) * 10)
        if run.has_time:
            for since, payload in split(run.items):
                if payload[1] == events.TIME:
                    self._time(boot, uptime_cs + since, payload)
        latest = self.latest_ms(now_ms)
        if not span_cs or not book.asleep(boot):
            low, high = book.judge(boot, uptime_cs, latest)
            parts = [self._part(0, run.size, span_cs, low, high, self._over_ppm * span_cs // 100_000)]
        else:
            found = split(run.items)
            parts = _grouped([(since, *book.judge(boot, uptime_cs + since, latest)) for since, _ in found])
        return parts

    def _part(self, index: int, size: int, span_cs: int, low: int, high: int, extra: int) -> Part:
        if low:
            low = max(low - extra, 1)
        return Part(index, size, span_cs, low, min(high + extra, UNKNOWN_MS))

    def _time(self, boot: int, uptime_cs: int, payload: bytes) -> None:
        try:
            _, wall_ms, error_ms, *slept = events.decode(payload)
        except GatelinkError:
            return  # the office shows it as it is
        # The chip was set by this edge, who knows at which side of a step.
        anchor = Anchor(uptime_cs * 10, wall_ms, error_ms + self._clock.doubt_ms)
        self.book.clock_chip(boot, anchor, slept[0] if slept else None)

    def note(self, boot: int, first_seq: int, uptime_cs: int, part: Part) -> Loose | None:
        """Remembers a part that a later anchor may tighten; what is to be stored of it."""
        if (part.low and part.high - part.low <= LOOSE_MS) or len(self._loose) >= MAX_LOOSE:
            return None
        row = Loose(self._device, boot, first_seq, part.size, uptime_cs, part.span_cs, part.low, part.high)
        self._loose[boot, first_seq] = row
        return row

    def tightened(self, now_ms: int) -> tuple[list[Run], list[Loose], list[Loose]]:
        """What is known better by now: (rows for the log, what stays loose, what needs no further look)."""
        rows: list[Run] = []
        still: list[Loose] = []
        done: list[Loose] = []
        for row in list(self._loose.values()):
            low, high = self.book.judge(row.boot, row.uptime_cs, UNKNOWN_MS)
            first_ms = row.uptime_cs * 10
            extra = self.book.slack(row.boot, first_ms, first_ms + row.span_cs * 10) if row.span_cs else 0
            part = self._part(0, row.size, row.span_cs, low, high, extra)
            low, high = max(part.low, row.t_lo_ms), min(part.high, row.t_hi_ms)
            # Worth saying: a quarter less, or an end that was open before.
            if low > high or (high - low) * 4 > (row.t_hi_ms - row.t_lo_ms) * 3:
                continue
            rows.append(
                restated(row.device, row.boot, row.first_seq, row.size, row.uptime_cs, low, high, now_ms)
            )
            better = row._replace(t_lo_ms=low, t_hi_ms=high)
            if low and high - low <= LOOSE_MS:
                del self._loose[row.boot, row.first_seq]
                done.append(better)
            else:
                self._loose[row.boot, row.first_seq] = better
                still.append(better)
        return rows, still, done

    @property
    def any_loose(self) -> bool:
        """Whether a new anchor is worth a look."""
        return bool(self._loose)


def _grouped(judged: list[tuple[int, int, int]]) -> list[Part]:
    """(since_cs, low, high) of each event -> parts in which the first one's interval covers all, hardly widened."""
    parts: list[Part] = []
    start = 0
    low, high = judged[0][1:]
    for index in range(1, len(judged) + 1):
        if index < len(judged):
            since, low_i, high_i = judged[index]
            passed = (since - judged[start][0]) * 10
            drift = passed * RHO_PPM // 1_000_000
            lower = min(low, low_i - passed + drift) if low and low_i else 0
            upper = max(high, high_i - passed - drift) if high_i < UNKNOWN_MS else high_i
            alike = (low > 0) == (low_i > 0) and (high < UNKNOWN_MS) == (high_i < UNKNOWN_MS)
            room = max(judged[start][2] - judged[start][1], high_i - low_i)
            if alike and upper - lower <= room * 5 // 4 + 1_000:
                low, high = max(lower, 0), upper
                continue
        parts.append(Part(start, index - start, judged[index - 1][0] - judged[start][0], low, high))
        if index < len(judged):
            start = index
            low, high = judged[index][1:]
    return parts
