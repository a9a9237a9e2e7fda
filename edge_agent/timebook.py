"""Layer: what is known of one device's clock, boot by boot; bounded, kept in the store; judged by timing.py."""

from __future__ import annotations

from edge_agent.timing import EVENT_GRAIN_MS, GRAIN_MS, UNKNOWN_MS, Anchor, Facts, Sleep, judge, slack

MAX_ANCHORS = 8
MAX_SLEEPS = 16
MAX_BOOTS = 8
NEAR_MS = 60_000
UNSURE, AWAKE, SLEEPER = 0, 1, 2


class _Boot:
    __slots__ = ("anchors", "contact", "kind", "last_lo_ms", "last_ms", "sleeps")

    def __init__(self) -> None:
        self.anchors: list[Anchor] = []
        self.sleeps: list[Sleep] = []
        self.kind = UNSURE
        # uptime, the edge's clock at reception, how far that may be off (-1: the edge didn't know the time)
        self.contact: tuple[int, int, int] | None = None
        self.last_lo_ms = 0
        self.last_ms = 0


class TimeBook:
    """Facts of one device. sleeps: it may sleep in boots of which it hasn't said otherwise."""

    def __init__(self, drift_ppm: int, *, sleeps: bool = False) -> None:
        self._drift_ppm = drift_ppm
        self._sleeps = sleeps
        self._boots: dict[int, _Boot] = {}
        self._facts: dict[int, Facts] = {}

    def _boot(self, boot: int) -> _Boot:
        found = self._boots.get(boot)
        if found is None:
            found = self._boots[boot] = _Boot()
            self._facts.clear()
            if len(self._boots) > MAX_BOOTS:
                oldest = min(self._boots)
                gone = self._boots.pop(oldest)
                heir = self._boots[min(self._boots)]
                # What an older boot proves holds for the next one, but not the other way round.
                heir.last_lo_ms = max(heir.last_lo_ms, gone.last_lo_ms)
        return found

    def anchor(self, boot: int, anchor: Anchor, slept: tuple[int, int, int] | None = None) -> None:
        """A statement of the device. slept: of one that sleeps: (ms until the anchor, ms until `at`, that uptime)."""
        book = self._boot(boot)
        if slept is not None:
            book.kind = SLEEPER
            self._slept(book, Sleep(anchor.uptime_ms, slept[0]))
            self._slept(book, Sleep(slept[2], slept[1]))
        elif book.kind == UNSURE:
            book.kind = AWAKE
        self.clock_chip(boot, anchor)

    def clock_chip(self, boot: int, anchor: Anchor, slept_ms: int | None = None) -> None:
        """An anchor out of a TIME event; slept_ms: how much was slept until then, if the device said so."""
        book = self._boot(boot)
        if slept_ms is not None:
            self._slept(book, Sleep(anchor.uptime_ms, slept_ms))
        if anchor in book.anchors:
            return
        book.anchors = _thinned(sorted([*book.anchors, anchor]), self._rate(book))
        self._facts.clear()
        self.reached(boot, anchor.uptime_ms)
        self.happened(boot, max(anchor.edge_ms - anchor.error_ms, 0))

    def _slept(self, book: _Boot, sleep: Sleep) -> None:
        if sleep in book.sleeps:
            return
        self._facts.clear()
        book.sleeps = sorted([*book.sleeps, sleep])
        if len(book.sleeps) > MAX_SLEEPS:
            inner = range(1, len(book.sleeps) - 1)
            del book.sleeps[min(inner, key=lambda i: _room(*book.sleeps[i - 1 : i + 2]))]

    def _rate(self, book: _Boot) -> float:
        return 0.05 if self._sleeper(book) else self._drift_ppm * 1e-6

    def _sleeper(self, book: _Boot) -> bool:
        return book.kind == SLEEPER or (book.kind == UNSURE and self._sleeps)

    def contact(self, boot: int, uptime_ms: int, received_ms: int, error_ms: int | None = 0) -> None:
        """A message that stated its uptime came in: that uptime was reached by then. error_ms None: time not known."""
        book = self._boot(boot)
        known = book.contact
        fresh = (uptime_ms, received_ms, -1 if error_ms is None else error_ms)
        self.reached(boot, uptime_ms)
        if (
            known is None
            or uptime_ms > known[0] + NEAR_MS
            or (known[2] < 0 <= fresh[2])
            or (received_ms - uptime_ms < known[1] - known[0] and (known[2] < 0) == (fresh[2] < 0))
        ):
            book.contact = fresh
            self._facts.clear()

    def anchored(self, boot: int) -> bool:
        """Is there an anchor of this boot?"""
        book = self._boots.get(boot)
        return book is not None and bool(book.anchors)

    def happened(self, boot: int, low_ms: int) -> None:
        """The device was surely running, in this boot, at low_ms or later."""
        book = self._boot(boot)
        if low_ms > book.last_lo_ms:
            book.last_lo_ms = low_ms
            if boot != max(self._boots):
                self._facts.clear()

    def reached(self, boot: int, uptime_ms: int) -> None:
        """The device was running, in this boot, at this uptime."""
        book = self._boot(boot)
        if uptime_ms > book.last_ms:
            book.last_ms = uptime_ms
            if boot != max(self._boots):
                self._facts.clear()

    def widen(self, by_ms: int) -> None:
        """The edge's clock was set by so much, and nobody knows when it was right."""
        for book in self._boots.values():
            book.anchors = [a._replace(error_ms=a.error_ms + by_ms) for a in book.anchors]
            book.contact = None
            book.last_lo_ms = max(book.last_lo_ms - by_ms, 0)
        self._facts.clear()

    def judge(self, boot: int, uptime_cs: int, latest_ms: int) -> tuple[int, int]:
        """An event's uptime (10 ms) -> (t_lo_ms, t_hi_ms); latest_ms: it was surely over by then."""
        facts = self._facts.get(boot)
        if facts is None:
            facts = self._facts[boot] = self._facts_of(boot)
        low, high = judge(uptime_cs * 10, facts, latest_ms)
        return low, min(high + EVENT_GRAIN_MS, latest_ms)

    def asleep(self, boot: int) -> bool:
        """Whether the device may have slept in this boot."""
        book = self._boots.get(boot)
        return self._sleeps if book is None else self._sleeper(book)

    def slack(self, boot: int, first_ms: int, last_ms: int) -> int:
        """How far the device's clock may have run off between two uptimes of a boot."""
        return slack(first_ms, last_ms, self._own(self._boot(boot)))

    def _facts_of(self, boot: int) -> Facts:
        book = self._boot(boot)
        floor = max((other.last_lo_ms for number, other in self._boots.items() if number < boot), default=0)
        starts = [
            judge(0, self._own(later), UNKNOWN_MS)[1]
            for number, later in self._boots.items()
            if number > boot
        ]
        end = min(starts, default=UNKNOWN_MS)
        return self._own(book)._replace(
            floor_ms=floor, ceiling=(book.last_ms, end + GRAIN_MS) if end < UNKNOWN_MS else None
        )

    def _own(self, book: _Boot) -> Facts:
        contact = book.contact
        over = (contact[0], contact[1] + contact[2] + GRAIN_MS) if contact and contact[2] >= 0 else None
        return Facts(book.anchors, self._drift_ppm, self._sleeper(book), book.sleeps, over)

    def uptime_at_least(self, boot: int, now_ms: int) -> int | None:
        """The least that the device's uptime is now, or None when nothing is known of this boot.

        By the wall clock since the last contact: too much where that was set forward while the time was not known.
        """
        book = self._boots.get(boot)
        if book is None or book.contact is None:
            return None
        passed = max(now_ms - book.contact[1], 0)
        rate = self._rate(book)
        return book.contact[0] + passed - int(passed * rate) - (1 if passed * rate else 0)

    def to_value(self) -> list[object]:
        """For the store; load() takes it back."""
        return [
            [
                number, [list(a) for a in b.anchors], list(b.contact) if b.contact else None, b.last_lo_ms, b.last_ms,
                b.kind, [list(s) for s in b.sleeps],
            ]
            for number, b in sorted(self._boots.items())
        ]  # fmt: skip

    def load(self, value: list[list[object]]) -> None:
        """Takes over what to_value() gave, also that of the first version, which knew neither sleep nor errors."""
        for number, anchors, contact, last_lo, *more in value:
            assert isinstance(number, int)
            assert isinstance(anchors, list)
            assert isinstance(last_lo, int)
            book = self._boot(number)
            book.anchors = [Anchor(*anchor) for anchor in anchors]
            if isinstance(contact, list):
                book.contact = (contact[0], contact[1], contact[2] if len(contact) > 2 else -1)
            book.last_lo_ms = max(book.last_lo_ms, last_lo)
            if more:
                last, kind, sleeps = more
                assert isinstance(last, int)
                assert isinstance(kind, int)
                assert isinstance(sleeps, list)
                book.last_ms, book.kind = last, kind
                book.sleeps = [Sleep(*sleep) for sleep in sleeps]
        self._facts.clear()


def _thinned(anchors: list[Anchor], rate: float) -> list[Anchor]:
    """At most MAX_ANCHORS, by uptime: that one goes whose place its neighbours cover best."""
    if len(anchors) > MAX_ANCHORS:

        def loss(i: int) -> float:
            here = anchors[i]
            best = min(
                near.error_ms + abs(here.uptime_ms - near.uptime_ms) * rate
                for near in (anchors[i - 1], anchors[i + 1])
            )
            return best - here.error_ms

        del anchors[min(range(1, len(anchors) - 1), key=loss)]
    return anchors


def _room(before: Sleep, here: Sleep, after: Sleep) -> int:
    """How uncertain the sum at `here` would be without it."""
    least = max(before.slept_ms, after.slept_ms - (after.uptime_ms - here.uptime_ms))
    most = min(after.slept_ms, before.slept_ms + here.uptime_ms - before.uptime_ms)
    return most - least
