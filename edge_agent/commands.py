"""Layer: commands to one device: a deadline in its own uptime, sent again until answered or stale."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edge_agent.clock import Clock
from edge_agent.errors import CommandRefusedError
from gatelink.messages import Command, Result

MOVEMENT_MS = 2_000  # the longest that an open, close or stop may stay valid
MAX_PENDING = 16
MOVEMENTS = (1, 2, 3)  # open, close, stop
STALE = Result(0, 2, "no answer before the deadline")


class Commands:
    """Pending commands of one device. `send` gives a message to the device, `uptime` is the least its uptime is now."""

    def __init__(
        self,
        clock: Clock,
        retry_ms: int,
        send: Callable[[Command], bool],
        uptime: Callable[[int], int | None],
        new_id: Callable[[], int],
    ) -> None:
        self._clock = clock
        self._retry_s = clock.real_s(retry_ms)
        self._send = send
        self._uptime = uptime
        self._new_id = new_id
        self._pending: dict[int, tuple[asyncio.Future[Result], asyncio.Task[None]]] = {}

    async def issue(self, action: int, argument: object, within_ms: int) -> Result:
        """Sends until the device answers; STALE when the deadline passed without an answer.

        Raises CommandRefusedError when it can't be sent at all.
        """
        if action in MOVEMENTS:
            within_ms = min(within_ms, MOVEMENT_MS)
        if len(self._pending) >= MAX_PENDING:
            raise CommandRefusedError("too many commands wait for this device")
        # From a lower bound of the uptime, so that the deadline is not later than asked for; where the clock was set
        # meanwhile it may be, and the device, which has bounds of its own, says that it is stale.
        uptime_ms = self._uptime(self._clock.now_ms())
        if uptime_ms is None:
            raise CommandRefusedError("the device has not been heard since it started")
        command = Command(self._new_id(), action, uptime_ms + within_ms, argument)
        if not self._send(command):
            raise CommandRefusedError("the device has no session: wait for its hello")
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        again = asyncio.create_task(self._again(command, within_ms))
        self._pending[command.cmd_id] = (answer, again)
        try:
            async with asyncio.timeout(self._clock.real_s(within_ms) + self._retry_s):
                return await answer
        except TimeoutError:
            return Result(command.cmd_id, STALE.code, STALE.detail)
        finally:
            again.cancel()
            self._pending.pop(command.cmd_id, None)

    async def _again(self, command: Command, within_ms: int) -> None:
        end_s = self._clock.real_s(within_ms)
        passed_s = self._retry_s
        while passed_s < end_s:
            await asyncio.sleep(self._retry_s)
            self._send(command)
            passed_s += self._retry_s

    def answered(self, result: Result) -> None:
        """The device's result; one for a command that no longer waits is dropped."""
        waiting = self._pending.get(result.cmd_id)
        if waiting is not None and not waiting[0].done():
            waiting[0].set_result(result)
