"""Random lives of a device and an edge, played on the real clocks of both: is the true time in every interval stated?

Real parts: node.clock, node.wall and drivers.ds3231 (on a model of the chip), edge_agent's Clock, Moments and all below
it, and the office's rule for the later events of a run. Played: true time, drift, radio, power, people.
"""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from typing import Any, NamedTuple

from edge_agent.clock import Clock as EdgeClock
from edge_agent.discipline import KERNEL, SYSTEM
from edge_agent.moments import Moments
from edge_agent.runs import Joined, survey
from edge_agent.store.loose import Loose
from edge_agent.timing import UNKNOWN_MS
from gatelink import events
from gatelink.messages import Events, Status
from tools import device_code
from tools.office.items import after

device_code.use()

from drivers.ds3231 import Ds3231  # noqa: E402 - device code

from firmware.tests.ds3231_chip import Chip  # noqa: E402
from node.clock import Clock, kept  # noqa: E402
from node.wall import Wall  # noqa: E402

START_MS = 1_790_000_000_000
ERROR_MS = 50
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
VISIT = events.encode(events.VISIT, b"\x04\x01\x02\x03")


class Scene(NamedTuple):
    """What may happen in a history."""

    name: str
    sleeps: bool = False
    chip: bool = False
    reboots: bool = False
    days: bool = False  # offline for days
    source: str = SYSTEM
    steps: bool = False
    late: bool = False  # the edge doesn't know the time at first


SCENES = (
    Scene("barrier, online"),
    Scene("barrier, offline for days", days=True),
    Scene("barrier, reboots", days=True, reboots=True),
    Scene("barrier, reboots, clock chip", days=True, reboots=True, chip=True),
    Scene("tag, sleeps", sleeps=True, days=True),
    Scene("tag, sleeps, reboots", sleeps=True, days=True, reboots=True),
    Scene("tag, sleeps, reboots, clock chip", sleeps=True, days=True, reboots=True, chip=True),
    Scene("edge without time at first", reboots=True, source=KERNEL, late=True),
    Scene("edge set wrong and right again (kernel)", reboots=True, days=True, source=KERNEL, steps=True),
    Scene("edge set both ways (vouched for)", reboots=True, days=True, steps=True),
    Scene(
        "everything at once",
        sleeps=True,
        chip=True,
        reboots=True,
        days=True,
        source=KERNEL,
        steps=True,
        late=True,
    ),
)


class Minted(NamedTuple):
    """One event of the device's journal, with the truth."""

    seq: int
    boot: int
    uptime_cs: int
    payload: bytes
    true_ms: float


