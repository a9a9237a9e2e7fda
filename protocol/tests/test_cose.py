# Keys, frames, replay window and the device's AES-CCM against the vectors, under both interpreters.
import sys
from binascii import hexlify, unhexlify

try:
    import cryptolib  # noqa: F401
except ImportError:
    sys.path.append(__file__.replace("\\", "/").rsplit("/", 1)[0] + "/fakes")

from gatelink import ccm_device, cose, kdf, reasons
from protocol.tests.vectors import load, refusal, rows

DIRECTIONS = {"up": cose.UP, "down": cose.DOWN}


# The same keys, with the device's ciphers in place of the host's where they differ.
def derived(link_key, device, epoch, on_device):
    keys = cose.derive(unhexlify(link_key), device, epoch)
    if on_device:
        keys._ciphers = [ccm_device.Ccm(keys.up_key), ccm_device.Ccm(keys.down_key)]
    return keys


def test_hmac_and_hkdf():
    for row in rows("external/rfc4231"):
        for hmac_sha256 in (kdf.hmac_sha256, ccm_device.hmac_sha256):
            assert (
                hexlify(hmac_sha256(unhexlify(row["key"]), unhexlify(row["data"]))).decode() == row["mac"]
            ), row
    for row in rows("external/rfc5869"):
        okm = cose.hkdf_sha256(
            unhexlify(row["ikm"]), unhexlify(row["salt"]), unhexlify(row["info"]), row["length"]
        )
        assert hexlify(okm).decode() == row["okm"], row


def test_rfc8613_key_derivation_and_nonce():
    for row in rows("external/rfc8613_c1"):
        secret = unhexlify(row["master_secret"])
        salt = unhexlify(row["master_salt"])
        identity = unhexlify(row["id"])
        info_key = cose.kdf_info(identity, None, 10, "Key", 16)
        info_iv = cose.kdf_info(b"", None, 10, "IV", 13)
        assert hexlify(info_key).decode() == row["info_key"]
        assert hexlify(info_iv).decode() == row["info_iv"]
        assert hexlify(cose.hkdf_sha256(secret, salt, info_key, 16)).decode() == row["key"]
        iv = cose.hkdf_sha256(secret, salt, info_iv, 13)
        assert hexlify(iv).decode() == row["common_iv"]
        nonce = cose._nonce_base(identity, iv).to_bytes(13, "big")
        assert hexlify(nonce).decode() == row["nonce_piv_0"]


def test_keys():
    for row in rows("valid/keys"):
        keys = cose.derive(unhexlify(row["link_key"]), row["device"], row["epoch"])
        for name in ("up_key", "up_iv", "down_key", "down_iv"):
            assert hexlify(getattr(keys, name)).decode() == row[name], (row["name"], name)
        assert cose.fingerprint(unhexlify(row["link_key"])) == row["fingerprint"]
    for link_key, device, epoch in ((bytes(31), 1, 1), (bytes(32), 1 << 32, 1), (bytes(32), 1, 1 << 16)):
        assert refusal(cose.derive, link_key, device, epoch) == ("MessageError", reasons.BAD_FIELD)


def test_external_aes_ccm():
    for row in rows("external/aes_ccm_16_64_128"):
        nonce, aad = unhexlify(row["nonce"]), unhexlify(row["aad"])
        plaintext, sealed = unhexlify(row["plaintext"]), unhexlify(row["sealed"])
        for ccm in (cose.Ccm(unhexlify(row["key"])), ccm_device.Ccm(unhexlify(row["key"]))):
            assert ccm.seal(nonce, plaintext, aad) == sealed, row["name"]
            assert ccm.open_(nonce, sealed, aad) == plaintext, row["name"]
            wrong = bytes([sealed[0] ^ 1]) + sealed[1:]
            assert refusal(ccm.open_, nonce, wrong, aad) == ("AuthError", reasons.NOT_AUTHENTIC)
        if "message" in row:
            # The same bytes as they stand in the published COSE message, and the AAD that RFC 9052 makes of
            # it.
            assert row["message"].endswith(row["sealed"])
            assert hexlify(cose.cbor.dumps(["Encrypt0", b"\xa1\x01\x0a", b""])).decode() == row["aad"]


