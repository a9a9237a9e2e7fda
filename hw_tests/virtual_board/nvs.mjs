// Layer: the NVS store in its flash area. Two copies, each `GNVS | generation u32 | length u32 | crc32 u32 | JSON`
// (little endian, CRC over generation, length and JSON); the newest whole copy counts, a commit writes the other one.
// JSON: {namespace: {key: ["i32", number] | ["blob", hex]}}. hw_tests/virtual_board/nvs.py writes the same.
import {crc32 as zlibCrc32} from 'node:zlib';
import {NVS} from './flash.mjs';

const HALF = NVS.size / 2;
const MAGIC = Buffer.from('GNVS');
const HEAD = 16;

let table = null;
function slowCrc32(bytes) {
  table ??= Uint32Array.from({length: 256}, (_, byte) => {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    return value;
  });
  let value = 0xffffffff;
  for (const byte of bytes) value = table[(value ^ byte) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}
const crc32 = zlibCrc32 ?? slowCrc32; // node:zlib has it from 20.15 on

export class Nvs {
  constructor(flash) {
    this.flash = flash;
    this.generation = 0;
    this.slot = 1;
    this.stored = {};
    for (const slot of [0, 1]) {
      const copy = this.load(slot);
      if (copy && copy.generation > this.generation) {
        ({generation: this.generation, data: this.stored} = copy);
        this.slot = slot;
      }
    }
    this.working = structuredClone(this.stored);
  }

  load(slot) {
    const half = this.flash.read(NVS.offset + slot * HALF, HALF);
    if (!half.subarray(0, 4).equals(MAGIC)) return null;
    const length = half.readUInt32LE(8);
    if (length > HALF - HEAD) return null;
    const body = half.subarray(HEAD, HEAD + length);
    if (crc32(Buffer.concat([half.subarray(4, 12), body])) !== half.readUInt32LE(12)) return null;
    return {generation: half.readUInt32LE(4), data: JSON.parse(body.toString())};
  }

  set(namespace, key, type, value) {
    (this.working[namespace] ??= {})[key] = [type, value];
  }

  get(namespace, key, type) {
    const entry = this.working[namespace]?.[key];
    return entry && entry[0] === type ? entry[1] : null;
  }

  erase(namespace, key) {
    const there = this.working[namespace]?.[key] !== undefined;
    if (there) delete this.working[namespace][key];
    return there;
  }

  // false: no room.
  commit() {
    const body = Buffer.from(JSON.stringify(this.working));
    if (body.length > HALF - HEAD) return false;
    const copy = Buffer.alloc(HEAD + body.length);
    MAGIC.copy(copy);
    copy.writeUInt32LE(this.generation + 1, 4);
    copy.writeUInt32LE(body.length, 8);
    body.copy(copy, HEAD);
    copy.writeUInt32LE(crc32(Buffer.concat([copy.subarray(4, 12), body])), 12);
    this.flash.overwrite(NVS.offset + (1 - this.slot) * HALF, copy);
    this.slot = 1 - this.slot;
    this.generation += 1;
    this.stored = structuredClone(this.working);
    return true;
  }
}