class History:
    """One life. violations: (seq, true ms, low, high) of statements that were wrong."""

    def __init__(self, seed: int, scene: Scene) -> None:
        self.rng = random.Random(seed)
        self.scene = scene
        self.true_ms = float(START_MS)
        self.violations: list[tuple[int, float, int, int]] = []
        self.statements = 0
        self.first: dict[int, tuple[int, int]] = {}
        self.best: dict[int, tuple[int, int]] = {}
        self.journal: list[Minted] = []
        self.held: set[int] = set()
        self.acked = 0
        rng = self.rng
        # the device
        self.ppm = rng.uniform(-10, 10)
        self.ticks = rng.choice((0.0, 2.0**30 - rng.uniform(0, 5e4), rng.uniform(0, 2.0**30)))
        self.slow = 0.0
        self.boot = 0
        self.chip = Chip(lambda: self.true_ms, rng.uniform(-3.5, 3.5)) if scene.chip else None
        # the edge
        self.off_ms = rng.uniform(-ERROR_MS, ERROR_MS)
        self.wrong_ms = 0.0
        self.synced = True
        if scene.late:
            self.synced = False
            self.wrong_ms = rng.choice(
                (-START_MS + 1e6, rng.uniform(-1, 1) * 400 * DAY_MS, rng.uniform(-1, 1) * HOUR_MS)
            )
        self.loose: dict[tuple[int, int], Loose] = {}
        self.start_edge(None)
        self.start_device()

    # The edge.

    def start_edge(self, book: list[Any] | None) -> None:
        self.edge = EdgeClock(
            wall=lambda: int(self.true_ms + self.off_ms + self.wrong_ms),
            steady=lambda: int(self.true_ms - START_MS),
            synced=lambda: self.synced,
        )
        self.edge.watch(ERROR_MS, self.scene.source)
        self.edge.on_step = self.noticed
        self.seen_steps_ms = 0
        self.moments = Moments(7, self.edge, 10, sleeps=self.scene.sleeps)
        if book is not None:
            self.moments.book.load(book)
            self.moments.restore(list(self.loose.values()))

    def noticed(self, _: int) -> None:
        stepped = self.edge.stepped_ms - self.seen_steps_ms
        self.seen_steps_ms += stepped
        if stepped:
            self.moments.stepped(stepped)

    def edge_life(self) -> None:
        """What people, NTP and power do to the edge."""
        rng, scene = self.rng, self.scene
        if scene.late and not self.synced and rng.random() < 0.3:
            self.synced, self.wrong_ms = True, 0.0
        elif scene.steps and rng.random() < 0.25:
            if self.wrong_ms and rng.random() < 0.6:
                self.wrong_ms = 0.0
                self.synced = True
            else:
                self.wrong_ms += rng.choice((-1, 1)) * 10 ** rng.uniform(2.1, 7.5)
                self.synced = False
        elif rng.random() < 0.1 and (scene.source == KERNEL or not self.wrong_ms):
            self.start_edge(self.moments.book.to_value())
        self.edge.look()

    def state(self, first_seq: int, size: int, uptime_cs: int, low: int, high: int, boot: int) -> None:
        """Somebody says when events happened: holds it against the truth."""
        for minted in self.journal[first_seq - 1 : first_seq - 1 + size]:
            assert minted.boot == boot
            low_ms, high_ms = after(low, high, minted.uptime_cs - uptime_cs)
            self.statements += 1
            if not low_ms <= minted.true_ms <= high_ms:
                self.violations.append((minted.seq, minted.true_ms, low_ms, high_ms))
            before = self.best.get(minted.seq)
            if before is None:
                self.first[minted.seq] = self.best[minted.seq] = (low_ms, high_ms)
            else:
                self.best[minted.seq] = (max(low_ms, before[0]), min(high_ms, before[1]))

    def tighten(self) -> None:
        rows, still, done = self.moments.tightened(self.edge.now_ms())
        for row in rows:
            self.state(row[2], row[9], row[4], row[5], row[6], row[1])
        for kept_row in still:
            self.loose[kept_row.boot, kept_row.first_seq] = kept_row
        for gone in done:
            self.loose.pop((gone.boot, gone.first_seq), None)

    def take(self, run: list[Minted]) -> None:
        """EVENTS arrives."""
        self.edge.look()
        items = events.join([m.uptime_cs for m in run], [m.payload for m in run])
        message = Events(run[0].seq, run[0].boot, run[0].uptime_cs, items, None, 0, None)
        joined = Joined(message, survey(items), grows=False)
        for part in self.moments.of_run(joined, self.edge.now_ms()):
            head = run[part.at]
            if part.low:
                self.moments.book.happened(head.boot, part.low)
            if head.seq not in self.held:
                self.state(head.seq, part.size, head.uptime_cs, part.low, part.high, head.boot)
            row = self.moments.note(head.boot, head.seq, head.uptime_cs, part)
            if row is not None:
                self.loose[row.boot, row.first_seq] = row
        self.held.update(m.seq for m in run)
        if joined.has_time:
            self.tighten()

    # The device.

    def start_device(self) -> None:
        self.boot += 1
        self.ticks = self.rng.choice((0.0, 2.0**30 - self.rng.uniform(0, 5e4)))
        self.clock = Clock(lambda: int(self.ticks) % 2**30, self.scene.sleeps)
        self.begin()
        self.mint(events.encode(events.BOOT, 1, "sim"))
        if self.wall:
            self.wall.state()

    def begin(self) -> None:
        self.greeted = False
        self.wall = None
        if self.chip:
            self.wall = Wall(Ds3231(self.chip, self.clock.uptime_ms), self.clock, self.note, 2)

    def note(self, kind: int, *fields: Any) -> bool:
        self.mint(events.encode(kind, *fields))
        return True

    def mint(self, payload: bytes) -> None:
        cs = self.clock.uptime_ms() // 10
        self.journal.append(Minted(len(self.journal) + 1, self.boot, cs, payload, self.true_ms))

    def record(self) -> None:
        if self.wall:
            self.wall.before_event()
        self.mint(VISIT)

    def wait(self, ms: float) -> None:
        """Awake."""
        while ms > 0:
            step = min(ms, 5 * DAY_MS)
            self.true_ms += step
            self.ticks += step * (1 + self.ppm * 1e-6)
            self.slow += step
            self.clock.uptime_ms()  # the heartbeat
            ms -= step

    def light_sleep(self, ms: float) -> None:
        ms = min(ms, 5 * DAY_MS)
        before = self.clock.uptime_ms()
        self.true_ms += ms
        self.ticks += ms * (1 + self.rng.uniform(-0.05, 0.05))
        self.slow += ms
        self.clock.slept(self.clock.uptime_ms() - before)

    def deep_sleep(self, ms: float) -> None:
        data = self.clock.keep(self.boot, int(self.slow))
        self.true_ms += ms
        self.slow += ms * (1 + self.rng.uniform(-0.05, 0.05))
        found = kept(data if self.rng.random() < 0.9 else bytes(36), int(self.slow))
        if found is None:
            self.start_device()
            return
        self.ticks = float(self.rng.randrange(2**30))
        self.clock = Clock(lambda: int(self.ticks) % 2**30, True, found[1], found[2])
        self.begin()
        if self.wall:
            self.wall.state()

    # Between them.

    def latency(self) -> float:
        return 10 ** self.rng.uniform(0, 3.5 if self.rng.random() < 0.1 else 2)

    def ask(self, lost: float) -> tuple[int, Any] | None:
        """A question that states its uptime and the edge's answer; None when either was lost."""
        sent_ms = self.clock.uptime_ms()
        told = self.clock.told()
        self.wait(self.latency())
        self.edge.look()
        status = Status(sent_ms, told, None, 0, (0, 0, 0), 0, bytes(8))
        if self.rng.random() >= lost:
            if self.greeted:
                self.moments.status(self.boot, status, self.edge.now_ms())
            else:
                self.moments.contact(self.boot, sent_ms, self.edge.now_ms())
            self.tighten()
            answer = self.moments.say()
            self.wait(self.latency())
            if self.rng.random() >= lost:
                self.greeted = True
                return sent_ms, answer
        return None

    def contact(self) -> None:
        rng = self.rng
        lost = rng.choice((0.0, 0.0, 0.3))
        if rng.random() < 0.2 and self.greeted:
            self.take([rng.choice(self.journal)])  # an alarm ahead of everything
        for _ in range(rng.randrange(2, 5)):
            found = self.ask(lost)
            if found is not None and found[1][0] is not None:
                self.clock.contact(found[0], self.clock.uptime_ms(), *found[1])
                if self.wall:
                    self.wall.contacted()
        if not self.greeted:
            return
        at = self.acked
        while at < len(self.journal):
            run = [self.journal[at]]
            limit = rng.randrange(1, 65)
            for minted in self.journal[at + 1 : at + limit]:
                if minted.boot != run[0].boot or minted.seq in self.held:
                    break
                run.append(minted)
            at += len(run)
            self.wait(self.latency())
            if rng.random() < lost:
                break
            if run[0].seq not in self.held or rng.random() < 0.1:
                self.take(run)
        if rng.random() > lost:
            while self.acked + 1 in self.held:
                self.acked += 1
        if rng.random() < 0.5:
            self.ask(lost)

    def play(self) -> History:
        rng, scene = self.rng, self.scene
        longest = 6.5 if scene.days else 5.0
        for _ in range(rng.randrange(5, 12)):
            self.edge_life()
            span = 10 ** rng.uniform(2, longest) * (
                rng.uniform(1, 90) if rng.random() < 0.15 and scene.days else 1
            )
            dice = rng.random()
            if scene.sleeps and dice < 0.35:
                self.light_sleep(span)
            elif scene.sleeps and dice < 0.5:
                self.deep_sleep(span)
            elif scene.reboots and dice > 0.85:
                self.true_ms += span
                if self.chip and rng.random() < 0.1:
                    self.chip.lose()
                self.start_device()
            else:
                self.wait(span)
            for _ in range(rng.randrange(0, 4)):
                self.record()
                self.wait(10 ** rng.uniform(0, 5))
            if rng.random() < (0.4 if scene.days else 0.7):
                self.contact()
        if not self.synced and scene.source == KERNEL:
            self.synced, self.wrong_ms = True, 0.0
        for _ in range(3):
            self.contact()
        return self


