// Layer: a Wiegand reader: credential bytes -> pulses on D0 and D1. 3 bytes give 26 bits, 4 bytes give 34.
const PULSE_US = 50;
const PERIOD_US = 2000;

export function wiegandBits(credential) {
  const data = [...credential].flatMap((byte) => [7, 6, 5, 4, 3, 2, 1, 0].map((bit) => (byte >> bit) & 1));
  const half = data.length / 2;
  const ones = (bits) => bits.reduce((sum, bit) => sum + bit, 0);
  return [ones(data.slice(0, half)) % 2, ...data, 1 - (ones(data.slice(half)) % 2)];
}

// Pulses start at once; -> microseconds until the last one is over.
export function sendBits(clock, bits, drive) {
  bits.forEach((bit, index) => {
    clock.after(index * PERIOD_US, () => drive(bit, 0));
    clock.after(index * PERIOD_US + PULSE_US, () => drive(bit, 1));
  });
  return bits.length * PERIOD_US;
}
