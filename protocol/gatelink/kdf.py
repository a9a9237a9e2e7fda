# Layer: secrets from secrets: HKDF-SHA256 (RFC 5869) in the shape of RFC 8613 section 3.2, and the event
# chain.
from gatelink import cbor

try:
    from gatelink.ccm_host import hmac_sha256, same
except ImportError:  # no `cryptography`: a device
    from gatelink.ccm_device import hmac_sha256, same

__all__ = ("fingerprint", "hkdf_sha256", "hmac_sha256", "kdf_info", "mac8", "same")


# -> length bytes; an empty salt counts as 32 zero bytes (RFC 5869)
def hkdf_sha256(ikm: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    key = hmac_sha256(salt or bytes(32), ikm)
    block = b""
    out = b""
    count = 0
    while len(out) < length:
        count += 1
        block = hmac_sha256(key, block + info + bytes([count]))
        out += block
    return out[:length]


# The info structure of RFC 8613 section 3.2.1. kind: "Key" or "IV"; id_context: bytes or None.
def kdf_info(identity: bytes, id_context: "bytes | None", alg: int, kind: str, length: int) -> bytes:
    return cbor.dumps([identity, id_context, alg, kind, length])


# One link of a device's event chain: previous and result 8 bytes, record from events.record().
def mac8(event_key: bytes, previous: bytes, record: bytes) -> bytes:
    return hmac_sha256(event_key, previous + record)[:8]


# What two people read to each other to see that both hold the same key: 8 hex digits in two groups.
def fingerprint(link_key: bytes) -> str:
    digits = "".join(["%02x" % byte for byte in hmac_sha256(link_key, b"gatepost fingerprint")[:4]])
    return digits[:4] + "-" + digits[4:]