def play(count: int, seed: int = 1) -> tuple[dict[str, list[History]], int]:
    """`count` histories, the scenes in turn -> by scene; and how many statements were wrong."""
    found: dict[str, list[History]] = defaultdict(list)
    wrong = 0
    for index in range(count):
        scene = SCENES[index % len(SCENES)]
        history = History(seed * 1_000_003 + index, scene).play()
        wrong += len(history.violations)
        found[scene.name].append(history)
    return found, wrong


def widths(histories: list[History], which: str) -> list[int]:
    """Widths in ms, sorted, of what was said "first" or is known "best"; open ends count as UNKNOWN_MS."""
    return sorted(
        high - low if low and high < UNKNOWN_MS else UNKNOWN_MS
        for history in histories
        for low, high in getattr(history, which).values()
    )


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    found, wrong = play(count, seed)
    statements = sum(h.statements for each in found.values() for h in each)
    print(f"{count} histories, {statements} statements, {wrong} wrong")
    for name, histories in found.items():
        line = f"{name:42}"
        for which in ("first", "best"):
            all_of = widths(histories, which)
            closed = [w for w in all_of if w < UNKNOWN_MS]
            if closed:
                line += f" {which}: median {closed[len(closed) // 2]:>9,} p90 {closed[len(closed) * 9 // 10]:>11,} ms,"
            line += f" open {100 * (len(all_of) - len(closed)) / max(len(all_of), 1):4.1f} %;"
        print(line)
        for history in histories:
            if history.violations:
                print("  wrong:", history.violations[:3])
                break
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
