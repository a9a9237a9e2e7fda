# UART echo, an LED that blinks, and what the boot was.
import asyncio

import machine

uart = machine.UART(1, 115200)
flag = asyncio.ThreadSafeFlag()
uart.irq(lambda _u: flag.set(), machine.UART.IRQ_RXIDLE)
print("boot", machine.reset_cause())


async def blink():
    led = machine.Pin(18, machine.Pin.OUT, value=0)
    while True:
        led.value(not led.value())
        await asyncio.sleep_ms(1000)


async def main():
    asyncio.create_task(blink())
    while True:
        await flag.wait()
        data = uart.read()
        if data == b"reset":
            machine.reset()
        if data:
            uart.write(bytes(reversed(data)))


asyncio.run(main())
