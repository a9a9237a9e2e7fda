# Every shim once, under micropython.run.
import asyncio
import sys
import time
from binascii import hexlify

import cryptolib
import esp32
import machine


async def ticker(log):
    for _ in range(3):
        log.append(time.ticks_ms())
        await asyncio.sleep_ms(1000)
    return "ticked"


async def fails():
    raise ValueError("on purpose")


async def main():
    log = []
    start = time.ticks_ms()
    task = asyncio.create_task(ticker(log))
    assert await task == "ticked"
    assert [time.ticks_diff(t, start) // 1000 for t in log] == [0, 1, 2], log
    bad = asyncio.create_task(fails())
    try:
        await bad
    except ValueError as error:
        print("caught", error)
    try:
        await asyncio.wait_for_ms(ticker([]), 50)
    except asyncio.TimeoutError:
        print("timeout")
    flag = asyncio.ThreadSafeFlag()
    machine.Timer(period=30_000, mode=machine.Timer.ONE_SHOT, callback=lambda _t: flag.set())
    await flag.wait()
    print("flag", time.ticks_diff(time.ticks_ms(), start) // 1000)
    print(await asyncio.gather(ticker([]), fails(), return_exceptions=True))
    lost = asyncio.create_task(fails())
    await asyncio.sleep(1)
    assert lost.done()
    return 7


print(sys.argv[1:], asyncio.run(main()))
box = cryptolib.aes(bytes(range(16)), 1)
print(hexlify(box.encrypt(bytes.fromhex("00112233445566778899aabbccddeeff"))).decode())
journal = esp32.Partition.find(esp32.Partition.TYPE_DATA, label="journal")[0]
journal.ioctl(6, 0)
journal.writeblocks(0, b"\xf0", 5)
journal.writeblocks(0, b"\x3c", 5)
seen = bytearray(8)
journal.readblocks(0, seen, 0)
print(journal.info(), seen)
nvs = esp32.NVS("gatepost")
nvs.set_i32("boot", 5)
nvs.set_blob("link", b"abc")
nvs.commit()
room = bytearray(8)
print(nvs.get_i32("boot"), nvs.get_blob("link", room), room)
try:
    nvs.get_i32("none")
except OSError as error:
    print("nvs", error)
time.sleep_ms(5000)
try:
    __import__("hmac")
except ImportError:
    print("no hmac")
sys.exit(3)
