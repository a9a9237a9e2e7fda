# Runs on the device: the PN532 on its UART, through the driver's own state machine. Prints READY, then a card's UID.
import time

from drivers.pn532 import Pn532
from machine import UART, Pin

import boards


def look(ready_ms, card_ms):
    pins = boards.load("TAG")
    reset = Pin(pins["reader_reset"], Pin.OUT, value=0)
    time.sleep_ms(20)
    reset.value(1)
    time.sleep_ms(10)
    uart = UART(pins["reader_uart"], baudrate=115200, tx=pins["reader_tx"], rx=pins["reader_rx"], rxbuf=512)
    begun = time.ticks_ms()
    chip = Pn532(0)
    told = False
    while True:
        now = time.ticks_diff(time.ticks_ms(), begun)
        uid = chip.receive(uart.read() if uart.any() else b"", now)
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
