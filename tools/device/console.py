"""Layer: the serial console of one device, as bytes: MicroPython's raw REPL through mpremote's own library."""

from __future__ import annotations

import ast
import base64
import contextlib
import hashlib
import io
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tools.errors import ToolError

# A reset board is back at its prompt after this, native USB included, which comes as a new port.
BACK_S = 20.0
_ABSENT_S = 2.0  # a port that is not there, and nobody has reset its board
_TRY_S = 1.5  # the first attempt; later ones wait longer
_CHUNK = 3072  # bytes of a file in one command: 4 KiB of text, which a device with 60 KB of free heap takes
_ASKED = 16  # files in one question

_HELPERS = """
import binascii, hashlib, os
def _gp_digest(path):
    h = hashlib.sha256()
    buf = memoryview(bytearray(512))
    try:
        with open(path, 'rb') as f:
            while True:
                n = f.readinto(buf)
                if not n: break
                h.update(buf[:n])
    except OSError:
        return ''
    return binascii.hexlify(h.digest()).decode()
def _gp_put(path, mode, data, digest):
    new = path + '.new'
    with open(new, mode) as f:
        f.write(binascii.a2b_base64(data))
    if digest:
        if _gp_digest(new) != digest:
            os.remove(new)
            raise OSError('written and read back differ: ' + path)
        os.rename(new, path)
        if hasattr(os, 'sync'): os.sync()
def _gp_walk(folder):
    for name, kind, *_ in os.ilistdir(folder):
        path = folder + ('' if folder[-1] == '/' else '/') + name
        if kind == 0x4000:
            yield from _gp_walk(path)
        else:
            yield path
def _gp_drop(path):
    try: os.remove(path)
    except OSError: pass
"""

T = TypeVar("T")


class DeviceError(ToolError):
    """What ran on the device ended in an error there; `traceback` is the device's own text."""

    def __init__(self, port: str, traceback: str) -> None:
        self.traceback = traceback
        super().__init__(f"{port}: {(traceback.strip().splitlines() or ['?'])[-1]}")


