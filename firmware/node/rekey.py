# The device's side of a new link key, in two phases: pending beside the old one until the edge has welcomed
# this device under it. See protocol/README.md, "A new link key".
from gatelink import cose, messages, reasons
from gatelink.errors import AuthError, GatelinkError

try:
    from typing import Any
except ImportError:
    pass

# hellos under the pending key before both are tried in turns
_FIRST = 3


class Rekey:
    # keystore: .keys (spoken at present), .other (the second one while a key is pending), .trying (.keys is the
    # pending one), .switch(), .store_next(), .commit_next()
    def __init__(self, keystore: "Any") -> None:
        self._keystore = keystore
        self._hellos = 0
        # a key was stored: leave the session and say hello under it, once the result is out
        self.due = False
        if keystore.other:
            self.begin()

    # Speaks the pending key from now on.
    def begin(self) -> None:
        self.due = False
        self._hellos = 0
        if not self._keystore.trying:
            self._keystore.switch()

    # Called before every hello.
    def turn(self) -> None:
        if self._keystore.other:
            self._hellos += 1
            if self._hellos > _FIRST:
                self._keystore.switch()

    # A frame from the edge -> (piv, plaintext, came under the pending key). Raises as cose.open_().
    def open_(self, frame: bytes, boot_nonce: bytes) -> "tuple[int, bytes, bool]":
        store = self._keystore
        try:
            piv, plaintext = cose.open_(store.keys, cose.DOWN, frame, boot_nonce)
        except AuthError as problem:
            if not store.other or problem.reason != reasons.NOT_AUTHENTIC:
                raise
            piv, plaintext = cose.open_(store.other, cose.DOWN, frame, boot_nonce)
            return piv, plaintext, not store.trying
        return piv, plaintext, store.trying

    # A CONFIG of kind REKEY -> (RESULT code, detail); durable when it is DONE.
    def take(self, config: "Any") -> "tuple[int, str]":
        store = self._keystore
        if config.offset or len(config.chunk) != config.total:
            return messages.REFUSED, "in pieces"
        try:
            epoch, link_key = messages.decode_rekey(config.chunk)
        except GatelinkError as problem:
            return messages.REFUSED, problem.reason
        if epoch != store.epoch + 1:
            return messages.REFUSED, "epoch is %d" % store.epoch
        try:
            store.store_next(epoch, link_key)
        except OSError:
            return messages.FAILED, "not stored"
        self.due = True
        return messages.DONE, ""

    # The edge has welcomed this device under the pending key (True) or the old one.
    def settle(self, pending: bool) -> None:
        store = self._keystore
        if not store.other:
            return
        if pending != store.trying:
            store.switch()
        if pending:
            store.commit_next()
