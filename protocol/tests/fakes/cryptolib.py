# AES-128 in plain Python behind the face of MicroPython's cryptolib (encryption only, ECB = 1 and CBC = 2):
# lets gatelink.ccm_device run where there is no cryptolib. Stands at that boundary only, for tests.


def _xtime(byte):
    return (byte << 1 ^ 0x1B) & 0xFF if byte & 0x80 else byte << 1


def _make_sbox():
    exponent = [0] * 255
    logarithm = [0] * 256
    value = 1
    for power in range(255):
        exponent[power] = value
        logarithm[value] = power
        value ^= _xtime(value)
    sbox = []
    for byte in range(256):
        inverse = exponent[(255 - logarithm[byte]) % 255] if byte else 0
        out = 0x63
        for turn in range(5):
            out ^= (inverse << turn | inverse >> (8 - turn)) & 0xFF
        sbox.append(out)
    return bytes(sbox)


_SBOX = _make_sbox()
# Where the byte of each place comes from in ShiftRows.
_SHIFTED = bytes([(place + 4 * (place % 4)) % 16 for place in range(16)])


def _expand(key):
    words = [key[at : at + 4] for at in range(0, 16, 4)]
    rcon = 1
    for index in range(4, 44):
        word = words[index - 1]
        if index % 4 == 0:
            word = bytes([_SBOX[word[1]] ^ rcon, _SBOX[word[2]], _SBOX[word[3]], _SBOX[word[0]]])
            rcon = _xtime(rcon)
        before = words[index - 4]
        words.append(bytes([before[at] ^ word[at] for at in range(4)]))
    return [b"".join(words[at : at + 4]) for at in range(0, 44, 4)]


def _encrypt_block(rounds, block):
    state = [block[at] ^ rounds[0][at] for at in range(16)]
    for number in range(1, 11):
        state = [_SBOX[state[at]] for at in _SHIFTED]
        if number < 10:
            mixed = []
            for at in range(0, 16, 4):
                a, b, c, d = state[at : at + 4]
                every = a ^ b ^ c ^ d
                mixed += [
                    a ^ every ^ _xtime(a ^ b),
                    b ^ every ^ _xtime(b ^ c),
                    c ^ every ^ _xtime(c ^ d),
                    d ^ every ^ _xtime(d ^ a),
                ]
            state = mixed
        state = [state[at] ^ rounds[number][at] for at in range(16)]
    return bytes(state)


class aes:  # noqa: N801  # the name on the device
    def __init__(self, key, mode, IV=None):  # noqa: N803  # the name on the device
        if len(key) != 16 or mode not in (1, 2) or (mode == 2) != (IV is not None):
            raise ValueError("key, mode or IV")
        self._rounds = _expand(bytes(key))
        self._last = bytes(IV) if mode == 2 else None

    # Into out_buf, which may be in_buf; or returned.
    def encrypt(self, in_buf, out_buf=None):
        if len(in_buf) % 16 or (out_buf is not None and len(out_buf) < len(in_buf)):
            raise ValueError("buffer length")
        out = bytearray(len(in_buf)) if out_buf is None else out_buf
        for at in range(0, len(in_buf), 16):
            block = bytes(in_buf[at : at + 16])
            if self._last is not None:
                block = bytes([block[i] ^ self._last[i] for i in range(16)])
            block = _encrypt_block(self._rounds, block)
            if self._last is not None:
                self._last = block
            out[at : at + 16] = block
        return None if out_buf is not None else bytes(out)
