# Layer: an update beside everything else. Its chunks come in over the uplink, its steps are taken while nobody
# waits for the device, it ends in a restart at a moment that disturbs nobody. UPDATES.md has the rules.
import asyncio
import sys
from binascii import crc32

import boot

from gatelink import messages

try:
    from typing import Any, Callable, Iterator
except ImportError:
    pass

# Loaded when an update begins, one a turn: until then they take no memory.
_MODULES = ("gatelink.p256", "gatelink.manifest", "node.stage", "node.update")
_STAGED = "/update.manifest"
_STEP_MS = 20
_BUSY_MS = 200
_LOOK_MS = 1_000
_REST_MS = 60_000
# A version on trial has to live so long before it may be called healthy.
_TRIAL_MS = 10_000
_READY = 5


class Updating:
    # model: whose updates fit; keys: public keys X || Y; fs: as boot.Files
    def __init__(self, model: str, keys: "list[bytes]", fs: "Any" = None) -> None:
        self._fs = fs or boot.Files()
        self._model = model
        self._keys = keys
        self._slot = boot.running()
        record = boot.read(self._fs)
        unsettled = record is not None and record.tries != boot.CONFIRMED
        # this very version is what has to prove itself
        self.on_trial = record is not None and unsettled and record.slot == self._slot
        self._due = unsettled or boot.exists(self._fs, _STAGED)
        self._loading = None  # type: Iterator[None] | None
        self._update = None  # type: Any
        self._refused = ""
        self._event = asyncio.Event()

    # factory: what is said of the version in /lib -> the name of the version that runs
    def version(self, factory: str) -> str:
        if self._slot == boot.FACTORY:
            return factory
        with self._fs.open(boot.base(self._slot) + "/manifest", "rb") as file:
            head = bytes(file.read(64))
        # its map begins with seq and ver (their keys are the shortest); checked before it came here
        at = head.find(b"\x63ver") + 5
        return head[at : at + (head[at - 1] & 31)].decode() if at > 4 else factory

    # node: a node.Node; busy: () -> True while somebody waits for the device; quiet: () -> True when a restart
    # disturbs nobody; healthy: () -> True when reader or contacts work
    def attach(
        self,
        node: "Any",
        watchdog: "Any",
        reset: "Callable[[], Any]",
        busy: "Callable[[], bool]",
        quiet: "Callable[[], bool]",
        healthy: "Callable[[], bool]",
    ) -> None:
        self._node = node
        self._watchdog = watchdog
        self._reset = reset
        self._busy = busy
        self._quiet = quiet
        self._healthy = healthy
        # the BOOT event of this start: once the edge has it, this version reaches the edge
        self._boot_seq = node.journal.next_seq - 1
        node.uplink.on_update = self.take
        node.supervise(self.run)

    # message: an UPDATE -> (code, detail) of its RESULT: a word, the chunk it is about ("want": the one that is
    # missed first), CRC-32 of the chunk that is answered.
    def take(self, message: "Any") -> "tuple[int, str]":
        self._due = True
        self._event.set()
        update = self._update
        name, total, offset, data = message
        code, word, about = messages.NOT_YET, "busy", name + " " + str(offset)
        if update is not None and not self._busy():
            code = update.handle(name, total, offset, bytes(data))
            word = update.reason or "ok"
            about = update.detail or about
            if code == messages.DONE and name == "manifest" and self._refused:
                code, word = messages.REFUSED, self._refused
        return code, "%s %s %08x" % (word, about, crc32(data))

    async def run(self) -> None:
        while True:
            wait_ms = self.turn(self._node.clock.uptime_ms())
            try:
                await asyncio.wait_for_ms(self._event.wait(), wait_ms)
                # chunks that follow each other closely leave room for others, too
                await asyncio.sleep_ms(min(wait_ms, _STEP_MS))
            except asyncio.TimeoutError:
                pass
            self._event.clear()

    # One bounded piece of work -> ms until the next
    def turn(self, now_ms: int) -> int:
        update = self._update
        if update is not None and update.overdue(now_ms):
            self._reset()
        if self._busy():
            return _BUSY_MS
        if update is None:
            if not self._due:
                return _REST_MS
            self._loading = self._loading or self._load()
            next(self._loading, None)
            return _STEP_MS
        if update.step():
            return _STEP_MS
        if update.on_trial:
            self._prove(update, now_ms)
            return _LOOK_MS
        if update.state != _READY:
            return _REST_MS
        if self._quiet():
            if update.install():
                self._reset()
            self._refused = update.reason
        return _LOOK_MS

    def _prove(self, update: "Any", now_ms: int) -> None:
        node = self._node
        if now_ms > _TRIAL_MS and not node._deaths and self._healthy():
            update.self_test_passed()
        if node.uplink.online and node.journal.acked_seq >= self._boot_seq and update.confirm():
            self.on_trial = False

    def _load(self) -> "Iterator[None]":
        for name in _MODULES:
            __import__(name)
            yield
        from gatelink.manifest import kid
        from node.update import Update

        self._update = Update(
            self._fs,
            {kid(key): key for key in self._keys},
            self._model,
            sys.implementation._mpy & 0xFF,
            self._now_s,
            self._slot,
            self._watchdog,
        )

    # Unix seconds that have certainly passed; None without an anchor.
    def _now_s(self) -> "int | None":
        anchor = self._node.clock.anchor
        if anchor is None:
            return None
        since_ms = self._node.clock.uptime_ms() - anchor[0]
        # a tenth off for the slowest clock there is
        return int((anchor[1] - anchor[2] + since_ms * 9 // 10) // 1000)
