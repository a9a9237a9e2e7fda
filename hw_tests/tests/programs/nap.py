# Light sleep with two wake-up pins, then deep sleep; prints what it saw of each.
import time

import esp32
import machine
from machine import I2C, UART, Pin

edges = []
button = Pin(33, Pin.IN, Pin.PULL_UP)
line = Pin(32, Pin.IN, Pin.PULL_UP)
button.irq(lambda _pin: edges.append(1), Pin.IRQ_FALLING | Pin.IRQ_RISING)
chip = UART(2, 115200, tx=26, rx=25)
print("cause", machine.reset_cause(), machine.wake_reason(), time.time() > 20)


def refused(call):
    try:
        call()
    except (ValueError, OSError) as error:
        return error.args[0]
    return None


if machine.reset_cause() != machine.DEEPSLEEP_RESET:
    print("refused", refused(lambda: esp32.wake_on_ext0(Pin(18), esp32.WAKEUP_ALL_LOW)))
    print("nobody", refused(lambda: I2C(0, sda=Pin(4), scl=Pin(5)).readfrom(0x50, 1)))
    print("scan", I2C(0, sda=Pin(4), scl=Pin(5)).scan())
    esp32.wake_on_gpio((button, line, Pin(25, Pin.IN, Pin.PULL_UP)), esp32.WAKEUP_ALL_LOW)
    for _ in range(4):
        before = time.ticks_ms()
        machine.lightsleep(5000)
        print("nap", time.ticks_diff(time.ticks_ms(), before), machine.wake_reason(), len(edges), chip.any())
        time.sleep_ms(1000)
    esp32.wake_on_gpio((), esp32.WAKEUP_ALL_LOW)
    esp32.wake_on_ext0(button, esp32.WAKEUP_ALL_LOW)
    esp32.wake_on_ext1((line, Pin(27, Pin.IN, Pin.PULL_UP)), esp32.WAKEUP_ALL_LOW)
    machine.deepsleep()
