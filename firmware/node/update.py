# Layer: takes a signed firmware version into the slot that does not run, hands it to the boot selector,
# confirms it. No call does more than a small bounded piece of work: handle() keeps one chunk, step() goes one
# step on. UPDATES.md has the states and what a power cut leaves at each point.
import boot

from gatelink import manifest
from gatelink.errors import GatelinkError
from node.stage import CHUNK, LOG, Stage, chunks, load, remove, save

try:
    from typing import Any, Callable, Dict, Iterator, Optional
except ImportError:
    pass

# Codes of RESULT.
DONE = 0
REFUSED = 1
NOT_YET = 4
FAILED = 5

# States.
IDLE = 0
VERIFYING = 1
PREPARING = 2
RECEIVING = 3
CHECKING = 4
READY = 5
INSTALLED = 6

# Reasons besides those of gatelink.manifest.
ON_TRIAL = "on_trial"
BUSY = "busy"
NO_MANIFEST = "no_manifest"
BAD_CHUNK = "bad_chunk"
BAD_SIZE = "bad_size"
UNKNOWN_FILE = "unknown_file"
BAD_FILE = "bad_file"
WANT = "want"
TOO_LONG = "too_long"
TOO_OLD = "too_old"
ROLLED_BACK = "rolled_back"
EXPIRED = "expired"
WRONG_MODEL = "wrong_model"
WRONG_ABI = "wrong_abi"
ALREADY = "already_running"
DISK_FULL = "disk_full"
FLASH_ERROR = "flash_error"

MANIFEST = "manifest"
STAGED = "/update.manifest"
# Uptime after which a version on trial that nobody confirmed gives up.
CONFIRM_MS = 600000

_NO_SPACE = (28, 51)  # ENOSPC of littlefs and newlib, of emscripten


