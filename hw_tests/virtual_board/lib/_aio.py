# Layer: asyncio's run loop. Tasks, queue, events and locks are MicroPython's own; what this port leaves to
# JavaScript (the loop, sleeping, run, ThreadSafeFlag) is done here as on a board: run() blocks, time is the world's.
import sys
from time import ticks_add, ticks_diff, ticks_ms

import asyncio.core as core
from _asyncio import Task, TaskQueue
from _wait import wait_once

_context = core.__dict__
_queue = TaskQueue()


class _Sleep:
    def __init__(self):
        self.state = None

    def __iter__(self):
        return self

    def __next__(self):
        if self.state is None:
            raise StopIteration
        _queue.push(core.cur_task, self.state)
        self.state = None


def sleep_ms(ms):
    sleeper = _Sleep()
    sleeper.state = ticks_add(ticks_ms(), max(0, ms))
    return sleeper


def sleep(seconds):
    return sleep_ms(int(seconds * 1000))


def create_task(coro):
    if not hasattr(coro, "send"):
        raise TypeError("coroutine expected")
    task = Task(coro, _context)
    _queue.push(task)
    return task


# The C side of Task reads `state`: True = running and nobody waits, a TaskQueue or a callable = waiters,
# None = ended and nobody has asked yet, False = ended and asked for.
def _finish(task, error):
    state = task.state
    asked = False
    if state is True:
        task.state = None
    elif callable(state):
        state(task, error)
        asked = True
    else:
        while state.peek():
            _queue.push(state.pop())
            asked = True
    if state is not True:
        task.state = False
    if not asked and not isinstance(error, (StopIteration, core.CancelledError)):
        _queue.push(task)  # somebody may still ask in this turn; at its next one it is reported
    task.data = error


# Runs tasks until `main` ends (None: until none is left); returns or raises what it did.
def run_until_complete(main=None):
    while True:
        task = _queue.peek()
        if task is None:
            if main is None:
                return None
            wait_once(-1)
            continue
        delay = ticks_diff(task.ph_key, ticks_ms())
        if delay > 0:
            wait_once(delay)
            continue
        wait_once(0)
        task = _queue.pop()
        core.cur_task = task
        thrown = task.data
        try:
            if thrown:
                task.data = None
                task.coro.throw(thrown)
            else:
                task.coro.send(None)
        except (core.CancelledError, Exception) as error:
            if task is main:
                core.cur_task = None
                if isinstance(error, StopIteration):
                    return error.value
                raise
            if task.state:
                _finish(task, error)
            elif task.state is None:
                task.data = thrown
                Loop.call_exception_handler(
                    {"message": "Task exception wasn't retrieved", "exception": thrown, "future": task}
                )
        core.cur_task = None


def run(coro):
    return run_until_complete(create_task(coro))


class Loop:
    _handler = None

    create_task = staticmethod(create_task)
    run_until_complete = staticmethod(
        lambda aw: run_until_complete(aw if isinstance(aw, Task) else create_task(aw))
    )

    @staticmethod
    def run_forever():
        run_until_complete(create_task(ThreadSafeFlag().wait()))

    @staticmethod
    def stop():
        raise NotImplementedError("Loop.stop")

    @staticmethod
    def close():
        pass

    @classmethod
    def set_exception_handler(cls, handler):
        cls._handler = handler

    @classmethod
    def get_exception_handler(cls):
        return cls._handler

    @staticmethod
    def default_exception_handler(_loop, context):
        print(context["message"])
        print("future:", context["future"], "coro=", context["future"].coro)
        sys.print_exception(context["exception"])

    @classmethod
    def call_exception_handler(cls, context):
        (cls._handler or cls.default_exception_handler)(cls, context)


# Set from an interrupt handler, waited for by one task.
class ThreadSafeFlag:
    def __init__(self):
        self.state = 0
        self._task = None

    def set(self):
        self.state = 1
        task = self._task
        if task is not None:
            self._task = None
            _queue.remove(task)
            _queue.push(task)

    def clear(self):
        self.state = 0

    async def wait(self):
        while not self.state:
            self._task = core.cur_task
            try:
                await sleep_ms(3_600_000)
            finally:
                self._task = None
        self.state = 0


def current_task():
    if core.cur_task is None:
        raise RuntimeError("no running event loop")
    return core.cur_task


def install(asyncio):
    global _queue
    core._task_queue = _queue
    core.cur_task = None
    for name in ("sleep_ms", "sleep", "create_task", "run_until_complete", "run", "Loop", "current_task"):
        value = globals()[name]
        setattr(core, name, value)
        setattr(asyncio, name, value)
    for module in (core, asyncio):
        module.get_event_loop = lambda _a=None, _b=None: Loop
        module.new_event_loop = _new_event_loop
    asyncio.ThreadSafeFlag = ThreadSafeFlag


def _new_event_loop():
    while _queue.peek():
        _queue.pop()
    return Loop
