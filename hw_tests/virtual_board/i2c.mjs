// Layer: the chip's I2C buses. A bus is its pair of pins; chips hang on it by their 7-bit address:
// {write(bytes) -> false when it does not acknowledge, read(length) -> bytes, null when it does not acknowledge}.
export class I2c {
  constructor() {
    this.buses = new Map();
  }

  bus(scl, sda) {
    const name = `${scl}/${sda}`;
    if (!this.buses.has(name)) this.buses.set(name, new Bus());
    return this.buses.get(name);
  }
}

export class Bus {
  constructor() {
    this.chips = new Map();
    this.count = 0; // transfers, for tests of what an idle program does
  }

  attach(address, chip) {
    this.chips.set(address, chip);
  }

  // true when somebody acknowledged
  write(address, bytes) {
    this.count += 1;
    const chip = this.chips.get(address);
    return chip ? chip.write(bytes) !== false : false;
  }

  // bytes, or null when nobody acknowledged
  read(address, length) {
    this.count += 1;
    const chip = this.chips.get(address);
    return chip ? chip.read(length) : null;
  }
}
