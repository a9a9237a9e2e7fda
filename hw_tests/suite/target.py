"""Layer: what the suite talks to: a target is bytes on a console; what stands around it is said by name."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hw_tests.virtual_board import micropython
from tools.device import install
from tools.device.console import Console

# capability -> why a target lacks it, for people
WHAT = {
    "console": "a serial console with a raw REPL",
    "chip": "machine, esp32 and cryptolib",
    "scratch": "a board whose keys and journal may be overwritten (--with scratch)",
    "uart_jumper": "a jumper from UART 1's TX to its RX (--with uart_jumper)",
    "pin_jumpers": "jumpers from outputs to inputs (--with pin_jumpers)",
    "reader": "a PN532 on the reader's UART (--with reader)",
    "hands": "somebody who holds a card to the reader when asked (--with hands, and pytest -s)",
    "uplink": "a second serial port at UART 1, for an edge (--uplink PORT)",
    "power": "a power supply that the test can cut at a chosen byte",
    "processor": "a processor whose time is real",
}
ON_REQUEST = ("scratch", "uart_jumper", "pin_jumpers", "reader", "hands")


class Target:
    """A board (or an interpreter) of one role. `lacks(name)` is "" or the sentence why not."""

    name = ""
    can: frozenset[str] = frozenset()

    def __init__(self, board: str, role: str) -> None:
        self.board = board
        self.role = role

    def lacks(self, what: str) -> str:
        """"" when the target can do it."""
        return "" if what in self.can else f"{self.name} has not {WHAT[what]}"

    def run(self, code: str, timeout_s: float = 30.0) -> str:
        """What a program prints. Raises ToolError (DeviceError: with its traceback)."""
        raise NotImplementedError

    def install(self) -> None:
        """The role's files, without the program that starts by itself."""
        raise NotImplementedError

    def put_all(self, files: dict[str, bytes]) -> None:
        """Files with their folders."""
        raise NotImplementedError

    def close(self) -> None:
        pass


class SerialTarget(Target):
    """A board behind a serial console: this class does not know whether there is silicon."""

    def __init__(self, port: str, board: str, role: str, extra: frozenset[str], uplink: str | None) -> None:
        super().__init__(board, role)
        self.name = self.name or port
        self.port = port
        self.uplink_port = uplink or ""
        self.can = frozenset({"console", "chip", "processor"}) | extra | ({"uplink"} if uplink else set())
        self._console: Console | None = None

    @property
    def console(self) -> Console:
        """The open raw REPL."""
        if self._console is None:
            self._console = Console(self.port)
            self._console.open()
        return self._console

    def run(self, code: str, timeout_s: float = 30.0) -> str:
        return self.console.run(code, timeout_s)

    def value(self, expression: str) -> Any:
        return self.console.value(expression)

    def install(self) -> None:
        install.install(self.console, self.role, self.board, program=False)

    def put_all(self, files: dict[str, bytes]) -> None:
        console = self.console
        for folder in sorted({path.rpartition("/")[0] for path in files} - {""}):
            console.make_folder(folder)
        there = console.same(files)
        for path, data in files.items():
            if path not in there:
                console.put(path, data)

    def free(self) -> None:
        """The port is left to another program."""
        if self._console is not None:
            self._console.close()
            self._console = None

    def close(self) -> None:
        self.free()

    # What hands do on a real bench.

    @contextmanager
    def uart_jumper(self) -> Iterator[None]:
        """UART 1 hears itself inside."""
        yield

    def hold_card(self) -> str:
        """Asks for a card; its UID in hex, "" when any will do."""
        print(f"\n>>> {self.name}: hold a card to the reader within 20 seconds", flush=True)
        return ""


class NativeTarget(Target):
    """A MicroPython interpreter on this computer: GATEPOST_MICROPYTHON. Each run is a process of its own."""

    name = "native"

    def __init__(self, board: str, role: str) -> None:
        super().__init__(board, role)
        self._folder = tempfile.TemporaryDirectory()
        self._root = Path(self._folder.name)
        if not os.environ.get("GATEPOST_MICROPYTHON"):
            raise ValueError("--target native needs GATEPOST_MICROPYTHON=/path/to/micropython")

    def run(self, code: str, timeout_s: float = 30.0) -> str:
        script = self._root / "run.py"
        script.write_text(code, encoding="utf-8")
        exit_code, output = micropython.run(script, [self._root / "lib", self._root], timeout_s=timeout_s)
        assert exit_code == 0, output[-4000:]
        return output

    def install(self) -> None:
        self.put_all(install.role_files(self.role, self.board))

    def put_all(self, files: dict[str, bytes]) -> None:
        for path, data in files.items():
            file = self._root / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)

    def close(self) -> None:
        self._folder.cleanup()