class Console:
    """One connection. Opening it ends the program that runs: the device is at its raw REPL until `restart`.

    Every method raises ToolError when the port fails or the device does not answer as MicroPython does.
    """

    def __init__(self, port: str | Path, baudrate: int = 115200) -> None:
        self.port = str(port)
        self._baudrate = baudrate
        self._transport: Any = None

    def __enter__(self) -> Console:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, within_s: float = BACK_S, *, fresh: bool = True) -> None:
        """Ctrl-C, soft reset (unless not `fresh`), raw REPL; for `within_s`, as the board may be just starting."""
        begun = time.monotonic()
        deadline = begun + within_s
        patience_s = _TRY_S
        while True:
            try:
                self._enter(fresh, patience_s)
                break
            except ToolError:
                self.close()
                if fresh and not self._exists():
                    deadline = min(deadline, begun + _ABSENT_S)
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)  # a native USB port is not there yet
            patience_s *= 2
        self.run(_HELPERS)

    def _exists(self) -> bool:
        return not self.port.startswith("/") or Path(self.port).exists()

    def _enter(self, fresh: bool, patience_s: float) -> None:
        mpremote = _mpremote()

        def enter() -> None:
            self._transport = mpremote.SerialTransport(self.port, self._baudrate, timeout=10)
            # mpremote prints what it did not expect
            with contextlib.redirect_stdout(io.StringIO()):
                self._transport.enter_raw_repl(fresh, timeout_overall=patience_s)

        self._guarded(enter)

    def close(self) -> None:
        """Leaves the device at its prompt, and the port to others."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        with contextlib.suppress(OSError):
            if transport.in_raw_repl:
                transport.exit_raw_repl()
            transport.close()

    def run(self, code: str, timeout_s: float = 20.0) -> str:
        """What the code prints. Raises DeviceError with the device's traceback; timeout_s: longest silence."""
        if self._transport is None:
            raise ToolError(f"{self.port}: not open")
        out, failed = self._guarded(lambda: self._transport.exec_raw(code, timeout=timeout_s))
        if failed:
            raise DeviceError(self.port, failed.decode(errors="replace"))
        return bytes(out).decode(errors="replace").replace("\r\n", "\n")

    def value(self, expression: str, timeout_s: float = 20.0) -> Any:
        """A Python literal that the expression's repr is."""
        printed = self.run(f"print(repr({expression}))", timeout_s)
        try:
            return ast.literal_eval(printed.strip())
        except (SyntaxError, ValueError) as error:
            raise ToolError(f"{self.port}: {printed.strip()[:80]!r} is no answer to {expression}") from error

    # Files

    def same(self, files: Mapping[str, bytes]) -> set[str]:
        """Those of the files that the device has already, byte by byte."""
        held: list[str] = []
        names = list(files)
        for at in range(0, len(names), _ASKED):
            held += self.value(f"[_gp_digest(p) for p in {names[at : at + _ASKED]!r}]")
        return {name for name, digest in zip(names, held, strict=True) if digest == _digest(files[name])}

    def put(self, path: str, data: bytes) -> None:
        """Writes a file: the whole new one or the old one is there, whatever happens."""
        digest = _digest(data)
        for at in range(0, max(1, len(data)), _CHUNK):
            last = digest if at + _CHUNK >= len(data) else ""
            text = base64.b64encode(data[at : at + _CHUNK])
            self.run(f"_gp_put({path!r}, {'ab' if at else 'wb'!r}, {text!r}, {last!r})")

    def get(self, path: str) -> bytes:
        """The bytes of a file. Raises DeviceError when there is none."""
        return bytes(self._guarded(lambda: self._transport.fs_readfile(path)))

    def make_folder(self, path: str) -> None:
        """With its parents; one that is there is fine."""
        parts = path.strip("/").split("/")
        for length in range(1, len(parts) + 1):
            folder = "/" + "/".join(parts[:length])
            self.run(f"try: os.mkdir({folder!r})\nexcept OSError as e:\n if e.errno != 17: raise")

    def walk(self, folder: str) -> list[str]:
        """Every file below a folder; none for a folder that is not there."""
        code = f"try:\n print(list(_gp_walk({folder!r})))\nexcept OSError as e:\n if e.errno != 2: raise\n print([])"
        return list(ast.literal_eval(self.run(code)))

    def remove(self, path: str) -> None:
        """A file, if it is there."""
        self.run(f"_gp_drop({path!r})")

    # Power

    def restart(self) -> None:
        """Hard reset (machine.reset()); the program starts and the connection is closed."""
        # the device is gone before it can answer
        self._leave("import machine\nmachine.reset()")
        self.close()

    def restart_to_prompt(self, code: str = "import machine\nmachine.reset()", within_s: float = BACK_S) -> None:
        """A reset of a board without a program, by `code`; open again, without a soft reset: the cause can be read.

        Raises ToolError when there is no prompt in time.
        """
        self._leave(code)
        transport = self._transport
        try:
            transport.read_until(1, b">>> ", timeout=within_s, timeout_overall=within_s)
        except OSError:
            time.sleep(0.2)  # native USB: the port went with the board
        self.close()
        self.open(within_s, fresh=False)

    def _leave(self, code: str) -> None:
        transport = self._transport
        if transport is None:
            raise ToolError(f"{self.port}: not open")
        self._guarded(lambda: transport.exec_raw_no_follow(code))
        transport.in_raw_repl = False

    def _guarded(self, do: Callable[[], T]) -> T:
        transport = _mpremote()
        try:
            return do()
        except transport.TransportExecError as error:
            raise DeviceError(self.port, error.error_output) from error
        except (transport.TransportError, OSError, struct.error) as error:
            raise ToolError(f"{self.port}: no MicroPython prompt there ({error})") from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _mpremote() -> Any:
    """mpremote's transport. Raises ToolError when it is not installed."""
    try:
        from mpremote import transport_serial
    except ImportError as error:
        raise ToolError(
            "mpremote is needed to talk to a device: run this from a checkout of the sources after make setup, or"
            " pip install 'gatepost[device]'; the Debian package has none"
        ) from error
    return transport_serial
