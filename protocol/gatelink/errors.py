# One root, leaves by what the caller must do.


# reason: one of gatelink.reasons; detail: for a technician, never from the peer unsanitised.
class GatelinkError(Exception):
    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return self.reason + ": " + self.detail if self.detail else self.reason


# The bytes are no frame: drop them, wait for the next one.
class FrameError(GatelinkError):
    pass


# The bytes are no CBOR of the subset that is spoken here.
class CborError(GatelinkError):
    pass


# The frame was not made by the holder of the key, or not for this session: no effect, no answer.
class AuthError(GatelinkError):
    pass


# Authentic, but seen before: no effect; the receiver may acknowledge again.
class ReplayError(GatelinkError):
    pass


# Authentic and well-formed, but not a message this version knows.
class MessageError(GatelinkError):
    pass
