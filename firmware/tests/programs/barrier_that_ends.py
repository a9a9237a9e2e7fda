# The barrier as it is flashed, and its end while the motor runs; /end.txt says which one.
import asyncio

import boot
import machine

from node.node import Node

with open("/end.txt") as source:
    end = source.read()
whole = Node.run


async def run(self):
    alive = asyncio.create_task(whole(self))
    await asyncio.sleep_ms(3000)
    if end == "reset":
        machine.reset()
    elif end == "exception":
        raise RuntimeError("end")
    elif end == "interrupt":
        raise KeyboardInterrupt
    elif end == "hang":
        while True:
            machine.Pin(0).value()
    await alive


# only the first life ends like that
try:
    open("/ended").close()
except OSError:
    open("/ended", "w").close()
    Node.run = run
boot.run("barrier.main")