def test_golden_frames():
    whole = load("valid/cose")
    for on_device in (False, True):
        keys = derived(whole["link_key"], whole["device"], whole["epoch"], on_device)
        for row in whole["vectors"]:
            direction = DIRECTIONS[row["direction"]]
            plaintext, frame = unhexlify(row["plaintext"]), unhexlify(row["frame"])
            nonce = unhexlify(row["boot_nonce"])
            assert cose.seal(keys, direction, row["piv"], plaintext, nonce) == frame, row["name"]
            assert cose.open_(keys, direction, frame, nonce) == (row["piv"], plaintext), row["name"]
            assert cose.peek(frame) == (whole["device"], row["piv"]), row["name"]
            assert len(frame) <= len(plaintext) + cose.OVERHEAD


def test_invalid_frames():
    for on_device in (False, True):
        for row in rows("invalid/cose"):
            keys = derived(row["link_key"], row["device"], row["epoch"], on_device)
            frame, nonce = unhexlify(row["frame"]), unhexlify(row["boot_nonce"])
            found = refusal(cose.open_, keys, DIRECTIONS[row["direction"]], frame, nonce)
            assert found == (row["error"], row["reason"]), (row["name"], found)
            if row["error"] == "FrameError":
                assert refusal(cose.peek, frame) == found, row["name"]


def test_what_seal_refuses():
    keys = cose.derive(bytes(32), 1, 1)
    for piv in (-1, 1 << 40):
        assert refusal(cose.seal, keys, cose.UP, piv, b"") == ("MessageError", reasons.BAD_FIELD)
    assert refusal(cose.seal, keys, cose.UP, 0, bytes(995)) == ("FrameError", reasons.TOO_LONG)
    for nonce in (b"", bytes(7), bytes(9)):
        assert refusal(cose.seal, keys, cose.DOWN, 0, b"", nonce) == ("AuthError", reasons.NO_SESSION)


def test_same():
    for same in (kdf.same, ccm_device.same):
        assert same(b"", b"")
        assert same(b"abc", b"abc")
        assert not same(b"abc", b"abd")
        assert not same(b"abc", b"bbc")
        assert not same(b"abc", b"ab")


def test_replay_window():
    window = cose.ReplayWindow()
    assert window.fresh(0)
    window.accept(0)
    assert refusal(window.accept, 0) == ("ReplayError", reasons.REPLAYED)
    window.accept(100)
    assert not window.fresh(36)
    assert window.fresh(37)
    for piv in (37, 99, 50):
        window.accept(piv)
        assert refusal(window.accept, piv) == ("ReplayError", reasons.REPLAYED)
    assert (window.high, window.mask) == (100, 1 | 1 << 1 | 1 << 50 | 1 << 63)
    again = cose.ReplayWindow(window.high, window.mask)
    assert not again.fresh(99)
    assert again.fresh(98)
    again.accept((1 << 40) - 1)
    assert (again.high, again.mask) == ((1 << 40) - 1, 1)
    assert refusal(again.accept, 100) == ("ReplayError", reasons.REPLAYED)
    assert again.high == (1 << 40) - 1


def test_replay_window_against_a_set():
    # A small generator of its own, so that both interpreters draw the same numbers.
    state = 12345
    window = cose.ReplayWindow()
    seen = set()
    high = -1
    for _ in range(2000):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        piv = max(0, high + 40 - (state >> 8) % 130)
        expected = piv > high - 64 and piv not in seen
        assert window.fresh(piv) == expected, piv
        if expected:
            window.accept(piv)
            seen.add(piv)
            high = max(high, piv)
