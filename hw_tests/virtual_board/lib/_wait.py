# Layer: the one place where the program waits. Interrupt handlers run here, between two instructions of the world.
from time import ticks_add, ticks_diff, ticks_ms

import _vb

scratch = memoryview(__import__("uctypes").bytearray_at(_vb.address, _vb.size))
SIZE = _vb.size

_vb_wait = _vb.wait
_handlers = [None]


# A number under which the world raises this interrupt.
def interrupt(handler, argument):
    _handlers.append((handler, argument))
    return len(_handlers) - 1


def rebind(number, handler, argument):
    _handlers[number] = (handler, argument)


# Waits at most `ms` (-1: for ever) for one interrupt and serves it; False: time is up.
def wait_once(ms):
    number = _vb_wait(ms)
    if number == 0:
        return False
    if number < 0:
        raise KeyboardInterrupt
    serve(number)
    return True


def serve(number):
    handler, argument = _handlers[number]
    if handler is not None:
        handler(argument)


def sleep_ms(ms):
    if ms <= 0:
        wait_once(0)
        return
    end = ticks_add(ticks_ms(), ms)
    while wait_once(ms):
        ms = ticks_diff(end, ticks_ms())
        if ms <= 0:
            return


def sleep_us(us):
    _left = us / 1000
    while wait_once(_left):
        break


def install(time):
    time.sleep_ms = sleep_ms
    time.sleep = lambda seconds: sleep_ms(int(seconds * 1000))
    time.sleep_us = sleep_us
    time.ticks_us = time.ticks_cpu = _vb.ticks_us
