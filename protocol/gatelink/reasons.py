# Why something was refused. These words are the names of counters: none ever changes its meaning.

# framing
BAD_COBS = "bad_cobs"
BAD_CRC = "bad_crc"
# any layer: longer than its cap, or ends before what it announces, or goes on after its end
TOO_LONG = "too_long"
TRUNCATED = "truncated"
TRAILING = "trailing"
# cbor
TOO_DEEP = "too_deep"
NOT_CANONICAL = "not_canonical"
UNSUPPORTED = "unsupported"
BAD_TEXT = "bad_text"
# cose
BAD_HEADER = "bad_header"
UNKNOWN_DEVICE = "unknown_device"
NOT_AUTHENTIC = "not_authentic"
REVOKED = "revoked"
REPLAYED = "replayed"
# messages and events
UNKNOWN_TYPE = "unknown_type"
BAD_FIELD = "bad_field"
# sessions
NO_SESSION = "no_session"
STALE = "stale"
NOT_YET = "not_yet"
