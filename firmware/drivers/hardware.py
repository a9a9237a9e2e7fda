# Layer: machine objects out of pin numbers, as both roles use them. What is on the other side of a pin:
# boards.
import asyncio

from machine import ADC, I2C, PWM, UART, WDT, Pin

try:
    from typing import Any
except ImportError:
    pass

# longest frame, COBS and delimiter included, twice
_UPLINK_BUFFER = 2080


def uplink(pins: "dict[str, int]", baud: int) -> UART:
    return UART(
        pins["uplink_uart"],
        baudrate=baud,
        tx=pins["uplink_tx"],
        rx=pins["uplink_rx"],
        rxbuf=_UPLINK_BUFFER,
        txbuf=_UPLINK_BUFFER,
    )


# number: UART number -> (UART, its ThreadSafeFlag, set when something came in)
def woken_uart(number: int, baud: int, tx: int, rx: int) -> "tuple[UART, Any]":
    uart = UART(number, baudrate=baud, tx=tx, rx=rx, rxbuf=512, txbuf=256)
    flag = asyncio.ThreadSafeFlag()

    def wake(_: "Any") -> None:
        flag.set()

    uart.irq(wake, UART.IRQ_RXIDLE)
    return uart, flag


# seconds: 0 for none. Once started it can't be stopped: a program that hangs, or ends, restarts the board.
def watchdog(seconds: int) -> "WDT | None":
    return WDT(timeout=seconds * 1000) if seconds else None


# The one bus of a board: everybody on it says the same pins. Nobody there, or a stuck line: OSError.
def i2c(sda: int, scl: int) -> I2C:
    return I2C(0, sda=Pin(sda), scl=Pin(scl), freq=400_000, timeout=50_000)


def contact(number: int) -> Pin:
    return Pin(number, Pin.IN, Pin.PULL_UP)


def output(number: int, level: int = 0) -> Pin:
    return Pin(number, Pin.OUT, value=level)


def buzzer(number: int) -> PWM:
    return PWM(Pin(number), freq=2700, duty_u16=0)


def battery_adc(number: int) -> ADC:
    return ADC(Pin(number), atten=ADC.ATTN_11DB)


# reader: a drivers.wiegand.Wiegand; d0, d1: pin numbers
def wiegand(reader: "Any", d0: int, d1: int) -> None:
    for number, handler in ((d0, reader.zero), (d1, reader.one)):
        Pin(number, Pin.IN, Pin.PULL_UP).irq(handler=handler, trigger=Pin.IRQ_FALLING)
