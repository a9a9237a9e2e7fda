# Layer: `machine` as on the ESP32, over the modelled chip. What is missing here raises AttributeError, loudly.
import _vb
from _wait import SIZE, interrupt, rebind, scratch, sleep_ms, wait_once
from time import ticks_add, ticks_diff, ticks_ms

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5
PIN_WAKE, EXT0_WAKE, EXT1_WAKE, TIMER_WAKE = 2, 2, 3, 4
SLEEP, DEEPSLEEP = 2, 4

_pin_read = _vb.pin_read
_pin_write = _vb.pin_write
_any = _vb.uart_any
_SAME = object()


class Pin:
    IN = 1
    OUT = 3
    OPEN_DRAIN = 7
    PULL_DOWN = 1
    PULL_UP = 2
    IRQ_RISING = 1
    IRQ_FALLING = 2
    IRQ_LOW_LEVEL = 4
    IRQ_HIGH_LEVEL = 5
    DRIVE_0, DRIVE_1, DRIVE_2, DRIVE_3 = 0, 1, 2, 3
    _irqs = {}

    def __init__(self, id, mode=-1, pull=-1, *, value=None, drive=None, hold=None):
        self.id = id
        self._set(mode, pull, value)

    def _set(self, mode, pull, value):
        if value is not None:
            _pin_write(self.id, 1 if value else 0)
        _vb.pin_setup(self.id, mode, 0 if pull is None else pull)

    def init(self, mode=-1, pull=-1, *, value=None, drive=None, hold=None):
        self._set(mode, pull, value)

    def value(self, *level):
        if level:
            _pin_write(self.id, 1 if level[0] else 0)
            return None
        return _pin_read(self.id)

    __call__ = value

    def on(self):
        _pin_write(self.id, 1)

    def off(self):
        _pin_write(self.id, 0)

    def toggle(self):
        _pin_write(self.id, 1 - _pin_read(self.id))

    # Without arguments: the interrupt as it is.
    def irq(self, handler=_SAME, trigger=3, *, wake=None, hard=False):
        number = Pin._irqs.get(self.id)
        if handler is not _SAME:
            if number is None:
                number = Pin._irqs[self.id] = interrupt(handler, self)
            else:
                rebind(number, handler, self)
            _vb.pin_irq(self.id, trigger if handler else 0, number)
        return _Irq(number, trigger, lambda t: _vb.pin_irq(self.id, t, number))

    def __repr__(self):
        return "Pin(%d)" % self.id


class _Irq:
    def __init__(self, number, trigger, set_trigger):
        self._number = number
        self._trigger = trigger
        self._set = set_trigger

    def trigger(self, *trigger):
        before = self._trigger
        if trigger:
            self._trigger = trigger[0]
            self._set(trigger[0])
        return before

    def flags(self):
        return self._trigger


class Signal:
    def __init__(self, pin, invert=False):
        self._pin = pin
        self._invert = 1 if invert else 0

    def value(self, *level):
        if level:
            self._pin.value((1 if level[0] else 0) ^ self._invert)
            return None
        return self._pin.value() ^ self._invert

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)


