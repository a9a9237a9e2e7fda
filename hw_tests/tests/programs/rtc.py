# The clock chip's driver on the board's own bus: sets it once, then says again and again what it reads.
import time

import machine
from drivers.ds3231 import Ds3231

began = time.ticks_ms()
chip = Ds3231(
    machine.I2C(0, sda=machine.Pin(21), scl=machine.Pin(22), freq=400_000, timeout=50_000),
    lambda: time.ticks_diff(time.ticks_ms(), began),
)
reading = chip.read()
print("first", reading, chip.fault)
if reading is None:
    print("set", chip.set(0, 1_790_000_000_000, 20), chip.fault)
while True:
    time.sleep_ms(10_000)
    print("read", chip.read(), chip.fault)
