"""Layer: one world out of one seed: a time with faults, then calm, and then everything must be there."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple
from unittest.mock import patch

from edge_agent import room, rotation
from edge_agent.link import Session
from edge_agent.own_events import CLOCK_STEP
from edge_agent.tests.simulation import faults
from edge_agent.tests.simulation.clock import LIFE, START_MS, VirtualLoop
from edge_agent.tests.simulation.device import Device
from edge_agent.tests.simulation.edge import Edge
from edge_agent.tests.simulation.line import CALM, Line
from edge_agent.tests.simulation.office import PROMPT_MS, Office
from edge_agent.tests.simulation.truth import Truth, Violation
from gatelink import cbor, cose, events, messages
from node import node

CALM_MS = 1_200_000  # so long after the last fault everything has arrived
# An alarm is at the office when nothing was wrong for so long and so many round trips: a hello of the device after at
# most 75 s, a request that hangs for 30 s, a pause of 20 s.
ALARM_MS, ALARM_TRIPS = 130_000, 6
LOOK_S = 5.0
ROOM_LOOK_S = 10.0


class Played(NamedTuple):
    """What came of one seed. violation: empty when all invariants held."""

    seed: int
    violation: str
    trace: str
    virtual_ms: float
    minted: int
    faults: Counter[str]
    checks: Counter[str]


class World:
    """See play()."""

    def __init__(self, seed: int, diary: list[str] | None = None) -> None:
        self.seed = seed
        self.rng = rng = random.Random(f"gatepost {seed}")
        self.loop = loop = VirtualLoop()
        self.count: Counter[str] = Counter()
        self._hash = sha256()
        self._diary = diary
        self.truth = Truth(self.trace, self.true_ms)
        self.devices: dict[int, Device] = {}
        self._problem = ""
        self._rough_ms = 0.0  # when something was wrong last
        # A thin way to the office: a backlog takes long.
        self.office_delay_ms = 20.0 if rng.random() < 0.8 else rng.uniform(1_000, 3_000)
        loop.set_exception_handler(self._died)
        self.length_ms = rng.choices(
            (rng.uniform(20_000, 110_000), rng.uniform(600_000, 3_000_000)), (39, 1)
        )[0]
        for number in range(7, 7 + rng.choices((1, 2, 3), (4, 4, 2))[0]):
            lot = random.Random(rng.getrandbits(64))
            line = Line(loop, lot, self.count, self.trace, serial=rng.random() < 0.5)
            role = rng.choice((messages.TAG_ROLE, messages.BARRIER_ROLE))
            device = Device(number, role, loop, lot, self.truth, line, self.count, self.trace)
            device.on_alarm = partial(self._alarm, device)
            self.devices[number] = device
        keys = {number: device.event_key for number, device in self.devices.items()}
        self.office = Office(
            loop, random.Random(rng.getrandbits(64)), self.truth, keys, self.count, self.trace, self.disturbed
        )
        self.office.way.delay_ms = self.office_delay_ms
        self.edge = Edge(
            loop, random.Random(rng.getrandbits(64)), self.truth, self.devices, self.office.way, self.count,
            self.trace, self.disturbed,
            queue_frames=rng.choice((16, 4_096)),
            window=rng.choice((1, 2, 8, 16)),
            offline_after_ms=60_000,
            clock_source=rng.choice(("system", "kernel")),
            office={
                "head_pause_s": rng.choice((5.0, 30.0, 60.0)),
                "timeout_s": rng.choice((2.0, 10.0, 30.0)) if self.office_delay_ms < 1_000 else 30.0,
                "backoff_max_ms": rng.choice((1_000, 5_000, 20_000)),
                "batch_rows": rng.choice((1, 3, 20, 500)) if self.office_delay_ms < 1_000 else 1,
                "in_flight": rng.choice((1, 2, 4)) if self.office_delay_ms < 1_000 else 1,
            },
        )  # fmt: skip

    # For the parts.

    def true_ms(self) -> float:
        """True time, ms since 1970."""
        return START_MS + self.loop.ms

    def trace(self, *what: Any) -> None:
        """One line of the diary."""
        line = f"{self.loop.ms:.3f} {' '.join(map(str, what))}"
        self._hash.update(line.encode())
        if self._diary is not None:
            self._diary.append(line)

    def as_edge(self, work: Coroutine[Any, Any, Any]) -> None:
        """Something that the running agent is asked for."""
        copy_context().run(self._as_edge, work)

    def _as_edge(self, work: Coroutine[Any, Any, Any]) -> None:
        LIFE.set(self.edge.life)
        self.loop.create_task(work)

    def disturbed(self) -> None:
        """Something was wrong just now."""
        self._rough_ms = self.loop.ms

    def _alarm(self, device: Device, seq: int) -> None:
        """A device has an alarm: it overtakes whatever waits."""
        self.count["alarms"] += 1
        self.loop.after_ms(self._alarm_ms, self._alarm_due, device, seq, self.loop.ms)

    @property
    def _alarm_ms(self) -> float:
        return ALARM_MS + ALARM_TRIPS * self.office_delay_ms * 2

    def _alarm_due(self, device: Device, seq: int, since_ms: float) -> None:
        if device.gone or seq in self.truth.office[device.number].seqs:
            return
        passed_ms = self.loop.ms - max(since_ms, self._rough_ms)
        if passed_ms >= self._alarm_ms:
            self.truth.wrong(f"alarm {seq} of device {device.number} waits for {passed_ms / 1000:.0f} s")
        self.loop.after_ms(self._alarm_ms - passed_ms + 1, self._alarm_due, device, seq, since_ms)

    def _look(self) -> None:
        """Is anything wrong just now?"""
        devices = self.devices.values()
        if not (self.edge.fine and self.office.fine and all(d.on and d.line.fine for d in devices)):
            self.disturbed()

    def _died(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Something raised and nobody took it. Of processes that have ended it does not matter."""
        if isinstance(context.get("future"), asyncio.Task):
            return  # its process had ended, or it is among the loop's failed ones
        handle = context.get("handle")
        life = handle._context.get(LIFE) if handle is not None else None
        if (life is None or not life.dead) and not self._problem:
            self._problem = f"{context.get('message')}: {context.get('exception')!r}"

    def _unseen(self) -> str:
        """The first exception of a task that nobody has looked at: whatever else went wrong may come of it."""
        for task in self.loop.failed:
            if task._log_traceback and not isinstance(error := task.exception(), Violation):  # type: ignore[attr-defined]
                return f"a task failed, and nobody looked at it: {error!r} in {task.get_coro().__qualname__}"
        return ""

    # The story.

    def play(self) -> Played:
        """From the first boot to the end."""
        loop = self.loop
        violation = ""
        try:
            loop.run_until_complete(self._story())
        except AssertionError as error:
            violation = f"{error}"
        finally:
            self._close()
        violation = self._unseen() or self.truth.violation or self._problem or violation
        self.count["clock step told"] = sum(cbor.loads(own[2])[0] == CLOCK_STEP for own in self.truth.own.values())
        minted = sum(len(each) for each in self.truth.minted.values())
        return Played(
            self.seed, violation, self._hash.hexdigest()[:16], loop.ms, minted, self.count, self.truth.checks
        )

    async def _story(self) -> None:
        loop, rng = self.loop, self.rng
        self.office.start()
        self.edge.start()
        for device in self.devices.values():
            loop.after_ms(rng.uniform(0, 5_000), device.power_on)
        for fault in faults.plan(rng, self.length_ms):
            loop.call_at(fault.at_ms / 1000, self._happen, fault)
        for _ in range(rng.choice((4, 8, 20))):
            loop.call_at(rng.uniform(1, self.length_ms) / 1000, self._mint, rng.choice((1, 1, 1, 2, 10)))
        await self._until(self.length_ms)
        self.calm()
        deadline_ms = self.length_ms + CALM_MS
        while (missing := self._missing()) and loop.ms < deadline_ms:
            await self._until(loop.ms + LOOK_S * 1000)
        if missing:
            self.truth.wrong(f"{CALM_MS / 1000:.0f} s after the last fault there wait: {'; '.join(missing)}")
        assert self.office.store is not None
        self.truth.office_opened(self.office.store._write)

    async def _until(self, ms: float) -> None:
        """Goes on until then, or until something is wrong."""
        while self.loop.ms < ms and not (self.truth.violation or self._problem):
            await asyncio.sleep(min(LOOK_S, (ms - self.loop.ms) / 1000 + 1e-6))
            self._look()
        assert not self.truth.violation, self.truth.violation
        assert not self._problem, self._problem

    def _happen(self, fault: faults.Fault) -> None:
        self.count[fault.kind] += 1
        self.trace("fault:", fault.kind, f"{fault.for_ms:.0f} ms")
        self.disturbed()
        self.loop.after_ms(fault.for_ms, self.disturbed)
        faults.KINDS[fault.kind][1](self, fault.for_ms)

    def _mint(self, many: int) -> None:
        rng = self.rng
        device = rng.choice(list(self.devices.values()))
        for _ in range(many):
            luck = rng.random()
            if luck < 0.06:
                device.mint(events.SOS, None)
            elif luck < 0.12:
                device.mint(events.FORCED)
            elif luck < 0.2:
                device.mint(events.HEARTBEAT, 3_700)
            elif luck < 0.4:
                device.mint(events.BARRIER, rng.randrange(6), rng.randrange(9), rng.getrandbits(20))
            else:
                device.mint(events.VISIT, rng.randbytes(rng.choice((4, 7))))

    def calm(self) -> None:
        """Every fault ends; what is off is switched on."""
        self.trace("calm")
        self.disturbed()
        edge, office = self.edge, self.office
        edge.disk.failing = office.disk.failing = ""
        edge.disk.crash_in = office.disk.crash_in = 0
        edge.right()
        faults._quick(self)
        way = office.way
        way.delay_ms, way.refusing, way.silent = self.office_delay_ms, False, False
        way.lost_requests = way.lost_receipts = way.again = 0.0
        office.after_commit_ms = PROMPT_MS
        edge.unplugged.clear()
        for device in self.devices.values():
            device.line.fate = CALM
            device.line.closed.clear()
            device.nor.cut = device.nvs.cut = None
            device.power_on()

    def _missing(self) -> list[str]:
        """What has not arrived where it should be."""
        gone = {number for number, device in self.devices.items() if device.gone}
        told = self.truth.missing(self.truth.office, gone)
        for number, device in self.devices.items():
            if number not in gone and (device.node is None or device.node.journal.pending):
                told.append(f"device {number} has not heard that all is stored")
        if self.edge.agent is None or self.office.store is None:
            told.append("a process")
        elif not told:
            last = {"alarm": 0, "normal": 0}
            for row in self.truth.rows:
                last["alarm" if row[9] == 2 else "normal"] = row[0]
            for lane, pos in last.items():
                cursor = self.truth.lanes.get(lane, (0, b""))[0]
                if cursor < pos:
                    told.append(f"lane {lane} stands at {cursor} of {pos}")
            keeper = self.edge.agent.keeper
            assert keeper is not None
            state = keeper.describe()
            if state["delivered_rows"] < state["signed_rows"]:
                told.append(f"the head of row {state['signed_rows']} is not delivered")
            if state["findings"]:
                self.truth.wrong(f"the office finds contradictions: {state['findings']}")
            # One that was revoked may have stated a chain value beyond events that nobody can send any more.
            told += [
                f"the chain of device {device} is not checked"
                for _, device in self.office.store.unchecked()
                if device not in gone
            ]
        return told

    def _close(self) -> None:
        for machine in (self.edge, self.office):
            machine.end(1e9, power=False)
        for device in self.devices.values():
            device.power_off()
        loop = self.loop
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        self.edge.disk.close()
        self.office.disk.close()


