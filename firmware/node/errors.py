# One root, leaves by what the caller must do.


class NodeError(Exception):
    pass


# Tell the person that this event was not taken; it is counted and will be reported.
class JournalFull(NodeError):
    pass


# The flash does not keep what is written: the device needs service.
class FlashError(NodeError):
    pass


# Keys or counters are absent or used up: stay off the wire until a technician provisions the device.
class NotProvisioned(NodeError):
    pass
