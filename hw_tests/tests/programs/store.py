# Obeys the host: reads lines, evaluates them with the flash at hand, answers with repr().
import asyncio

import esp32
import machine

journal = esp32.Partition.find(esp32.Partition.TYPE_DATA, label="journal")[0]
nvs = esp32.NVS("test")
uart = machine.UART(1, 115200)
flag = asyncio.ThreadSafeFlag()
uart.irq(lambda _u: flag.set(), machine.UART.IRQ_RXIDLE)


def read(block, offset, length):
    data = bytearray(length)
    journal.readblocks(block, data, offset)
    return bytes(data)


def program(block, offset, data):
    journal.writeblocks(block, data, offset)


def erase(block):
    journal.ioctl(6, block)


def number(key):
    try:
        return nvs.get_i32(key)
    except OSError:
        return None


def put(key, value):
    nvs.set_i32(key, value)
    nvs.commit()


def save(name, data):
    with open(name, "wb") as file:
        file.write(data)


def load(name):
    with open(name, "rb") as file:
        return file.read()


async def main():
    uart.write("ready\n")
    while True:
        await flag.wait()
        for line in (uart.read() or b"").decode().splitlines():
            uart.write(repr(eval(line)) + "\n")


asyncio.run(main())
