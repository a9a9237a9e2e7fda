"""Layer: docks: device files that come and go; each one that turns up is a serial port for as long as it is there."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge_agent.transports.port import Address, Listener, Port
from edge_agent.transports.serial import SerialPort
from gatelink import cose
from gatelink.errors import FrameError

SCAN_S = 1.0
MAX_DOCKS = 32
MAX_LOOKED_AT = 1_000  # names that one pattern may bring
MAX_LABEL = 40


class Dock(SerialPort):
    """One device file that turned up. `stranger`: the last device number that was heard here and is not known."""

    kind = "dock"

    def __init__(self, path: str, baudrate: int, reconnect_max_s: float, listener: Listener) -> None:
        self.label = _label(path)
        super().__init__(self.label, path, baudrate, reconnect_max_s, listener)
        self.fault = ""  # why its line was lost or can't be opened
        self.problem = ""  # the same, once it is sure that the file is still there
        self.stranger: int | None = None


class Docks(Port):
    """All docks of some patterns. docking.py sets what it wants to hear and tell."""

    kind = "dock"

    def __init__(
        self,
        name: str,
        match: Sequence[str],
        baudrate: int,
        reconnect_max_s: float,
        listener: Listener,
        elsewhere: Sequence[str],
    ) -> None:
        """elsewhere: device files of other ports, which are left alone."""
        self.name = name
        self.where = ", ".join(match)
        self.up = False
        self.frames_in = self.frames_out = self.dropped_out = self.losses = 0
        self.docks: dict[str, Dock] = {}  # by the file behind all links
        self.empty: list[str] = []  # labels of docks that were there before, the latest first
        self.ignored = 0  # files beyond MAX_DOCKS
        self.known: Callable[[int], bool] = lambda _: True  # is this device provisioned here?
        self.on_look: Callable[[], None] = lambda: None
        self.on_heard: Callable[[Dock, int], None] = lambda *_: None
        self.on_lost: Callable[[Dock], None] = lambda _: None
        self.on_problem: Callable[[Dock], None] = lambda _: None
        self.tell: Callable[[], list[dict[str, Any]]] = list
        self._match = match
        self._baudrate = baudrate
        self._reconnect_max_s = reconnect_max_s
        self._elsewhere = elsewhere
        self._inner = Listener(self._frames, listener.refused, self._opened, self._lost)
        self._listener = listener
        self._paused = False
        self._gone = [0, 0, 0, 0]  # what docks that are gone had counted
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Looks for devices at once and then each second."""
        await self.scan()
        self.up = True
        self._listener.up(self, "looking for devices")
        self._task = asyncio.create_task(self._watch(), name=f"docks {self.name}")

    async def stop(self) -> None:
        """Closes all docks."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self.up = False
        for file in list(self.docks):
            await self._remove(file)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """For whoever watches that they live."""
        return [self._task] if self._task is not None else []

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(SCAN_S)
            await self.scan()
            self.on_look()

    async def scan(self) -> None:
        """Opens what is new, closes what is gone."""
        found = files(self._match, self._elsewhere)
        for file, dock in list(self.docks.items()):
            for task in dock.tasks:
                if task.done():
                    task.result()  # a defect: the agent must not go on without this port
            # The same file under a better name is opened anew, too: udev makes names one after the other.
            if file not in found or found[file] != dock.where:
                await self._remove(file)
        for dock in self.docks.values():
            if dock.fault and not dock.problem:
                dock.problem = dock.fault
                self.on_problem(dock)
        self.ignored = 0
        for file, path in found.items():
            if file in self.docks:
                continue
            if len(self.docks) >= MAX_DOCKS:
                self.ignored += 1
                continue
            dock = self.docks[file] = Dock(path, self._baudrate, self._reconnect_max_s, self._inner)
            self.empty = [label for label in self.empty if label != dock.label]
            if self._paused:
                dock.pause()
            await dock.start()
        sums = [sum(each) for each in zip(self._gone, *map(_counts, self.docks.values()), strict=True)]
        self.frames_in, self.frames_out, self.dropped_out, self.losses = sums

    async def _remove(self, file: str) -> None:
        dock = self.docks.pop(file)
        self._gone = [had + more for had, more in zip(self._gone, _counts(dock), strict=True)]
        self.empty = [dock.label, *(label for label in self.empty if label != dock.label)][:MAX_DOCKS]
        self.on_lost(dock)
        await dock.stop()

    def _frames(self, port: Port, address: Address, frames: list[bytes]) -> None:
        assert isinstance(port, Dock)
        self._listener.frames(port, address, frames)
        for frame in frames[-1:]:
            try:
                device, _ = cose.peek(frame)
            except FrameError:
                continue
            port.stranger = None if self.known(device) else device
            self.on_heard(port, device)

    def _opened(self, port: Port, _: str) -> None:
        assert isinstance(port, Dock)
        port.fault = port.problem = ""

    def _lost(self, port: Port, why: str) -> None:
        """Said once an outage by the dock. A device that was pulled is no problem: the next look tells."""
        assert isinstance(port, Dock)
        port.fault = why
        port.stranger = None
        self.on_lost(port)

    def send(self, _: Address, __: bytes, /, *, urgent: bool = False) -> None:
        """Nobody is heard here: devices are heard, and answered, at their dock."""

    def pause(self) -> None:
        """Reads from no dock."""
        self.on_look()  # the agent may be about to end
        self._paused = True
        for dock in self.docks.values():
            dock.pause()

    def resume(self) -> None:
        """Ends pause()."""
        self._paused = False
        for dock in self.docks.values():
            dock.resume()

    def describe(self) -> dict[str, Any]:
        """Each dock with the device in it."""
        return {"docks": self.tell(), "ignored": self.ignored}


def files(match: Sequence[str], elsewhere: Sequence[str]) -> dict[str, str]:
    """Device files that are there: real file -> the name it goes by, that of the first pattern that matches."""
    found: dict[str, str] = {}
    taken = {os.path.realpath(path) for path in elsewhere}
    for pattern in match:
        try:
            names = sorted(map(str, itertools.islice(Path("/").glob(pattern.lstrip("/")), MAX_LOOKED_AT)))
        except (FileNotFoundError, NotADirectoryError):
            continue  # the folder of links goes with its last device, in the middle of a look, too
        for path in names:
            file = os.path.realpath(path)
            # os.path: a link into a folder that may not be entered is not there, where Path raises
            if file not in taken and os.path.exists(file):  # noqa: PTH110
                found.setdefault(file, path)
    return found


def _counts(dock: Dock) -> tuple[int, int, int, int]:
    return dock.frames_in, dock.frames_out, dock.dropped_out, dock.losses


def _label(path: str) -> str:
    """The end of the name, which is what tells two adapters of one make apart."""
    name = Path(path).name.removeprefix("usb-")
    return name if len(name) <= MAX_LABEL else name[-MAX_LABEL:]
