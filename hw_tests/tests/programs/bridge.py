# The host's serial port is the card reader's UART.
import asyncio

from machine import UART

host = UART(1, 115200)
chip = UART(2, 115200)
flag = asyncio.ThreadSafeFlag()
for uart in (host, chip):
    uart.irq(lambda _u: flag.set(), UART.IRQ_RXIDLE)


async def main():
    host.write(b"R")
    while True:
        await flag.wait()
        for source, target in ((host, chip), (chip, host)):
            data = source.read()
            if data:
                target.write(data)


asyncio.run(main())
