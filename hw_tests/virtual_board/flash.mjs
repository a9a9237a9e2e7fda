// Layer: the flash chip as one file, with NOR rules and a power that can fail at any byte.
// Programming only clears bits, erasing sets a 4 KiB block to FF; every operation is in the file when it returns.
import fs from 'node:fs';

export const FLASH_SIZE = 0x400000;
export const BLOCK = 4096;
export const NVS = {label: 'nvs', type: 1, subtype: 2, offset: 0x9000, size: 0x6000};
// Type and subtype numbers are ESP-IDF's; the application slot is there for its name only.
export const PARTITIONS = [
  NVS,
  {label: 'factory', type: 0, subtype: 0, offset: 0x10000, size: 0x1f0000},
  {label: 'journal', type: 1, subtype: 0x40, offset: 0x200000, size: 0x200000},
];

export class Flash {
  // `path` null: a chip in memory that nobody else sees.
  constructor(path) {
    this.path = path;
    this.fd = null;
    this.image = Buffer.alloc(FLASH_SIZE, 0xff);
    this.cuts = [];
    this.counts = {program: 0, erase: 0, nvs: 0, file: 0, name: 0, bytes: 0};
    this.onCut = () => {};
    if (path === null) return;
    if (fs.existsSync(path)) {
      fs.readFileSync(path).copy(this.image);
      this.fd = fs.openSync(path, 'r+');
    } else {
      this.fd = fs.openSync(path, 'w+');
      fs.writeSync(this.fd, this.image, 0, FLASH_SIZE, 0);
    }
  }

  // The `nth` operation of this kind from now on (1 = the next) stops after `byte` bytes; bits set in `spared` of the
  // byte after them are not reached, the others of that byte are.
  armCut(op, nth, byte, spared = 0xff) {
    this.cuts.push({op, nth, byte, spared});
  }

  // The cut that hits this operation of `length` bytes, if any.
  strikes(op) {
    this.counts[op] += 1;
    for (const cut of this.cuts) {
      if (cut.op === op) cut.nth -= 1;
    }
    const hit = this.cuts.findIndex((cut) => cut.op === op && cut.nth === 0);
    return hit < 0 ? null : this.cuts.splice(hit, 1)[0];
  }

  put(address, bytes) {
    bytes.copy(this.image, address);
    if (this.fd !== null && bytes.length) fs.writeSync(this.fd, bytes, 0, bytes.length, address);
  }

  read(address, length) {
    return this.image.subarray(address, address + length);
  }

  program(address, bytes) {
    this.counts.bytes += bytes.length;
    const cut = this.strikes('program');
    const stop = cut ? Math.min(cut.byte, bytes.length) : bytes.length;
    const result = Buffer.alloc(cut && stop < bytes.length ? stop + 1 : stop);
    for (let i = 0; i < stop; i++) result[i] = this.image[address + i] & bytes[i];
    if (stop < result.length) result[stop] = this.image[address + stop] & (bytes[stop] | cut.spared);
    this.put(address, result);
    if (cut) this.onCut('program');
  }

  erase(address) {
    const start = address - (address % BLOCK);
    const cut = this.strikes('erase');
    this.put(start, Buffer.alloc(cut ? Math.min(cut.byte, BLOCK) : BLOCK, 0xff));
    if (cut) this.onCut('erase');
  }

  // Writes past NOR rules: for the NVS area, whose own log structure is not modelled.
  overwrite(address, bytes) {
    const cut = this.strikes('nvs');
    this.put(address, cut ? bytes.subarray(0, Math.min(cut.byte, bytes.length)) : bytes);
    if (cut) this.onCut('nvs');
  }

  // Gate for the file system, before each operation: see hostfs.mjs.
  gate(op) {
    if (this.strikes(op === 'file' ? 'file' : 'name')) this.onCut(op);
  }
}
