// A role's main program in slices, to measure its heap: node slices.mjs '<settings JSON>', see slices.py.
// This VM frees memory only while no Python is on the C stack. So the program runs until something is due out here,
// returns, and what it left behind is collected before it goes on: gc.mem_alloc() at the end of a slice is what
// it would need if nothing were collected within the slice, after it what is really alive.
// One JSON request a line on stdin, one JSON answer a line on stdout. Idle time is skipped.
import fs from 'node:fs';
import {Clock} from './clock.mjs';
import {mountFolder} from './hostfs.mjs';
import {createMachine} from './machine.mjs';
import {createVm} from './vm.mjs';
import {Plant} from './world/plant.mjs';

const ANSWER_US = 3000; // from the device's last byte until its peer hears of it
const SLICE_US = 20_000_000;
const BUSY = 3; // calls of flash, AES and UART after which a slice ends at the next change of tasks
const DRIVER = `
import gc
import sys
import asyncio
import machine
import _aio
from time import ticks_add, ticks_ms
from _wait import interrupt

_due = getattr(gc, "_due", gc.collect)  # asks for a collection once Python has returned
_queue = _aio._queue
_run_until_complete = _aio.run_until_complete
_create_task = asyncio.create_task
asyncio.run = asyncio.create_task


async def _nap():
    await asyncio.sleep_ms(3600000)


# Ends the slice before any other task has its turn.
def _end(_):
    _queue.remove(_task)
    _queue.push(_task, ticks_add(ticks_ms(), -1000))


_task = None
_interrupt = interrupt(_end, None)


def _alive():
    return gc.mem_alloc()


def _collect():
    _due()


def _slice():
    global _task
    _task = _create_task(_nap())
    _run_until_complete(_task)
    _due()
    return gc.mem_alloc()


def _load(name):
    __import__(name)
    _due()
    return gc.mem_alloc()
`;

const settings = JSON.parse(process.argv[2]);
const say = (value) => fs.writeSync(1, `${JSON.stringify(value)}\n`);
const printed = [];
const clock = new Clock({mode: 'instant'});
const machine = createMachine({clock, flashPath: settings.flash, cause: settings.cause});
const plant = new Plant(machine, settings.wiring, {}, settings.plant);
machine.die = (why) => {
  say({dead: why, printed: Buffer.concat(printed).toString()});
  process.kill(process.pid, 'SIGKILL');
};

// The first slot that is written after a tap or credential: {virtual: ms that the models let pass, cpu: ms that this machine computed}.
let watched = null;
let durable = null;
const {flash_program: program} = machine.calls;
machine.calls.flash_program = (address, length) => {
  program(address, length);
  if (watched === null) return;
  const virtual = (clock.skippedUs - watched.skippedUs) / 1000;
  durable = {virtual, cpu: (clock.read() - watched.us) / 1000 - virtual};
  watched = null;
};
const watch = () => {
  durable = null;
  watched = {us: clock.read(), skippedUs: clock.skippedUs};
};

let busy = 0;
let over = 0;
for (const name of ['flash_read', 'aes', 'uart_write', 'uart_read', 'nvs_commit']) {
  const call = machine.calls[name];
  machine.calls[name] = (...values) => {
    busy += 1;
    return call(...values);
  };
}
const {wait} = machine.calls;
machine.calls.wait = (ms) => {
  if (ms === 0 && busy >= BUSY) machine.raiseOnce(over);
  return wait(ms);
};

const mp = await createVm({world: machine, stdout: (bytes) => printed.push(Buffer.from(bytes))});
machine.collect = () => {}; // between the slices only
mountFolder(mp.FS, '/flash', settings.files);
for (const [point, root] of settings.code) mountFolder(mp.FS, `/flash${point}`, root, {readOnly: true});
mp.runPython([
  'import vfs, os, sys',
  "vfs.umount('/')",
  "vfs.mount(vfs.VfsPosix('/flash'), '/')",
  "os.chdir('/')",
  'del vfs, os, sys',
].join('\n'));
mp.runPython(DRIVER);
const python = {};
for (const name of ['alive', 'collect', 'slice', 'load']) python[name] = mp.globals.get(`_${name}`);
over = mp.globals.get('_interrupt');
const alive = () => {
  python.collect();
  return python.alive();
};

let live = 0;
let sent = [];
let told = null;
machine.uarts[settings.wiring.uplink_uart].send = (bytes) => {
  sent.push(bytes);
  told ??= clock.after(ANSWER_US, () => machine.raiseOnce(over));
};

// Until `ms` have passed or the device has sent something.
function run(ms) {
  const end = clock.read() + ms * 1000;
  let peak = 0;
  let allocated = 0;
  let slices = 0;
  do {
    const pause = clock.at(Math.min(end, clock.now + SLICE_US), () => machine.raiseOnce(over));
    busy = 0;
    const filled = python.slice();
    peak = Math.max(peak, filled);
    allocated += filled - live;
    live = python.alive();
    slices += 1;
    clock.cancel(pause);
  } while (!sent.length && clock.now < end);
  const out = Buffer.concat(sent).toString('hex');
  sent = [];
  clock.cancel(told);
  told = null;
  return {us: clock.now, peak, live, allocated, slices, durable, sent: out};
}

const operations = {
  load: ({name}) => {
    const peak = python.load(name);
    live = python.alive();
    return {peak, live};
  },
  run: ({ms}) => run(ms),
  receive: ({data}) => machine.uarts[settings.wiring.uplink_uart].receive(Buffer.from(data, 'hex')),
  tap({uid, hold_ms: holdMs}) {
    watch();
    plant.tap(Buffer.from(uid, 'hex'), holdMs);
  },
  press: ({button, ms}) => plant.press(button, ms),
  battery({mv}) {
    plant.batteryMv = mv;
  },
  vehicle(request) {
    clock.after(request.approach_ms * 1000, watch); // when the credential is shown
    plant.vehicle({...request, credential: Buffer.from(request.credential, 'hex')}, () => {});
  },
  state: () => ({...plant.state(), flash: machine.flash.counts, printed: Buffer.concat(printed).toString()}),
};

let held = '';
const chunk = Buffer.alloc(65536);
say({alive: alive(), us: clock.read()});
for (;;) {
  const line = held.indexOf('\n');
  if (line < 0) {
    const length = fs.readSync(0, chunk);
    if (length === 0) process.exit(0);
    held += chunk.toString('utf8', 0, length);
    continue;
  }
  const request = JSON.parse(held.slice(0, line));
  held = held.slice(line + 1);
  try {
    say({...operations[request.op](request)});
  } catch (error) {
    say({dead: error.message, printed: Buffer.concat(printed).toString()});
    process.exit(1);
  }
}
