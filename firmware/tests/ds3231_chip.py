# A DS3231 behind an I2C bus, register by register: time in BCD that goes on by a true clock and its own drift,
# alarm registers as memory, OSF after a lost battery; and a bus that fails when told to.
ADDRESS = 0x68


class Chip:
    # true_ms() -> ms of the world; ppm: how fast it runs.
    def __init__(self, true_ms, ppm=0):
        self.true_ms = true_ms
        self.ppm = ppm
        self.registers = bytearray(19)
        # after the first power-up: 2000-01-01 00:00:00, a Saturday, oscillator-stop flag set
        self.registers[0:7] = b"\x00\x00\x00\x07\x01\x01\x00"
        self.registers[14:16] = b"\x1c\x88"
        # the world's time when the current second began, and the seconds counted so far
        self._since = true_ms()
        # fail_at: the transfer with this number (from 0) raises `error`; torn: after so many bytes of a write
        self.transfers = 0
        self.fail_at = -1
        self.torn = 0
        self.error = 116
        self.there = True
        self.flip = None

    # The battery went: the registers are as after the first power-up, or whatever `rest` says.
    def lose(self, rest=None):
        self.__init__(self.true_ms, self.ppm)
        if rest is not None:
            self.registers[:] = rest
            self.registers[15] |= 0x80

    # Counts the seconds since the last look into the registers.
    def tick(self):
        passed = (self.true_ms() - self._since) * (1 + self.ppm * 1e-6)
        whole = int(passed // 1000)
        if whole > 0:
            self._since += whole * 1000 / (1 + self.ppm * 1e-6)
            if not self.registers[14] & 0x80:
                self._count(whole)

    def _count(self, seconds):
        regs = self.registers
        second, minute, hour = [(regs[i] >> 4) * 10 + (regs[i] & 15) for i in (0, 1, 2)]
        day, month, year = [(regs[i] >> 4) * 10 + (regs[i] & 15) for i in (4, 5, 6)]
        days, rest = divmod(((hour * 60 + minute) * 60 + second) + seconds, 86_400)
        regs[3] = (regs[3] - 1 + days) % 7 + 1
        while days:
            length = (31, 29 if year % 4 == 0 else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]
            step = min(days, length - day + 1)
            day += step
            days -= step
            if day > length:
                day = 1
                month += 1
            if month > 12:
                month = 1
                year += 1
        numbers = (rest % 60, rest // 60 % 60, rest // 3600)
        for index, number in zip((0, 1, 2, 4, 5, 6), numbers + (day, month, year)):  # noqa: B905
            regs[index] = number // 10 << 4 | number % 10

    def _transfer(self):
        if not self.there:
            raise OSError(19)
        number = self.transfers
        self.transfers += 1
        if number == self.fail_at:
            raise OSError(self.error)

    # As machine.I2C.
    def readfrom_mem(self, address, register, count):
        assert address == ADDRESS
        self._transfer()
        self.tick()
        data = bytearray([self.registers[(register + i) % 19] for i in range(count)])
        if self.flip is not None and self.flip[0] == self.transfers - 1:
            data[self.flip[1] % count] ^= 1 << self.flip[2]
        return bytes(data)

    def writeto_mem(self, address, register, data):
        assert address == ADDRESS
        count = len(data)
        broken = None
        try:
            self._transfer()
        except OSError as problem:
            if not self.there or not self.torn:
                raise
            broken = problem
            count = self.torn
        self.tick()
        for index in range(min(count, len(data))):
            at = (register + index) % 19
            if at == 15:
                # OSF and the alarm flags can only be cleared
                self.registers[15] = (data[index] & 0x08) | (self.registers[15] & data[index] & 0x83)
            elif at < 17:
                self.registers[at] = data[index]
            if at == 0:
                self._since = self.true_ms()
        if broken:
            raise broken
