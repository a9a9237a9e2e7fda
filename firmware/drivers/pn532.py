# Layer: PN532 NFC reader as a state machine over its frames, on a UART (HSU) or I2C. Sans-IO: bytes and time in,
# UIDs and bytes out. On mains the chip searches by itself and nothing is sent: its answer is the interrupt. On
# battery (economy) it looks once, powers down and rests.
from .pn532_frames import ACK, GOT_ACK, GOT_DAMAGED, GOT_ERROR, GOT_NACK, NACK, WAKE, Parser, build
from .uid import LENGTHS

_SAM_CONFIGURATION = 0x14
_RF_CONFIGURATION = 0x32
_IN_LIST_PASSIVE_TARGET = 0x4A
_POWER_DOWN = 0x16

_SAM = (_SAM_CONFIGURATION, b"\x01\x14\x01")  # normal mode, no SAM, IRQ line in use
_SETUP = (_SAM, (_RF_CONFIGURATION, b"\x05\xff\x01\xff"))  # search for a card without end
_SETUP_ECONOMY = (_SAM, (_RF_CONFIGURATION, b"\x05\xff\x01\x00"))  # one look
_REST = (_POWER_DOWN, b"\x90\x00")  # its host's bus wakes it: I2C, HSU
_POCKET = (_POWER_DOWN, b"\x98\x01")  # a field from outside, too, and then its IRQ line says so
_LISTEN = (_IN_LIST_PASSIVE_TARGET, b"\x01\x00")  # one card, 106 kbit/s type A

ANSWER_MS = 500  # for ACK and for the answer of a set-up command; the data sheet's 15 ms are for an idle host
PARTIAL_MS = 100
CHECK_MS = 60_000  # a chip that lost its power while searching is found after this
HOLD_MS = 200  # between two looks at a card that stays
STILL_MS = 150  # an answer this quick: the card never left
MAX_TRIES = 3
RETRY_MS = 1_000
MAX_RETRY_MS = 30_000

_SENDING = 0
_WAIT_ACK = 1
_WAIT_ANSWER = 2
_LISTENING = 3
_HOLDING = 4
_RESTING = 5
_PAUSED = 6
_QUIET = (_LISTENING, _HOLDING, _RESTING, _PAUSED)


