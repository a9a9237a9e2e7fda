# Layer: how this board reaches its PN532: UART or I2C, as the pins say.
import asyncio
import time

from drivers import hardware
from drivers.pn532_frames import WAKE
from drivers.pn532_i2c import I2cPort
from machine import Pin

try:
    from typing import Any
except ImportError:
    pass


# Pins that are 0 when the chip has something to say -> (its answers: on a UART the start bits; woken by a field:
# its IRQ line where there is one). On I2C both are the IRQ line.
def lines(pins: "dict[str, int]") -> "tuple[Pin, Pin]":
    irq = hardware.contact(pins["reader_irq"] if "reader_irq" in pins else pins["reader_rx"])
    return hardware.contact(pins["reader_rx"]) if "reader_rx" in pins else irq, irq


# -> (any(), read(), write(); its ThreadSafeFlag; wake-up bytes for Pn532, b"" on I2C, where an answer waits whole)
def port(pins: "dict[str, int]", line: Pin) -> "tuple[Any, Any, bytes]":
    if "reader_uart" in pins:
        uart, flag = hardware.woken_uart(pins["reader_uart"], 115200, pins["reader_tx"], pins["reader_rx"])
        return uart, flag, WAKE
    flag = asyncio.ThreadSafeFlag()

    def wake(_: "Any") -> None:
        flag.set()

    line.irq(wake, Pin.IRQ_FALLING)
    sleep_ms: "Any" = time.sleep_ms
    return I2cPort(hardware.i2c(pins["reader_sda"], pins["reader_scl"]), line, sleep_ms), flag, b""