class UART:
    IRQ_RX = 1
    IRQ_RXIDLE = 0x1000
    IRQ_BREAK = 0x200
    INV_TX = 1
    INV_RX = 2
    RTS = 1
    CTS = 2
    _irqs = {}

    def __init__(self, id, baudrate=115200, **settings):
        self._id = id
        self._timeout = 0
        self._between = 0
        if not 0 <= id < _vb.uarts():
            raise ValueError("UART(%d) doesn't exist" % id)
        rx = settings.get("rx")
        _vb.uart_open(id, True, rx.id if isinstance(rx, Pin) else -1 if rx is None else rx)
        self.init(baudrate, **settings)

    def init(self, baudrate=115200, bits=8, parity=None, stop=1, *, tx=None, rx=None, rts=None, cts=None,
             txbuf=256, rxbuf=256, timeout=None, timeout_char=None, invert=0, flow=0):  # fmt: skip
        if timeout is not None:
            self._timeout = timeout
        if timeout_char is not None:
            self._between = timeout_char

    def deinit(self):
        _vb.uart_open(self._id, False, -1)

    def any(self):
        return _any(self._id)

    def _await_byte(self, ms):
        end = ticks_add(ticks_ms(), ms)
        while not _any(self._id):
            left = ticks_diff(end, ticks_ms())
            if left <= 0:
                return False
            wait_once(left)
        return True

    def read(self, length=-1):
        result = bytearray()
        wait = self._timeout
        while length < 0 or len(result) < length:
            if not self._await_byte(wait):
                break
            got = _vb.uart_read(self._id, SIZE if length < 0 else min(SIZE, length - len(result)))
            result.extend(scratch[:got])
            wait = self._between
        return bytes(result) if result else None

    def readinto(self, buffer, length=-1):
        room = len(buffer) if length < 0 else min(length, len(buffer))
        view = memoryview(buffer)
        done = 0
        wait = self._timeout
        while done < room and self._await_byte(wait):
            got = _vb.uart_read(self._id, min(SIZE, room - done))
            view[done : done + got] = scratch[:got]
            done += got
            wait = self._between
        return done or None

    def readline(self):
        result = bytearray()
        wait = self._timeout
        while self._await_byte(wait):
            _vb.uart_read(self._id, 1)
            result.append(scratch[0])
            if scratch[0] == 10:
                break
            wait = self._between
        return bytes(result) if result else None

    def write(self, data):
        view = memoryview(data)
        for start in range(0, len(view), SIZE):
            size = min(SIZE, len(view) - start)
            scratch[:size] = view[start : start + size]
            _vb.uart_write(self._id, size)
        return len(view)

    def flush(self):
        pass

    def txdone(self):
        return True

    def sendbreak(self):
        pass

    def irq(self, handler=None, trigger=0, hard=False):
        number = UART._irqs.get(self._id)
        if number is None:
            number = UART._irqs[self._id] = interrupt(handler, self)
        else:
            rebind(number, handler, self)
        _vb.uart_irq(self._id, trigger if handler else 0, number)
        return _Irq(number, trigger, lambda t: _vb.uart_irq(self._id, t, number))


