# AES test vectors: FIPS-197 appendix C.1-C.3, NIST SP 800-38A F.2.1 (CBC-AES128).
import cryptolib

PLAIN = bytes.fromhex("00112233445566778899aabbccddeeff")
ECB = {
    16: "69c4e0d86a7b0430d8cdb78070b4c55a",
    24: "dda97ca4864cdfe06eaf70a0ec0d7191",
    32: "8ea2b7ca516745bfeafc49904b496089",
}
KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
IV = bytes(range(16))
TEXT = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
CBC = bytes.fromhex(
    "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"
    "73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7"
)


def refused(call):
    try:
        call()
    except ValueError:
        return True
    return False


def test_ecb():
    for length, cipher in ECB.items():
        key = bytes(range(length))
        assert cryptolib.aes(key, 1).encrypt(PLAIN) == bytes.fromhex(cipher), length
        assert cryptolib.aes(key, 1).decrypt(bytes.fromhex(cipher)) == PLAIN, length


def test_cbc_in_pieces():
    box = cryptolib.aes(KEY, 2, IV)
    assert box.encrypt(TEXT[:16]) + box.encrypt(TEXT[16:]) == CBC
    back = cryptolib.aes(KEY, 2, IV)
    assert back.decrypt(CBC[:48]) + back.decrypt(CBC[48:]) == TEXT


def test_in_place_and_long():
    data = bytearray(TEXT)
    assert cryptolib.aes(KEY, 2, IV).encrypt(data, data) is data
    assert data == CBC
    long = TEXT * 1000
    assert cryptolib.aes(KEY, 2, IV).decrypt(cryptolib.aes(KEY, 2, IV).encrypt(long)) == long


def test_refuses():
    box = cryptolib.aes(KEY, 1)
    assert refused(lambda: box.encrypt(b"123"))
    box.encrypt(PLAIN)
    assert refused(lambda: box.decrypt(PLAIN))
    assert refused(lambda: cryptolib.aes(b"short", 1))
    assert refused(lambda: cryptolib.aes(KEY, 2))
    assert refused(lambda: cryptolib.aes(KEY, 6))


for name, test in sorted(globals().items()):
    if name.startswith("test_"):
        test()
        print(name, "ok")