class Pn532:
    # wake: what has to go before a command to a chip that may be asleep; pause_ms: rest between two looks for a
    # card, 0: it searches all the time
    def __init__(self, now_ms: int, wake: bytes = WAKE, pause_ms: int = 0) -> None:
        self._wake = wake
        self._pause_ms = pause_ms
        self._closing = False  # the next command is to power down
        self.off = False  # powered down until the host resets
        self._parser = Parser()
        self._phase = _SENDING
        self._step = 0
        self._tries = 0
        self._due_ms = now_ms
        self._heard_ms = now_ms
        self._asked_ms = now_ms
        self._retry_ms = RETRY_MS
        self._answer = b""
        self._last = b""
        self.ready = False  # set up and answering
        self.resets = 0  # +1 each time the chip's reset line should be pulsed before what poll() returns
        self.errors = 0  # wrong, damaged and missing answers

    # Bytes from the chip, b"" when next_wake_ms() has passed without -> the UID of a card that has just come,
    # or None.
    def receive(self, data: bytes, now_ms: int) -> "bytes | None":
        if data:
            self._heard_ms = now_ms
            return self._handle(self._parser.feed(data), now_ms)
        if self._parser.partial and now_ms - self._heard_ms >= PARTIAL_MS:
            # noise that looked like the head of a long frame
            self._heard_ms = now_ms
            return self._handle(self._parser.skip(), now_ms)
        return None

    # May the host sleep now? What comes next is a card, or due by next_wake_ms().
    @property
    def quiet(self) -> bool:
        return self._phase in _QUIET and not self._answer and not self._parser.partial

    # pause_ms: as above, from now on. Call poll() afterwards.
    def economy(self, pause_ms: int, now_ms: int) -> None:
        if pause_ms != self._pause_ms:
            self._pause_ms = pause_ms
            self._step = min(self._step, 1)
            self._begin(now_ms)

    # Power down for long: .off tells when. Only a new Pn532 brings it back.
    def pocket(self, now_ms: int) -> None:
        self._pause_ms = -1
        self._closing = True
        self._begin(now_ms)

    # The host slept and the chip's answer woke it: on a UART the answer is damaged.
    def woken(self, now_ms: int) -> None:
        if self._phase == _LISTENING:
            self._parser.reset()
            self._answer = NACK
            self._due_ms = now_ms + ANSWER_MS

    # Ends a search; any other command that runs is waited for.
    def _begin(self, now_ms: int) -> None:
        if self._phase in (_LISTENING, _HOLDING, _PAUSED):
            self._due_ms = now_ms

    # -> bytes to send, b"" for none. Call after every receive().
    def poll(self, now_ms: int) -> bytes:
        if self._answer:
            answer, self._answer = self._answer, b""
            return answer
        if now_ms < self._due_ms:
            return b""
        if self.off:
            self._due_ms = now_ms + CHECK_MS
            return b""
        phase = self._phase
        if phase == _LISTENING:
            # ACK from the host ends the command that is running
            return ACK + self._send(now_ms)
        if phase in (_WAIT_ACK, _WAIT_ANSWER):
            self._failed(now_ms)
            if self._phase == _RESTING:
                return b""
        elif phase == _RESTING:
            self.resets += 1
            self._step = 0
            self._parser.reset()
        return self._send(now_ms)

    # When receive() and poll() want to be called at the latest, if nothing comes in before.
    def next_wake_ms(self) -> int:
        if self._answer:
            return self._asked_ms
        if self._parser.partial:
            return min(self._due_ms, self._heard_ms + PARTIAL_MS)
        return self._due_ms

    # Which command is next or under way.
    def _command(self) -> "tuple[int, bytes]":
        if self._step < len(_SETUP):
            return (_SETUP_ECONOMY if self._pause_ms else _SETUP)[self._step]
        if self._closing:
            return _REST if self._pause_ms >= 0 else _POCKET
        return _LISTEN

    def _send(self, now_ms: int) -> bytes:
        command, data = self._command()
        wake = self._wake if not self._step or self._phase == _PAUSED else b""
        self._phase = _WAIT_ACK
        self._asked_ms = now_ms
        self._due_ms = now_ms + ANSWER_MS
        return wake + build(command, data)

    def _handle(self, items: "list[tuple[int, bytes]]", now_ms: int) -> "bytes | None":
        uid = None
        for item in items:
            if item is GOT_ACK:
                if self._phase == _WAIT_ACK:
                    self._acknowledged(now_ms)
            elif item is GOT_DAMAGED:
                self.errors += 1
                if self._phase in (_WAIT_ANSWER, _LISTENING) and self._tries < MAX_TRIES:
                    self._tries += 1
                    self._answer = NACK  # the chip sends its answer again
                    self._due_ms = now_ms + ANSWER_MS
            elif item is GOT_NACK or item is GOT_ERROR:
                if self._phase in (_WAIT_ACK, _WAIT_ANSWER, _LISTENING):
                    self._failed(now_ms)
            else:
                uid = self._answered(item[0], item[1], now_ms) or uid
        return uid

    def _acknowledged(self, now_ms: int) -> None:
        if self._command() is not _LISTEN:
            self._phase = _WAIT_ANSWER
            self._due_ms = now_ms + ANSWER_MS
        else:
            self._phase = _LISTENING
            self._due_ms = now_ms + (ANSWER_MS if self._pause_ms else CHECK_MS)
            self.ready = True
            self._tries = 0
            self._retry_ms = RETRY_MS

    # The same command once more; after MAX_TRIES rest a while, then start over with a reset.
    def _failed(self, now_ms: int) -> None:
        self.errors += 1
        self._tries += 1
        self._parser.reset()
        self._phase = _SENDING
        self._due_ms = now_ms
        if self._tries >= MAX_TRIES:
            self._tries = 0
            self.ready = False
            self._phase = _RESTING
            self._due_ms = now_ms + self._retry_ms
            self._retry_ms = min(self._retry_ms * 2, MAX_RETRY_MS)

    def _answered(self, code: int, data: bytes, now_ms: int) -> "bytes | None":
        command = self._command()
        # an answer tells that its command arrived, also when the ACK before it was lost
        if self._phase == _WAIT_ACK and code == command[0] + 1:
            self._acknowledged(now_ms)
        if self._phase == _WAIT_ANSWER and code == command[0] + 1:
            self._tries = 0
            self._phase = _SENDING
            self._due_ms = now_ms
            if self._step < len(_SETUP):
                self._step += 1
            else:
                self._closing = False
                self._phase = _PAUSED
                self.off = self._pause_ms < 0
                self._due_ms = now_ms + self._pause_ms
            return None
        if self._phase != _LISTENING or code != _IN_LIST_PASSIVE_TARGET + 1:
            self.errors += 1
            return None
        quick = now_ms - self._asked_ms <= STILL_MS
        self._phase = _HOLDING
        self._due_ms = now_ms + HOLD_MS
        uid = _uid(data)
        if uid is None:
            if data[:1] != b"\x00":
                self.errors += 1
            else:
                # nobody there: the search was ended
                self._last = b""
                if self._pause_ms:
                    self._closing = True
                    self._due_ms = now_ms
            return None
        if quick and uid == self._last:
            return None
        self._last = uid
        return uid


# data: NbTg, Tg, SENS_RES 2, SEL_RES, length, UID -> the UID, None when it is none
def _uid(data: bytes) -> "bytes | None":
    if len(data) < 6 or data[0] != 1 or data[5] not in LENGTHS or len(data) < 6 + data[5]:
        return None
    return data[6 : 6 + data[5]]
