"""Layer: what somebody with the control token orders: commands, new link keys, revocation, firmware."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edge_agent import own_events
from edge_agent.clock import Clock
from edge_agent.entries import Entry, Job, Own, Revoked
from edge_agent.link import Session
from edge_agent.logs import Log
from edge_agent.store import keys as key_store
from edge_agent.store.firmware import UpdateRow
from edge_agent.switchboard import Switchboard
from edge_agent.updates.courier import Courier
from edge_agent.updates.release import Release
from edge_agent.web.control import Control
from gatelink.messages import Result


class Orders:
    """Hands each order to the part that carries it out, and says so in the log."""

    def __init__(
        self, switchboard: Switchboard, submit: Callable[[Entry], None], clock: Clock, log: Log
    ) -> None:
        self._switchboard = switchboard
        self._submit = submit
        self._clock = clock
        self._log = log
        self._dropping: dict[int, asyncio.Future[None]] = {}  # keys that the store has not dropped yet

    def control(self, courier: Courier) -> Control:
        """For the HTTP server."""

        async def update(device: int, release: Release | None) -> None:
            if release is None:
                await courier.withdraw(device)
                self._log.info("update withdrawn", device=device)
            else:
                await courier.begin(device, release)
                self._log.info("update", device=device, version=release.about.ver, seq=release.about.seq)

        return Control(self.command, self.rotate, self.revoke, update)

    async def command(self, device: int, action: int, argument: object, within_ms: int) -> Result:
        """As Control.command."""
        result = await self._switchboard.sessions[device].command(action, argument, within_ms)
        self._log.info("command", device=device, action=action, code=result.code, cmd_id=result.cmd_id)
        return result

    async def rotate(self, device: int, within_ms: int) -> tuple[int, bool, str]:
        """As Control.rotate."""
        rotation = self._switchboard.sessions[device].rotation
        epoch, done = await rotation.rotate(within_ms)
        self._log.info("rotation", device=device, epoch=epoch, done=done, problem=rotation.problem)
        return epoch, done, rotation.problem

    async def revoke(self, device: int) -> None:
        """As Control.revoke; a device that is revoked already stays so. Whoever asks again waits for the disk, too."""
        dropping = self._dropping.get(device)
        if dropping is None and device not in self._switchboard.revoked:
            dropping = self.drop_key(self._switchboard.sessions[device])
        if dropping is not None:
            await asyncio.shield(dropping)  # who goes away does not end the others' waiting

    def drop_key(self, session: Session) -> asyncio.Future[None]:
        """Refuses the device from this moment on; the result is there when the store has dropped the key."""
        dropped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        now_ms = self._clock.now_ms()
        row = session.rotation.revoked(now_ms)
        self._switchboard.revoke(session.device)
        payload = own_events.own(own_events.REVOKED, session.device)
        own = Own(payload, self._clock.uptime_ms() // 10, now_ms, self._clock.error_ms)
        self._submit(
            Revoked(Job(lambda connection: key_store.save(connection, row), lambda: _finish(dropped)), own)
        )
        self._dropping[session.device] = dropped
        dropped.add_done_callback(lambda _: self._dropping.pop(session.device))
        self._log.warning("device revoked", device=session.device)
        return dropped

    def update_over(self, row: UpdateRow) -> None:
        """A device's update came to an end."""
        self._log.info("update over", device=row.device, state=row.state, reason=row.reason)


def _finish(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
