// Layer: the other side of the shims: what `machine`, `esp32` and `cryptolib` ask for. Numbers and strings in,
// numbers out; bytes go through the scratch buffer.
import {createCipheriv, createDecipheriv, randomBytes} from 'node:crypto';
import {Flash, PARTITIONS} from './flash.mjs';
import {I2c} from './i2c.mjs';
import {Nvs} from './nvs.mjs';
import {Pins} from './pins.mjs';
import {BOOT_US, Sleep} from './sleep.mjs';
import {Uart} from './uart.mjs';

const PIN_IRQS_HELD = 256;
export const CAUSE = {power: 1, reset: 2, wdt: 3, deepsleep: 4, soft: 5};

export function createMachine({clock, flashPath, bootUs = clock.now, cause = CAUSE.power, rtc = '', chip = 'esp32',
  wakeReason = 0, poweredUs = bootUs}) {
  const pending = [];
  const raiseIrq = (id) => {
    if (pending.length < PIN_IRQS_HELD && !sleep.asleep) pending.push(id);
  };
  const raiseOnce = (id) => {
    if (!pending.includes(id)) pending.push(id);
  };
  const flash = new Flash(flashPath);
  const nvs = new Nvs(flash);
  const pins = new Pins(raiseIrq);
  const sleep = new Sleep({clock, pins, chip, reason: wakeReason});
  const i2c = new I2c();
  const uarts = Array.from({length: chip === 'esp32c3' ? 2 : 3}, () => new Uart(raiseOnce, sleep));
  const timers = new Map();
  const adc = new Map();
  let watchdog = null;
  const world = {clock, bootUs, flash, nvs, pins, uarts, adc, i2c, sleep, pending, raiseIrq, raiseOnce, scratch: null,
    rtc: Buffer.from(rtc, 'hex'), uniqueId: Buffer.from('246f28000001', 'hex'), collect: () => {}};
  // Replaced by whoever runs the VM; must not return.
  world.die = () => process.kill(process.pid, 'SIGKILL');
  flash.onCut = (op) => world.die('power', {op});

  const clearTimer = (id) => {
    clock.cancel(timers.get(id));
    timers.delete(id);
  };
  const aesName = (length, mode) => `aes-${length * 8}-${mode === 1 ? 'ecb' : 'cbc'}`;

  world.calls = {
    // ms < 0: until an interrupt. 0 = time is up, -1 = keyboard interrupt, else the number of the interrupt.
    wait(ms) {
      if (ms !== 0) world.collect();
      return clock.wait(ms < 0 ? Infinity : ms * 1000, () => (pending.length ? pending.shift() : 0));
    },
    reset: (soft) => world.die(soft ? 'soft' : 'reset'),
    reset_cause: () => cause,
    random: (length) => world.scratch.put(randomBytes(length)),
    unique_id: () => world.scratch.put(world.uniqueId),
    // RAM is gone afterwards, outputs float, and waking up takes its time.
    deepsleep(ms) {
      clock.cancel(watchdog);
      for (const id of [...timers.keys()]) clearTimer(id);
      pins.float();
      sleep.until(ms, true);
      sleep.asleep = true;
      clock.wait(BOOT_US, () => 0);
      world.die('deepsleep', {wake_reason: sleep.reason});
    },
    lightsleep: (ms) => sleep.until(ms, false),
    wake_reason: () => sleep.reason,
    // pins: their numbers, a byte each, in the scratch buffer
    wake_pins: (source, length, level) => sleep.arm(source, [...world.scratch.take(length)], level),
    chip: () => chip,
    // ms since the power came; runs on through resets and deep sleep
    system_ms: () => Math.floor((clock.read() - poweredUs) / 1000),

    i2c_write: (scl, sda, address, length) => (i2c.bus(scl, sda).write(address, world.scratch.take(length)) ? 1 : 0),
    i2c_read(scl, sda, address, length) {
      const bytes = i2c.bus(scl, sda).read(address, length);
      return bytes === null ? -1 : world.scratch.put(bytes);
    },
    rtc_get: () => world.scratch.put(world.rtc),
    rtc_set(length) {
      world.rtc = world.scratch.take(length);
    },

    pin_setup: (number, mode, pull) => pins.setup(number, mode, pull),
    pin_read(number) {
      clock.spin();
      return pins.level(number);
    },
    pin_write: (number, level) => pins.write(number, level),
    pin_irq: (number, trigger, irq) => pins.setIrq(number, trigger, irq),
    pwm: (number, frequency, duty) => pins.setPwm(number, frequency, duty),
    adc_uv: (number) => Math.round(adc.get(number)?.() ?? 0),

    uart_open(id, open, rxPin) {
      uarts[id].enabled = open;
      uarts[id].rxPin = rxPin;
      uarts[id].clear();
    },
    uarts: () => uarts.length,
    uart_write: (id, length) => uarts[id].send(world.scratch.take(length)),
    uart_any(id) {
      if (uarts[id].length === 0) clock.spin();
      return uarts[id].length;
    },
    uart_read: (id, length) => world.scratch.put(uarts[id].take(length)),
    uart_irq: (id, trigger, irq) => uarts[id].setIrq(trigger, irq),

    timer(id, periodMs, repeat, irq) {
      clearTimer(id);
      if (periodMs < 0) return;
      const fire = () => {
        if (repeat) timers.set(id, clock.after(periodMs * 1000, fire));
        raiseOnce(irq);
      };
      timers.set(id, clock.after(periodMs * 1000, fire));
    },
    watchdog(ms) {
      clock.cancel(watchdog);
      watchdog = ms > 0 ? clock.after(ms * 1000, () => world.die('wdt')) : null;
    },

    partitions: () => JSON.stringify(PARTITIONS),
    flash_read: (address, length) => world.scratch.put(flash.read(address, length)),
    flash_program: (address, length) => flash.program(address, world.scratch.take(length)),
    flash_erase: (address) => flash.erase(address),

    nvs_set_i32: (space, key, value) => nvs.set(space, key, 'i32', value),
    nvs_set_blob: (space, key, length) => nvs.set(space, key, 'blob', world.scratch.take(length).toString('hex')),
    nvs_has: (space, key, type) => nvs.get(space, key, type) !== null,
    nvs_get_i32: (space, key) => nvs.get(space, key, 'i32'),
    nvs_get_blob: (space, key) => world.scratch.put(Buffer.from(nvs.get(space, key, 'blob'), 'hex')),
    nvs_erase: (space, key) => nvs.erase(space, key),
    nvs_commit: () => nvs.commit(),

    // Scratch: key at 0, IV at 32, data from 64 on; the result is written over the data.
    aes(encrypt, mode, keyLength, length) {
      const make = encrypt ? createCipheriv : createDecipheriv;
      const iv = mode === 1 ? null : world.scratch.take(16, 32);
      const cipher = make(aesName(keyLength, mode), world.scratch.take(keyLength), iv);
      cipher.setAutoPadding(false);
      world.scratch.put(cipher.update(world.scratch.take(length, 64)), 64);
    },
  };
  return world;
}
