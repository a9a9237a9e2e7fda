# Starts the watchdog and forgets it.
import time

import machine

print("cause", machine.reset_cause())
machine.WDT(timeout=20_000)
while True:
    time.sleep_ms(1000)
