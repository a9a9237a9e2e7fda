# Lets asyncio code of the device run on CPython, in virtual time: idle time is skipped. On a MicroPython the
# interpreter's own asyncio and clock are used.
import asyncio
import time

ON_DEVICE = hasattr(time, "ticks_ms")

if ON_DEVICE:
    ticks_ms = time.ticks_ms
    run = asyncio.run
else:
    import sys
    import traceback

    class _Loop(asyncio.SelectorEventLoop):
        def __init__(self):
            super().__init__()
            self._now_s = 0.0
            really = self._selector.select

            def skip(timeout=None):
                ready = really(0)
                if not ready:
                    assert timeout is not None, "everybody waits and nobody will come"
                    self._now_s += timeout
                return ready

            self._selector.select = skip

        def time(self):
            return self._now_s

    # One task waits, an interrupt handler sets.
    class _ThreadSafeFlag:
        def __init__(self):
            self._event = asyncio.Event()

        def set(self):
            self._event.set()

        def clear(self):
            self._event.clear()

        async def wait(self):
            await self._event.wait()
            self._event.clear()

    _loops = []

    def ticks_ms():
        return int(_loops[-1].time() * 1000 + 0.5) if _loops else 0

    def run(main):
        _loops.append(_Loop())
        try:
            with asyncio.Runner(loop_factory=lambda: _loops[-1]) as runner:
                return runner.run(main)
        finally:
            _loops.pop()

    def _sleep_ms(ms):
        return asyncio.sleep(max(0, ms) / 1000)

    def _wait_for_ms(awaitable, ms):
        return asyncio.wait_for(awaitable, ms / 1000)

    def _print_exception(problem, file=None):
        traceback.print_exception(problem, file=file or sys.stdout)

    sys.print_exception = _print_exception
    asyncio.sleep_ms = _sleep_ms
    asyncio.wait_for_ms = _wait_for_ms
    asyncio.ThreadSafeFlag = _ThreadSafeFlag