class _Watched(cose.ReplayWindow):
    """Tells the truth which frames are taken for fresh."""

    truth: Truth | None = None

    def accept(self, piv: int) -> None:
        super().accept(piv)
        if self.truth is not None:
            self.truth.accepts(piv)


def _leave(truth: Truth) -> Callable[..., None]:
    leave = Session._leave

    def left(self: Session, *arguments: Any) -> None:
        with truth.leaving():
            leave(self, *arguments)

    return left


class _Secrets:
    """What rotation draws keys from."""

    def __init__(self, rng: random.Random) -> None:
        self.token_bytes = rng.randbytes


@contextmanager
def simulated(world: World) -> Iterator[None]:
    """What the product takes from the machine at other places than its seams."""
    logging.disable(logging.CRITICAL)
    collecting = gc.isenabled()
    gc.disable()
    _Watched.truth = world.truth
    try:
        with (
            patch.object(cose, "ReplayWindow", _Watched),
            # A look a second would be half of what a world costs.
            patch.object(room, "LOOK_S", ROOM_LOOK_S),
            patch.object(rotation, "secrets", _Secrets(world.rng)),
            patch.object(Session, "_leave", _leave(world.truth)),
            patch.object(node, "print", lambda *_: None, create=True),  # what the device's console would say
        ):
            yield
    finally:
        _Watched.truth = None
        logging.disable(logging.NOTSET)
        if collecting:
            gc.enable()


def play(seed: int, diary: list[str] | None = None) -> Played:
    """One world from beginning to end. diary: gets every line of the trace."""
    world = World(seed, diary)
    with simulated(world):
        return world.play()
