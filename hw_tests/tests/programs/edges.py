# Reports every edge of the barrier's contacts: "<pin> <level> <ticks_ms>" per line. "<pin> <level>" sets an output.
import asyncio
import time

from machine import Pin, UART

INPUTS = (34, 35, 32, 33, 36, 39, 13)
host = UART(1, 115200)
flag = asyncio.ThreadSafeFlag()
lines = []


def edge(pin):
    lines.append("%d %d %d\n" % (pin.id, pin.value(), time.ticks_ms()))
    flag.set()


for number in INPUTS:
    pin = Pin(number, Pin.IN, Pin.PULL_UP)
    pin.irq(edge, Pin.IRQ_FALLING | Pin.IRQ_RISING)
for number in (25, 26):
    Pin(number, Pin.OUT, value=0)
host.irq(lambda _u: flag.set(), UART.IRQ_RXIDLE)


async def main():
    host.write("ready %d %d\n" % (Pin(36).value(), Pin(39).value()))
    while True:
        await flag.wait()
        while lines:
            host.write(lines.pop(0))
        for order in (host.read() or b"").decode().splitlines():
            number, level = order.split()
            Pin(int(number)).value(int(level))


asyncio.run(main())