class Update:
    # fs: boot.Files or its like; keys: key id -> public key X || Y; mpy_abi: sys.implementation._mpy & 0xFF;
    # now_s: -> unix seconds that have certainly passed, None while the clock is not trusted;
    # running: boot.running(); watchdog: has feed(), or None
    def __init__(
        self,
        fs: "Any",
        keys: "Dict[bytes, bytes]",
        model: str,
        mpy_abi: int,
        now_s: "Callable[[], Optional[int]]",
        running: str,
        watchdog: "Any" = None,
    ) -> None:
        self._fs = fs
        self._keys = keys
        self._model = model
        self._mpy_abi = mpy_abi
        self._now_s = now_s
        self._running = running
        self._watchdog = watchdog
        self._target = "b" if running == "a" else "a"
        self._record = boot.read(fs) or boot.confirmed(running)
        self.on_trial = self._record.tries != boot.CONFIRMED
        self._tested = False
        self.state = IDLE
        # Why the last answer was not DONE, and what it is about; the last fault that came between two
        # answers.
        self.reason = ""
        self.detail = ""
        self.fault = ""
        # The manifest as it arrives: its bytes, a bit for each chunk held, the answer once it is judged.
        self._head = None  # type: Optional[bytearray]
        self._got = 0
        self._verdict = None  # type: Optional[int]
        self._why = NO_MANIFEST
        self._plan = None  # type: Optional[manifest.Manifest]
        self._stage = None  # type: Optional[Stage]
        self._job = None if self.on_trial else self._resume()  # type: Optional[Iterator[None]]

    def _answer(self, code: int, reason: str = "", detail: str = "") -> int:
        self.reason = reason
        self.detail = detail
        return code

    # One chunk of the file `name` ("manifest" for the manifest, which comes first) -> code of RESULT; reason
    # and detail say more. A repeated chunk is answered like the first. Asked again with a chunk of the
    # manifest, the answer is DONE once all is here and checked, else NOT_YET with the first chunk that is
    # wanted.
    def handle(self, name: str, total: int, offset: int, data: bytes) -> int:
        if self.on_trial:
            return self._answer(REFUSED, ON_TRIAL)
        if total < 1 or not 0 <= offset < total or offset % CHUNK or len(data) != min(CHUNK, total - offset):
            return self._answer(REFUSED, BAD_CHUNK)
        if name == MANIFEST:
            return self._take_manifest(total, offset, data)
        if self._job is not None or self.state == INSTALLED:
            return self._answer(NOT_YET, BUSY)
        stage = self._stage
        if stage is None:
            return self._answer(REFUSED, self._why)
        if name not in stage.files:
            return self._answer(REFUSED, UNKNOWN_FILE)
        if total != stage.files[name][0]:
            return self._answer(REFUSED, BAD_SIZE)
        try:
            if stage.keep(name, offset, data):
                self._job = self._finish(stage)
        except OSError as error:
            self._fail(error)
            return self._answer(FAILED, self.fault)
        return self._answer(DONE)

    def _take_manifest(self, total: int, offset: int, data: bytes) -> int:
        head = self._head
        if head is not None and len(head) == total and self._verdict is not None:
            if head[offset : offset + len(data)] == data:
                return self._tell()
            head = None
        if total > manifest.MAX_SIGNED:
            return self._answer(REFUSED, TOO_LONG)
        if self._job is not None or self.state == INSTALLED:
            return self._answer(NOT_YET, BUSY)
        if head is None or self._verdict is not None or len(head) != total:
            head = self._head = bytearray(total)
            self._got = 0
            self._verdict = None
        head[offset : offset + len(data)] = data
        self._got |= 1 << (offset // CHUNK)
        for i in range(chunks(total)):
            if not self._got >> i & 1:
                # Never DONE: that word is kept for "the whole version is here".
                return self._answer(NOT_YET, WANT, MANIFEST + " " + str(i * CHUNK))
        self._job = self._admit(bytes(head))
        return self._answer(NOT_YET, BUSY)

    # How far the update is whose manifest was judged.
    def _tell(self) -> int:
        if self._verdict != DONE or self._stage is None:
            return self._answer(REFUSED, self._why)
        if self._job is not None:
            return self._answer(NOT_YET, BUSY)
        wanted = self._stage.wanted()
        return self._answer(NOT_YET, WANT, wanted) if wanted else self._answer(DONE)

    # Goes one bounded step on -> whether there is more to do. Call it whenever nothing else waits.
    def step(self) -> bool:
        if self._watchdog is not None:
            self._watchdog.feed()
        if self._job is None:
            return False
        try:
            next(self._job)
        except StopIteration:
            self._job = None
        except OSError as error:
            self._fail(error)
        return self._job is not None

    def _note(self, error: OSError) -> str:
        self.fault = DISK_FULL if error.args[0] in _NO_SPACE else FLASH_ERROR
        return self.fault

    # The file system gave up: free what the update took; it begins anew with its manifest.
    def _fail(self, error: OSError) -> None:
        self._why = self._note(error)
        self._verdict = None
        self._head = None
        self._job = None
        self.state = IDLE
        try:
            self._drop()
        except OSError:
            pass  # the next update or the next start removes it

    def _drop(self) -> None:
        stage = self._stage
        self._stage = None
        self._plan = None
        if stage is not None:
            stage.close()
        remove(self._fs, LOG)
        remove(self._fs, STAGED)

    def _is_running(self, signed: bytes) -> bool:
        return signed == load(self._fs, boot.base(self._running) + "/manifest", manifest.MAX_SIGNED)

    # After a start: goes on where the last one ended.
    def _resume(self) -> "Iterator[None]":
        signed = load(self._fs, STAGED, manifest.MAX_SIGNED)
        if not signed or self._is_running(signed):
            self._drop()  # nothing begun, or begun and installed
            return
        yield
        self._head = bytearray(signed)
        yield from self._admit(signed)
        if self._stage is None:
            self._drop()

    # A refused manifest leaves what was begun before as it was.
    def _admit(self, signed: bytes) -> "Iterator[None]":
        if self._stage is not None and signed == self._stage.signed:
            self._verdict = DONE
            return
        before = self.state
        self.state = VERIFYING
        found = None
        try:
            for found in manifest.verify_steps(signed, self._keys):
                if found is None:
                    yield
            reason = self._unfit(found, signed) if found is not None else manifest.BAD_SIGNATURE
        except GatelinkError as error:
            reason = error.reason
        if reason or found is None:
            self.state = before
            self._verdict = REFUSED
            self._why = self.fault = reason
            return
        self.state = PREPARING
        if load(self._fs, STAGED, manifest.MAX_SIGNED) != signed:
            # A log belongs to one manifest: it goes first.
            self._drop()
            yield
            save(self._fs, STAGED, signed)
        yield
        self._plan = found
        stage = self._stage = Stage(
            self._fs, found.files, signed, boot.base(self._target), boot.base(self._running)
        )
        self._verdict = DONE
        self._why = ""
        yield
        yield from stage.prepare()
        self.state = RECEIVING
        if stage.complete():
            yield from self._finish(stage)

    # -> "" or why this version is not for this device now
    def _unfit(self, found: "manifest.Manifest", signed: bytes) -> str:
        now_s = self._now_s()
        if found.model != self._model:
            return WRONG_MODEL
        if found.mpy_abi != self._mpy_abi:
            return WRONG_ABI
        if found.seq < self._record.floor:
            return TOO_OLD
        if found.seq == self._record.failed:
            return ROLLED_BACK
        if now_s is not None and now_s > found.expires:
            return EXPIRED
        if self._is_running(signed):
            return ALREADY
        return ""

    def _finish(self, stage: "Stage") -> "Iterator[None]":
        self.state = CHECKING
        bad = None
        for bad in stage.assemble():
            if bad is None:
                yield
        if bad:
            self.fault = BAD_FILE + " " + bad
        self.state = RECEIVING if bad else READY

    # Makes the next start try the new version; the caller then resets, at a moment when nobody waits for the
    # device. -> whether it is so; reason says why not.
    def install(self) -> bool:
        plan = self._plan
        stage = self._stage
        if self.state != READY or plan is None or stage is None or self._job is not None:
            self._answer(NOT_YET, BUSY)
            return False
        reason = self._unfit(plan, stage.signed)
        if reason:
            self._answer(REFUSED, reason)
            return False
        old = self._record
        try:
            boot.write(
                self._fs,
                boot.Record(
                    self._target, self._running, boot.TRIES, plan.seq, plan.min_seq, old.floor, old.failed
                ),
            )
        except OSError as error:
            self._answer(FAILED, self._note(error))
            return False
        self.state = INSTALLED
        self._answer(DONE)
        return True

    # The version on trial found its journal, its keys and its reader in order.
    def self_test_passed(self) -> None:
        self._tested = True

    # Call it with every authenticated answer of the edge. -> whether this call ended the trial
    def confirm(self) -> bool:
        old = self._record
        if not self.on_trial:
            return False
        if old.slot != self._running:
            # The selector fell back but could not write it down.
            new = boot.rolled_back(old)
        elif self._tested:
            floor = max(old.floor, old.low)
            new = boot.Record(old.slot, old.back, boot.CONFIRMED, old.seq, old.low, floor, 0)
        else:
            return False
        try:
            boot.write(self._fs, new)
        except OSError as error:
            self._note(error)
            return False  # the next answer of the edge asks again
        self._record = new
        self.on_trial = False
        self._job = self._resume()
        return True

    # -> whether a version on trial has had its time: reset, which costs it a try
    def overdue(self, uptime_ms: int) -> bool:
        return self.on_trial and self._record.slot == self._running and uptime_ms > CONFIRM_MS
