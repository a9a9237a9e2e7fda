"""Layer: a virtual board as the test sees it: power, time, people and vehicles around it, its serial port."""

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hw_tests.virtual_board import nvs, wiring
from hw_tests.virtual_board.port import PtyPort
from hw_tests.virtual_board.process import BoardError, BoardOffError, BoardProcess

__all__ = ["BoardError", "BoardOffError", "VirtualBoard"]

CAUSES = {"power": 1, "reset": 2, "wdt": 3, "deepsleep": 4, "soft": 5}
_CONSOLE_KEPT = 256 * 1024


def stock_code() -> dict[str, Path]:
    """Where each package of the application stands on the host: {path on the board: folder}."""
    repo = wiring.REPO
    packages = [path for path in (repo / "firmware").iterdir() if (path / "__init__.py").exists()]
    return {f"/lib/{path.name}": path for path in [*sorted(packages), repo / "protocol" / "gatelink"]}


class VirtualBoard:
    """One board in `folder` (flash.bin, files/, port, console.log). role: "patrol_tag" or "barrier".

    Time: scaled (`speed` times the wall clock, counted from `started_ms`) or manual (only `advance` moves it).
    """

    def __init__(
        self,
        folder: Path | str,
        role: str,
        *,
        speed: float = 1.0,
        manual: bool = False,
        seed: int = 0,
        started_ms: float | None = None,
        main: Path | str | None = None,
        code: Mapping[str, Path] | None = None,
        board: str = "esp32_devkit",
        pins: Mapping[str, int] | None = None,
        plant: Mapping[str, Any] | None = None,
        ticks_start_ms: int = 0,
    ) -> None:
        """main: host file run as /main.py (default: as flashed, behind firmware/boot.py). code: {path: folder}.

        plant: travel_ms of the boom, battery_mv, rtc (a DS3231 is fitted), rtc_ppm.
        ticks_start_ms: what ticks_ms() reads at boot, to meet its wrap.
        """
        self.folder = Path(folder).resolve()
        self.files = self.folder / "files"
        self.files.mkdir(parents=True, exist_ok=True)
        self.flash_path = self.folder / "flash.bin"
        self.role = role
        self.speed = speed
        self.manual = manual
        self.started_ms = started_ms
        self.drop_down: Callable[[bytes], bool] | None = None  # frame without its delimiter -> True: lost
        self.console = bytearray()  # the last of what the program printed
        self.power_cycles = 0
        self.resets = 0
        self._main = Path(main) if main else None
        self._code = code
        self._pins = dict(wiring.load(role, board) if pins is None else pins)
        self._plant = dict(plant or {})
        self._ticks_start_ms = ticks_start_ms
        self._chip = wiring.chip(board)
        self._unique_id = (0x246F28000000 + seed).to_bytes(6, "big").hex()
        self._port = PtyPort(self.folder / "port", self._from_host)
        self._console_port = PtyPort(self.folder / "console", self._from_console)
        self._from_host_held = b""
        self._process: BoardProcess | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._started_monotonic_ms = 0.0
        self._now_us = 0.0
        self._target_us = 0.0
        self._powered_us = 0.0
        self._saved: dict[str, Any] = {}
        self._loops = {"safety": False, "approach": False}
        self._docked = True
        self._state: dict[str, Any] = {}
        self._restarted = asyncio.Condition()
        self._up = asyncio.Event()
        self._off = asyncio.Event()
        self._off.set()

    @property
    def port(self) -> str:
        """Path of the serial port for the edge; the same all the time."""
        return str(self._port.link)

    @property
    def powered(self) -> bool:
        return not self._off.is_set()

    def journal_image(self) -> bytes:
        """The journal partition as the flash holds it."""
        with self.flash_path.open("rb") as flash:
            flash.seek(nvs.JOURNAL_OFFSET)
            return flash.read(nvs.JOURNAL_SIZE)

    def provision(
        self, device: int, link_key: bytes, event_key: bytes, epoch: int, config: Mapping[str, Any]
    ) -> None:
        """Writes keys into NVS and /config.json; before the first power_on."""
        entries: nvs.Entries = {
            "gatepost": {
                "dev": nvs.signed(device),
                "link": link_key,
                "event": event_key,
                "epoch": epoch,
                "boot": 0,
            }
        }
        nvs.write(self.flash_path, entries)
        (self.files / "config.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")

    # Power

    async def start(self) -> None:
        """The port appears and the power comes on."""
        self._port.plug()
        now_ms = time.time() * 1000
        if self.started_ms is None:
            self.started_ms = now_ms
        self._started_monotonic_ms = time.monotonic() * 1000 - (now_ms - self.started_ms)
        await self.power_on()

    async def power_on(self) -> None:
        """Boots a fresh VM from what flash holds; returns when the application code begins."""
        if self.powered:
            return
        if not self.manual:
            passed_ms = time.monotonic() * 1000 - self._started_monotonic_ms
            self._now_us = max(self._now_us, passed_ms * 1000 * self.speed)
        self.power_cycles += 1
        self._off.clear()
        try:
            self._powered_us = self._now_us
            process = await self._boot("power", "")
        except BoardError:
            self._off.set()
            raise
        self._keeper = asyncio.create_task(self._keep(process))

    async def cut_power(self, *, hard: bool = False) -> None:
        """The power goes now. hard: SIGKILL, even in mid-instruction; the boom is then as at the last boot."""
        process = self._process
        if not self.powered or process is None:
            return
        if not hard:
            asked = asyncio.create_task(self._ask(process, "cut"))
            await asyncio.wait({asked}, timeout=2.0)
            asked.cancel()
        process.kill()
        await self._off.wait()

    async def cut_power_at(self, op: str, nth: int = 1, byte: int = 0, *, spared: int = 0xFF) -> None:
        """Arms a cut at the nth `op` from now ("program", "erase", "nvs", "file", "name"), after `byte` bytes.

        spared: the bits of the next byte that a program cut does not reach any more. Wait with `wait_off`.
        """
        await self._request("cut_at", kind=op, nth=nth, byte=byte, spared=spared)

    async def wait_off(self, timeout_s: float = 30.0) -> None:
        """Until an armed cut has struck. Raises TimeoutError."""
        await asyncio.wait_for(self._off.wait(), timeout_s)

    async def wait_resets(self, count: int, timeout_s: float = 30.0) -> None:
        """Until the program has reset the board `count` times in all. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._restarted:
            await self._restarted.wait_for(lambda: self.resets >= count)

    async def stop(self) -> None:
        """Power off, port away, process gone."""
        await self.cut_power()
        self._port.unplug()
        self._console_port.unplug()

    def unplug(self) -> None:
        """The serial port vanishes; the board keeps its power."""
        self._port.unplug()

    def plug(self) -> None:
        """The serial port is back, under the same path."""
        self._port.plug()

    def open_console(self) -> str:
        """Path of a serial port to UART 0, where the REPL is: for mpremote. It stays until stop()."""
        self._console_port.plug()
        return str(self._console_port.link)

    def close_console(self) -> None:
        """That port vanishes, as it does with a board that powers its own USB bridge."""
        self._console_port.unplug()

    # The world around it. In scaled time these return when it is over, in manual time at once.

    async def tap(self, uid: bytes, hold_ms: int = 400) -> None:
        """A card of 4, 7 or 10 bytes stays `hold_ms` in the field of the reader."""
        await self._request("tap", uid=uid.hex(), hold_ms=hold_ms)

    async def press(self, button: str, ms: int = 200) -> None:
        """button: the part after `button_` in the board's pin table: sos, open, close, stop."""
        await self._request("press", button=button, ms=ms)

    async def loop(self, name: str, occupied: bool) -> None:
        """name: safety or approach. It stays so through power cuts."""
        self._loops[name] = occupied
        if self.powered:
            await self._request("loop", name=name, occupied=occupied)

    async def present(self, credential: bytes, lane: str = "in") -> None:
        """Wiegand: 3 bytes are 26 bits, 4 bytes are 34. lane: in or out."""
        await self._request("present", credential=credential.hex(), lane=lane)

    async def wiegand(self, bits: Sequence[int], lane: str = "in") -> None:
        """Any bits, for wrong parity and wrong lengths."""
        await self._request("bits", bits=list(bits), lane=lane)

    async def vehicle(
        self,
        credential: bytes,
        approach_ms: int = 1500,
        pass_ms: int = 4000,
        *,
        lane: str = "in",
        patience_ms: int = 20_000,
    ) -> dict[str, Any]:
        """A vehicle comes, asks, passes or leaves: {"outcome": passed | turned_away | power_lost, "waited_ms"}."""
        try:
            answer: dict[str, Any] = await self._request(
                "vehicle", credential=credential.hex(), approach_ms=approach_ms, pass_ms=pass_ms, lane=lane,
                patience_ms=patience_ms,
            )  # fmt: skip
        except BoardOffError:
            return {"outcome": "power_lost", "waited_ms": 0}
        return answer

    async def battery(self, mv: int) -> None:
        await self._request("battery", mv=mv)

    async def force_boom(self, position: float) -> None:
        """Somebody moves the boom by hand: 0 closed .. 1 open."""
        await self._request("boom", position=position)

    async def block_boom(self, blocked: bool) -> None:
        """Something holds the boom (or lets go)."""
        await self._request("boom", blocked=blocked)

    async def reader_fault(self, fault: str | None) -> None:
        """Breaks the card reader: mute, garble or None."""
        await self._request("reader_fault", fault=fault)

    async def dock(self, docked: bool) -> None:
        """Into the charger, or out of it; a tag starts docked. The serial port is not touched."""
        self._docked = docked
        if self.powered:
            await self._request("dock", docked=docked)

    async def field(self) -> bool:
        """A phone's field at the reader; True when that woke a reader which slept."""
        return bool(await self._request("field"))

    async def pin(self, number: int, level: int | None = None) -> int:
        """Drives an input (when level is given) and returns the level at the pin."""
        arguments = {} if level is None else {"level": level}
        return int(await self._request("pin", number=number, **arguments))

    # Time

    async def advance(self, ms: float) -> float:
        """Manual time: runs `ms` of virtual time in order and lets the VM settle; returns the uptime in ms."""
        self._target_us = max(self._target_us, self._now_us) + ms * 1000
        while True:
            if not self.powered:
                self._now_us = max(self._now_us, self._target_us)
                return 0.0
            await self._up.wait()
            process = self._process
            assert process is not None
            try:
                uptime_ms = float(await process.request("advance_to", us=self._target_us))
            except BoardOffError:
                await process.gone.wait()
                await asyncio.sleep(0)  # the keeper goes first
                continue
            self._now_us = self._target_us
            return uptime_ms

    async def uptime_ms(self) -> float:
        """Virtual time since this boot."""
        return float(await self._request("uptime"))

    async def state(self) -> dict[str, Any]:
        """leds, relays, beeps, loops, boom, battery, program, flash and time; see README. The last one while off."""
        if not self.powered:
            return {**self._state, "powered": False}
        state: dict[str, Any] = await self._request("state")
        state.update(
            powered=True, port_lost=self._port.lost, power_cycles=self.power_cycles, resets=self.resets
        )
        self._state = state
        return state

    async def wait_program(self, timeout_s: float = 30.0) -> int:
        """Until main.py has ended; its exit code. Raises TimeoutError, BoardOffError."""
        await self._up.wait()
        assert self._process is not None
        return await asyncio.wait_for(asyncio.shield(self._process.ended), timeout_s)

    # Inside

    async def _request(self, op: str, **arguments: Any) -> Any:
        if not self.powered:
            raise BoardOffError(op)
        await self._up.wait()
        assert self._process is not None
        return await self._process.request(op, **arguments)

    @staticmethod
    async def _ask(process: BoardProcess, op: str) -> None:
        try:
            await process.request(op)
        except BoardOffError:
            return

    async def _boot(
        self, cause: str, rtc: str, *, raw_repl: bool = False, wake_reason: int = 0
    ) -> BoardProcess:
        code = stock_code() if self._code is None else self._code
        if self._main is None:
            self._flash_factory()
        main = str(self._main) if self._main else None
        settings = {
            "mode": "manual" if self.manual else "scaled",
            "speed": self.speed,
            "started_ms": self._started_monotonic_ms,
            "now_us": self._now_us,
            "flash": str(self.flash_path),
            "files": str(self.files),
            "wiring": self._pins,
            "plant": self._plant,
            "saved": {**self._saved, "loops": self._loops, "docked": self._docked},
            "cause": CAUSES[cause],
            "chip": self._chip,
            "wake_reason": wake_reason,
            "powered_us": self._powered_us,
            "rtc": rtc,
            "unique_id": self._unique_id,
            "ticks_start_ms": self._ticks_start_ms,
            "code": [{"point": point, "root": str(root)} for point, root in code.items()],
            "programs": [["boot.py", None], *([] if raw_repl else [["main.py", main]])],
            "raw_repl": raw_repl,
        }
        process = BoardProcess(self._to_host, self._print)
        self._process = process
        await process.start(settings, self.folder / "console.log")
        self._up.set()
        return process

    async def _keep(self, process: BoardProcess) -> None:
        """Follows the board from reset to reset until its power goes."""
        while True:
            await process.gone.wait()
            self._up.clear()
            last = process.dead or {"why": "power"}
            self._now_us = last.get("now_us", self._now_us)
            self._saved = last.get("saved", self._saved)
            if last["why"] == "power":
                self._up.set()
                self._off.set()
                return
            try:
                process = await self._boot(
                    last["why"],
                    last["rtc"],
                    raw_repl=last.get("raw_repl", False),
                    wake_reason=last.get("wake_reason", 0),
                )
            except BoardError:
                self._up.set()
                self._off.set()
                raise
            async with self._restarted:
                self.resets += 1
                self._restarted.notify_all()

    def _flash_factory(self) -> None:
        """What the factory writes over USB beside /lib: the boot selector and what starts the role."""
        shutil.copyfile(wiring.REPO / "firmware" / "boot.py", self.files / "boot.py")
        (self.files / "main.py").write_text(f'import boot\n\nboot.run("{self.role}.main")\n', encoding="utf-8")

    def _to_host(self, data: bytes) -> None:
        self._port.write(data)

    def _from_host(self, data: bytes) -> None:
        if self.drop_down is not None or self._from_host_held:
            data = self._filtered(data)
        if data and self.powered and self._process is not None:
            self._process.send(b"U", data)

    def _from_console(self, data: bytes) -> None:
        if self.powered and self._process is not None:
            self._process.send(b"R", data)

    def _filtered(self, data: bytes) -> bytes:
        *frames, self._from_host_held = (self._from_host_held + data).split(b"\x00")
        kept = [frame for frame in frames if self.drop_down is None or not self.drop_down(frame)]
        return b"".join(frame + b"\x00" for frame in kept)

    def _print(self, data: bytes) -> None:
        self._console_port.write(data)
        self.console += data
        del self.console[:-_CONSOLE_KEPT]
        with (self.folder / "console.log").open("ab") as log:
            log.write(data)
