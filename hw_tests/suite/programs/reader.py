# Runs on the device: the PN532 on its UART or I2C, through the driver's own state machine. Prints READY, then a card's UID.
import time

from drivers import hardware
from drivers.pn532 import Pn532
from drivers.pn532_frames import WAKE
from drivers.pn532_i2c import I2cPort
from machine import UART, Pin

import boards


def look(ready_ms, card_ms):
    pins = boards.load("TAG")
    if "reader_reset" in pins:
        reset = Pin(pins["reader_reset"], Pin.OUT, value=0)
        time.sleep_ms(20)
        reset.value(1)
        time.sleep_ms(10)
    if "reader_uart" in pins:
        uart = UART(pins["reader_uart"], baudrate=115200, tx=pins["reader_tx"], rx=pins["reader_rx"], rxbuf=512)
        wake = WAKE
    else:
        bus = hardware.i2c(pins["reader_sda"], pins["reader_scl"])
        uart = I2cPort(bus, Pin(pins["reader_irq"], Pin.IN, Pin.PULL_UP), time.sleep_ms)
        wake = b""
    begun = time.ticks_ms()
    chip = Pn532(0, wake)
    told = False
    while True:
        now = time.ticks_diff(time.ticks_ms(), begun)
        uid = chip.receive((uart.read() or b"") if uart.any() else b"", now)
        if uid is not None:
            return uid
        out = chip.poll(now)
        if out:
            uart.write(out)
        if chip.ready and not told:
            told = True
            print("READY", chip.errors)
            if not card_ms:
                return None
        if now > (card_ms if told else ready_ms):
            return None
        time.sleep_ms(2)