# A transfer that nobody acknowledges is OSError(ENODEV), as on the ESP32.
class I2C:
    def __init__(self, id=-1, *, scl=None, sda=None, freq=400000, timeout=50000):
        self._scl = scl.id if isinstance(scl, Pin) else scl
        self._sda = sda.id if isinstance(sda, Pin) else sda

    def init(self, **_settings):
        pass

    def scan(self):
        return [address for address in range(8, 0x78) if _vb.i2c_write(self._scl, self._sda, address, 0)]

    def writeto(self, address, data, stop=True):
        length = len(data)
        scratch[:length] = data
        if not _vb.i2c_write(self._scl, self._sda, address, length):
            raise OSError(19)
        return length

    def readfrom(self, address, length, stop=True):
        got = _vb.i2c_read(self._scl, self._sda, address, length)
        if got < 0:
            raise OSError(19)
        return bytes(scratch[:got])

    def readfrom_into(self, address, buffer, stop=True):
        memoryview(buffer)[:] = self.readfrom(address, len(buffer))

    def writevto(self, address, parts, stop=True):
        return self.writeto(address, b"".join(parts))

    def writeto_mem(self, address, register, data, *, addrsize=8):
        self.writeto(address, register.to_bytes(addrsize // 8, "big") + data)

    def readfrom_mem(self, address, register, length, *, addrsize=8):
        self.writeto(address, register.to_bytes(addrsize // 8, "big"), False)
        return self.readfrom(address, length)

    def readfrom_mem_into(self, address, register, buffer, *, addrsize=8):
        memoryview(buffer)[:] = self.readfrom_mem(address, register, len(buffer), addrsize=addrsize)


class SoftI2C(I2C):
    def __init__(self, scl, sda, *, freq=400000, timeout=50000):
        I2C.__init__(self, scl=scl, sda=sda)


class ADC:
    ATTN_0DB, ATTN_2_5DB, ATTN_6DB, ATTN_11DB = 0, 1, 2, 3
    WIDTH_9BIT, WIDTH_10BIT, WIDTH_11BIT, WIDTH_12BIT = 9, 10, 11, 12

    def __init__(self, pin, *, atten=ATTN_0DB):
        self._pin = pin.id if isinstance(pin, Pin) else pin
        self._top = (950, 1250, 1750, 2450)[atten] * 1000

    def init(self, *, atten=ATTN_0DB):
        self.atten(atten)

    def atten(self, atten):
        self._top = (950, 1250, 1750, 2450)[atten] * 1000

    def width(self, _bits):
        pass

    def read_uv(self):
        return min(_vb.adc_uv(self._pin), self._top)

    def read_u16(self):
        return self.read_uv() * 65535 // self._top

    def read(self):
        return self.read_u16() >> 4


class PWM:
    def __init__(self, pin, freq=5000, duty=None, duty_u16=None, duty_ns=None, invert=0):
        self._pin = pin.id if isinstance(pin, Pin) else pin
        self._freq = freq
        self._duty = 32768
        self.init(duty=duty, duty_u16=duty_u16, duty_ns=duty_ns)

    def init(self, freq=None, duty=None, duty_u16=None, duty_ns=None):
        if freq is not None:
            self._freq = freq
        if duty is not None:
            self._duty = duty * 64
        if duty_u16 is not None:
            self._duty = duty_u16
        if duty_ns is not None:
            self._duty = duty_ns * self._freq * 65535 // 1_000_000_000
        _vb.pwm(self._pin, self._freq, self._duty)

    def deinit(self):
        _vb.pwm(self._pin, 0, 0)

    def freq(self, *value):
        if value:
            self.init(freq=value[0])
        return self._freq

    def duty(self, *value):
        if value:
            self.init(duty=value[0])
        return self._duty // 64

    def duty_u16(self, *value):
        if value:
            self.init(duty_u16=value[0])
        return self._duty


class Timer:
    ONE_SHOT = 0
    PERIODIC = 1
    _count = 0

    def __init__(self, id=-1, **settings):
        Timer._count += 1
        self._id = Timer._count
        self._irq = interrupt(None, self)
        if settings:
            self.init(**settings)

    def init(self, *, mode=PERIODIC, period=-1, freq=None, callback=None, hard=False):
        rebind(self._irq, callback, self)
        _vb.timer(self._id, 1000 / freq if freq else period, mode == Timer.PERIODIC, self._irq)

    def deinit(self):
        _vb.timer(self._id, -1, False, self._irq)


class WDT:
    def __init__(self, id=0, timeout=5000):
        self._timeout = timeout
        _vb.watchdog(timeout)

    def feed(self):
        _vb.watchdog(self._timeout)


class RTC:
    def memory(self, *data):
        if data:
            length = len(data[0])
            if length > 2048:
                raise ValueError("buffer too long")
            scratch[:length] = data[0]
            _vb.rtc_set(length)
            return None
        return bytes(scratch[: _vb.rtc_get()])


def reset():
    _vb.reset(False)


def soft_reset():
    _vb.reset(True)


def reset_cause():
    return _vb.reset_cause()


def unique_id():
    return bytes(scratch[: _vb.unique_id()])


# Until `ms` have passed or a wake source sees its level. Interrupts of before are served first: then it does not
# sleep. What happens meanwhile raises none.
def lightsleep(ms=None):
    served = False
    while wait_once(0):
        served = True
    if not served:
        _vb.lightsleep(-1 if ms is None else ms)


def deepsleep(ms=None):
    _vb.deepsleep(-1 if ms is None else ms)


def wake_reason():
    return _vb.wake_reason()


def freq(*_hz):
    return 240_000_000


def idle():
    wait_once(1)


def disable_irq():
    return 0


def enable_irq(_state=0):
    pass


def time_pulse_us(_pin, _level, _timeout_us=1_000_000):
    raise NotImplementedError("time_pulse_us")
