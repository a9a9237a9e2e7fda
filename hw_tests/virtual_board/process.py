"""Layer: one run of the Node process that is the board: frames over its pipes (see link.mjs), requests and replies."""

import asyncio
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hw_tests.virtual_board.node import HERE, check_packages, find_node

_HEAD = struct.Struct("<IB")
_MAX_FRAME = 64 * 1024 * 1024


class BoardOffError(RuntimeError):
    """The board has no power, or lost it before it could answer."""


class BoardError(RuntimeError):
    """The board refused a request of the test; or its process broke."""


class BoardProcess:
    """Runs until the board dies. `on_uart` and `on_console` get bytes."""

    def __init__(self, on_uart: Callable[[bytes], None], on_console: Callable[[bytes], None]) -> None:
        self._on_uart = on_uart
        self._on_console = on_console
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 0
        self._pump: asyncio.Task[None] | None = None
        self.dead: dict[str, Any] | None = None  # the board's last message, None after a plain SIGKILL
        self.booted = asyncio.Event()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()

    async def start(self, settings: dict[str, Any], errors: Path) -> None:
        """Boots a fresh VM; returns once the application code begins. Raises BoardError."""
        check_packages()
        with errors.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                find_node(), "--no-warnings", str(HERE / "board.mjs"), json.dumps(settings),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self._pump = asyncio.create_task(self._read())
        steps = [asyncio.create_task(event.wait()) for event in (self.booted, self.gone)]
        await asyncio.wait(steps, return_when=asyncio.FIRST_COMPLETED)
        for step in steps:
            step.cancel()
        if not self.booted.is_set() and self.dead is None:
            raise BoardError(f"the board's process did not start, see {errors}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def send(self, kind: bytes, payload: bytes) -> None:
        """One frame to the board; to a dead one it is lost."""
        if self.gone.is_set():
            return
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(_HEAD.pack(len(payload) + 1, kind[0]) + payload)

    async def request(self, op: str, **arguments: Any) -> Any:
        """Result of a control request. Raises BoardError (refused), BoardOffError (died before the answer)."""
        if self.gone.is_set():
            raise BoardOffError(op)
        self._next_id += 1
        identity = self._next_id
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[identity] = answer
        self.send(b"C", json.dumps({"id": identity, "op": op, **arguments}).encode())
        try:
            return await answer
        finally:
            self._waiting.pop(identity, None)

    def kill(self) -> None:
        """SIGKILL: the power goes this instant, whatever the board is doing."""
        if not self.gone.is_set() and self._process is not None:
            self._process.kill()

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        stream = self._process.stdout
        try:
            while True:
                length, kind = _HEAD.unpack(await stream.readexactly(_HEAD.size))
                if length > _MAX_FRAME:
                    raise BoardError("the board's process sends nonsense")
                self._take(kind, await stream.readexactly(length - 1))
        except asyncio.IncompleteReadError:
            await self._process.wait()
        finally:
            self._over()

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == ord("U"):
            self._on_uart(payload)
        elif kind == ord("R"):
            self._on_console(payload)
        else:
            self._message(json.loads(payload))

    def _message(self, message: dict[str, Any]) -> None:
        event = message.get("event")
        if event == "booted":
            self.booted.set()
        elif event == "ended":
            self.ended.set_result(message["code"])
        elif event == "dead":
            self.dead = message
        else:
            answer = self._waiting.get(message["id"])
            if answer is None or answer.done():
                return
            if "error" in message:
                answer.set_exception(BoardError(message["error"]))
            else:
                answer.set_result(message.get("result"))

    def _over(self) -> None:
        self.gone.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(BoardOffError("the power went before the answer"))
