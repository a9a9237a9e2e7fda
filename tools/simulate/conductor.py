"""Layer: plays the stimuli at the right moment of the scaled night, and keeps the evidence that it did."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable

from gatelink import events
from hw_tests.virtual_board.board import BoardOffError, VirtualBoard
from tools.simulate.errors import NightError
from tools.simulate.plan import Plan
from tools.simulate.processes import Child
from tools.simulate.proxy import LineProxy
from tools.simulate.report import Finding
from tools.simulate.scene import Pace, credential
from tools.simulate.schedule import Stimulus

# So many of the frames to a device get lost while its acks do.
LOSS = 0.7
CUT_DEADLINE_S = 10.0
# After a vehicle: until it is off the loop's holding time and the boom has come down.
BOOM_DOWN_MS = 8_000
# A machine that can't keep the pace at all ends the night instead of playing it for ever.
LATE_FACTOR = 1.5
LATE_S = 60.0
Say = Callable[[str, float], None]


class Conductor:
    """Plays one night on boards, edge and office that are already there."""

    def __init__(
        self,
        plan: Plan,
        pace: Pace,
        seed: int,
        boards: dict[int, VirtualBoard],
        edge: Child,
        proxy: LineProxy,
        say: Say,
    ) -> None:
        self._plan = plan
        self._pace = pace
        self._rng = random.Random(f"{seed}:losses")
        self._boards = boards
        self._edge = edge
        self._proxy = proxy
        self._say = say
        # A machine that was slow to set the scene begins the night late instead of skipping its beginning.
        self._late_ms = 0.0
        self._played: Counter[int] = Counter()
        self.faults: list[Finding] = []
        self.taps: dict[int, Counter[bytes]] = {device: Counter() for device in boards}
        # A second tap right after the first is no new visit, unless this machine was so busy that it came late.
        self.twice: dict[int, Counter[bytes]] = {device: Counter() for device in boards}
        self.presses: Counter[int] = Counter()
        self.vehicles: dict[int, Counter[str]] = {device: Counter() for device in boards}
        self.dropped: Counter[int] = Counter()
        self._lane_free_ms: dict[int, float] = {}

    def now_ms(self) -> float:
        """Where the night is: 0 at its beginning."""
        pace = self._pace
        shown = pace.epoch_ms + (time.time() * 1000 - pace.started_ms) * pace.speed
        return shown - self._plan.epoch_ms - self._late_ms

    async def until(self, at_ms: float) -> None:
        """Waits for a moment of the night; at once when it is over."""
        await asyncio.sleep(max(0.0, at_ms - self.now_ms()) / self._pace.speed / 1000)

    async def play(self, stimuli: tuple[Stimulus, ...]) -> None:
        """All stimuli; each device, each device's wire, and edge and office together have hands of their own."""
        self._late_ms = max(0.0, self.now_ms())
        deadline_s = self._plan.length_ms / 1000 / self._pace.speed * LATE_FACTOR + LATE_S
        try:
            async with asyncio.timeout(deadline_s):
                await self._play_all(stimuli)
        except TimeoutError:
            done = f"{sum(self._played.values())} of {len(stimuli)} stimuli played"
            last = ", ".join(f"{device} at {self._played[device]}" for device in self._boards)
            raise NightError(
                f"the night did not end within {deadline_s:.0f} s: {done} (devices: {last})"
            ) from None

    async def _play_all(self, stimuli: tuple[Stimulus, ...]) -> None:
        async with asyncio.TaskGroup() as hands:
            for device in (0, *self._boards):
                own = [stimulus for stimulus in stimuli if stimulus.device == device]
                wire = [stimulus for stimulus in own if stimulus.kind in ("acks_lost", "acks_back")]
                hands.create_task(self._hand(wire))
                hands.create_task(self._hand([stimulus for stimulus in own if stimulus not in wire]))
            hands.create_task(self.until(self._plan.length_ms))

    async def _hand(self, stimuli: list[Stimulus]) -> None:
        for stimulus in stimuli:
            await self.until(stimulus.at_ms)
            await getattr(self, f"_do_{stimulus.kind}")(stimulus)
            self._played[stimulus.device] += 1

    async def _do_tap(self, stimulus: Stimulus) -> None:
        await self._boards[stimulus.device].tap(stimulus.uid, stimulus.hold_ms)
        count = self.twice if stimulus.what == "double_tap" else self.taps
        count[stimulus.device][stimulus.uid] += 1
        if stimulus.what == "incident":
            self._say(f"incident on tag {stimulus.device}", self.now_ms())

    async def _do_sos(self, stimulus: Stimulus) -> None:
        self._say(f"SOS on tag {stimulus.device}", self.now_ms())
        await self._boards[stimulus.device].press("sos", stimulus.hold_ms)
        self.presses[stimulus.device] += 1

    async def _do_vehicle(self, stimulus: Stimulus) -> None:
        barrier = next(entry for entry in self._plan.barriers if entry.device == stimulus.device)
        # on a machine that is late, too, the next one drives up only when the boom is down again
        await self.until(self._lane_free_ms.get(stimulus.device, 0.0))
        answer = await self._boards[stimulus.device].vehicle(
            credential(stimulus.card), stimulus.hold_ms, stimulus.pass_ms, lane=barrier.direction
        )
        self.vehicles[stimulus.device][str(answer["outcome"])] += 1
        self._lane_free_ms[stimulus.device] = self.now_ms() + BOOM_DOWN_MS

    async def _do_office_down(self, _: Stimulus) -> None:
        self._proxy.refused = 0
        self._proxy.cut()
        self._say("the line to the office is cut", self.now_ms())

    async def _do_office_up(self, _: Stimulus) -> None:
        tries = self._proxy.refused + self._proxy.broken
        self._proxy.mend()
        self._say("the line to the office is back", self.now_ms())
        self.faults.append(
            Finding("office unreachable", tries > 0, f"{tries} connections broken or refused meanwhile")
        )

    async def _do_edge_kill(self, _: Stimulus) -> None:
        killed = await self._edge.kill()
        self._say("edge agent killed (SIGKILL)", self.now_ms())
        self.faults.append(
            Finding("edge killed", killed, "ended by SIGKILL" if killed else "it had ended already")
        )

    async def _do_edge_start(self, _: Stimulus) -> None:
        await self._edge.start()
        self._say("edge agent runs again", self.now_ms())

    async def _do_power_cut(self, stimulus: Stimulus) -> None:
        board = self._boards[stimulus.device]
        before = board.power_cycles
        await board.cut_power_at("program", 1, stimulus.card)
        with contextlib.suppress(BoardOffError):
            await board.tap(stimulus.uid, stimulus.hold_ms)
        try:
            await board.wait_off(CUT_DEADLINE_S)
        except TimeoutError:
            raise NightError(
                f"tag {stimulus.device} was tapped to be cut off while it writes, but never wrote"
            ) from None
        self._say(f"tag {stimulus.device} lost its power after byte {stimulus.card} of a slot", self.now_ms())
        self.faults.append(
            Finding(
                f"power cut of tag {stimulus.device} in mid-write",
                not board.powered,
                f"after {stimulus.card} of 64 bytes, in power cycle {before}",
            )
        )

    async def _do_power_on(self, stimulus: Stimulus) -> None:
        await self._boards[stimulus.device].power_on()
        self._say(f"tag {stimulus.device} has power again", self.now_ms())

    async def _do_acks_lost(self, stimulus: Stimulus) -> None:
        device = stimulus.device
        self.dropped[device] = 0

        def lost(_: bytes) -> bool:
            gone = self._rng.random() < LOSS
            self.dropped[device] += gone
            return gone

        self._boards[device].drop_down = lost
        self._say(f"frames to device {device} get lost", self.now_ms())

    async def _do_acks_back(self, stimulus: Stimulus) -> None:
        device = stimulus.device
        self._boards[device].drop_down = None
        count = self.dropped[device]
        self._say(f"frames to device {device} arrive again", self.now_ms())
        self.faults.append(Finding(f"acks to {device} lost", count > 0, f"{count} frames dropped"))


