# Layer: PN532 NFC reader as a state machine over its serial bytes (HSU). Sans-IO: bytes and time in, UIDs and
# bytes out. While no card is near the chip searches by itself and nothing is sent: its answer is the
# interrupt.
from .pn532_frames import ACK, GOT_ACK, GOT_DAMAGED, GOT_ERROR, GOT_NACK, NACK, WAKE, Parser, build
from .uid import LENGTHS

_SAM_CONFIGURATION = 0x14
_RF_CONFIGURATION = 0x32
_IN_LIST_PASSIVE_TARGET = 0x4A

_SETUP = (
    (_SAM_CONFIGURATION, b"\x01\x14\x01"),  # normal mode, no SAM
    (_RF_CONFIGURATION, b"\x05\xff\x01\xff"),  # search for a card without end
)
_LISTEN = (_IN_LIST_PASSIVE_TARGET, b"\x01\x00")  # one card, 106 kbit/s type A

ANSWER_MS = 500  # for ACK and for the answer of a set-up command; the data sheet's 15 ms are for an idle host
PARTIAL_MS = 100
CHECK_MS = 60_000  # a chip that lost its power while searching is found after this
HOLD_MS = 200  # between two looks at a card that stays
STILL_MS = 150  # an answer this quick: the card never left
MAX_TRIES = 3
RETRY_MS = 1_000
MAX_RETRY_MS = 30_000

_SENDING, _WAIT_ACK, _WAIT_ANSWER, _LISTENING, _HOLDING, _RESTING = range(6)


class Pn532:
    def __init__(self, now_ms: int) -> None:
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

    # -> bytes to send, b"" for none. Call after every receive().
    def poll(self, now_ms: int) -> bytes:
        if self._answer:
            answer, self._answer = self._answer, b""
            return answer
        if now_ms < self._due_ms:
            return b""
        phase = self._phase
        if phase == _LISTENING:
            # ACK from the host ends the command that is running
            self._phase = _SENDING
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

    def _send(self, now_ms: int) -> bytes:
        setting_up = self._step < len(_SETUP)
        command, data = _SETUP[self._step] if setting_up else _LISTEN
        self._phase = _WAIT_ACK
        self._asked_ms = now_ms
        self._due_ms = now_ms + ANSWER_MS
        return (b"" if self._step else WAKE) + build(command, data)

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
        if self._step < len(_SETUP):
            self._phase = _WAIT_ANSWER
            self._due_ms = now_ms + ANSWER_MS
        else:
            self._phase = _LISTENING
            self._due_ms = now_ms + CHECK_MS
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
        setting_up = self._step < len(_SETUP)
        # an answer tells that its command arrived, also when the ACK before it was lost
        if self._phase == _WAIT_ACK and code == (_SETUP[self._step] if setting_up else _LISTEN)[0] + 1:
            self._acknowledged(now_ms)
        if self._phase == _WAIT_ANSWER and setting_up and code == _SETUP[self._step][0] + 1:
            self._step += 1
            self._tries = 0
            self._phase = _SENDING
            self._due_ms = now_ms
            return None
        if self._phase != _LISTENING or code != _IN_LIST_PASSIVE_TARGET + 1:
            self.errors += 1
            return None
        quick = now_ms - self._asked_ms <= STILL_MS
        self._phase = _HOLDING
        self._due_ms = now_ms + HOLD_MS
        uid = _uid(data)
        if uid is None:
            self.errors += 1 if data[:1] != b"\x00" else 0  # no target: the search was ended
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
