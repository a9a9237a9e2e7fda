# Layer: a node on a polled bus (RS-485, half duplex): it drives the line in its turn and at no other time.
import asyncio

from node.node import Node

from .turns import Turns

try:
    from typing import Any
except ImportError:
    pass


class BusNode(Node):
    # the pin that makes the transceiver drive the line; set before run()
    drive: "Any" = None

    # The uplink is asked when it is polled.
    async def _transmit(self) -> None:
        pass

    async def _receive(self) -> None:
        turns = Turns(self.uplink._keystore.keys.device, self.uplink)
        self.decoder = turns.decoder
        while True:
            await self._rx.wait()
            waiting = self._uart.any()
            while waiting:
                turns.feed(self._uart.read(waiting), self.clock.uptime_ms())
                waiting = self._uart.any()
            reply = turns.reply(self.clock.uptime_ms())
            if reply:
                await self._speak(reply)
            self._notices()
            if self._wall:
                self._wall.contacted()

    async def _speak(self, reply: bytes) -> None:
        self.drive.value(1)
        try:
            # at once: the transmit buffer has room for a turn, and a turn has no pauses
            self._uart.write(reply)
            while not self._uart.txdone():
                await asyncio.sleep_ms(1)
        finally:
            self.drive.value(0)
        # what came in meanwhile is its own echo
        self._uart.read()
