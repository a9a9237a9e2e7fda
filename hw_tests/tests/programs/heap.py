# What is let go is collected, at once by gc.collect() and by itself while the program waits.
import gc
import time


def work():
    for _ in range(20_000):
        bytearray(100)


gc.collect()
start = gc.mem_alloc()
kept = [bytes((i & 255,)) * 50 for i in range(500)]
for _ in range(3):
    work()
    gc.collect()
    assert gc.mem_alloc() - start < 60_000, gc.mem_alloc() - start
for _ in range(20):
    work()
    time.sleep_ms(1)
assert gc.mem_alloc() - start < 4_000_000, gc.mem_alloc() - start
assert kept == [bytes((i & 255,)) * 50 for i in range(500)]
print("ok")