def promises(plan: Plan, conductor: Conductor, flash: dict[int, list[list[object]]]) -> list[Finding]:
    """Whether what people did is what the devices recorded: cards, calls, passages. flash: decoded events."""
    out = []
    for tag in plan.tags:
        kinds = (events.VISIT, events.SHIFT_START, events.SHIFT_END, events.INCIDENT)
        recorded = Counter(bytes(event[1]) for event in flash[tag.device] if event[0] in kinds)  # type: ignore[call-overload]  # a UID
        tapped, twice = conductor.taps[tag.device], conductor.twice[tag.device]
        out.append(
            Finding(
                f"cards tapped on tag {tag.device}",
                tapped <= recorded <= tapped + twice,
                f"{tapped.total()} tapped, {twice.total()} of them twice, {recorded.total()} recorded",
            )
        )
        calls = sum(event[0] == events.SOS for event in flash[tag.device])
        wanted = conductor.presses[tag.device]
        if wanted or calls:
            out.append(
                Finding(f"SOS on tag {tag.device}", calls == wanted, f"{wanted} pressed, {calls} recorded")
            )
    for barrier in plan.barriers:
        asked = sum(event[0] == events.ACCESS for event in flash[barrier.device])
        outcomes = conductor.vehicles[barrier.device]
        shown = ", ".join(
            f"{count} {outcome.replace('_', ' ')}" for outcome, count in sorted(outcomes.items())
        )
        out.append(
            Finding(
                f"vehicles at {barrier.device}",
                asked == outcomes.total(),
                f"{shown or 'none'}; {asked} recorded",
            )
        )
    return out
