# Prints "tick <ticks_ms>" every second; sleeps deep when the battery pin asks for it.
import asyncio
import time

import machine

print("cause", machine.reset_cause(), machine.RTC().memory())


async def main():
    for _count in range(8):
        print("tick", time.ticks_ms(), time.ticks_diff(time.ticks_ms(), 2**30 - 2500))
        await asyncio.sleep_ms(1000)
    time.sleep_ms(500)
    start = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), start) < 300:
        pass
    print("spun", time.ticks_diff(time.ticks_ms(), start) >= 300)
    machine.RTC().memory(b"kept")
    machine.deepsleep(60_000)


if machine.reset_cause() == machine.DEEPSLEEP_RESET:
    print("woke")
else:
    asyncio.run(main())
