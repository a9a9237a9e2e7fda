// One virtual board, powered on until it dies: node board.mjs '<settings JSON>'. See link.mjs for its pipes and
// board.py for who starts it. The process ends at a power cut and at every reset; flash and world outlive it.
import fs from 'node:fs';
import {Clock} from './clock.mjs';
import {Control} from './control.mjs';
import {mountFolder} from './hostfs.mjs';
import {Inbox, realNowMs, sendFrame, sendJson} from './link.mjs';
import {createMachine} from './machine.mjs';
import {createVm, execute, reportCrashes} from './vm.mjs';
import {Repl} from './repl.mjs';
import {Plant} from './world/plant.mjs';

reportCrashes();
const settings = JSON.parse(process.argv[2]);
const inbox = new Inbox();
const clock = new Clock({mode: settings.mode, speed: settings.speed, nowUs: settings.now_us,
  startedMs: settings.started_ms, inbox, realNowMs});
const machine = createMachine({clock, flashPath: settings.flash, cause: settings.cause, rtc: settings.rtc,
  chip: settings.chip, wakeReason: settings.wake_reason, poweredUs: settings.powered_us});
machine.uniqueId = Buffer.from(settings.unique_id, 'hex');
const plant = new Plant(machine, settings.wiring, settings.saved, settings.plant);
for (const [from, to] of settings.plant.jumpers ?? []) machine.pins.jumper(from, to);

machine.die = (why, more = {}) => {
  sendJson({event: 'dead', why, now_us: clock.now, saved: plant.saved(), rtc: machine.rtc.toString('hex'), ...more});
  process.kill(process.pid, 'SIGKILL');
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
};

const uplink = machine.uarts[settings.wiring.uplink_uart ?? 1];
uplink.send = (bytes) => sendFrame('U', bytes);
const log = (bytes) => sendFrame('R', bytes);
const repl = new Repl({clock, machine, out: log});
const control = new Control({clock, machine, plant, settings, reply: sendJson});
clock.onSettled = () => control.settled();
inbox.onFrame = (type, bytes, atMs) => {
  const us = clock.mode === 'scaled' ? (atMs - clock.startedMs) * 1000 * clock.speed : clock.now;
  clock.at(us, () => {
    if (type === 'U') uplink.receive(bytes);
    else if (type === 'R') repl.receive(bytes);
    else if (type === 'C') control.request(JSON.parse(bytes.toString()));
  });
};

const mp = await createVm({world: machine, stdout: log, ticksStartMs: settings.ticks_start_ms});
mountFolder(mp.FS, '/flash', settings.files, {onWrite: (op) => machine.flash.gate(op)});
for (const {point, root} of settings.code) mountFolder(mp.FS, `/flash${point}`, root, {readOnly: true});
mp.runPython([
  'import vfs, os, sys',
  "vfs.umount('/')",
  "vfs.mount(vfs.VfsPosix('/flash'), '/')",
  "os.chdir('/')",
  "sys.path.remove('/.board')",
  'del vfs, os, sys',
].join('\n'));

sendJson({event: 'booted', now_us: clock.now});
let code = 0;
for (const [name, source] of settings.programs) {
  const path = source === null ? `${settings.files}/${name}` : source;
  if (!fs.existsSync(path)) continue;
  code = execute(mp, `exec(compile(${JSON.stringify(fs.readFileSync(path, 'utf8'))}, '/${name}', 'exec'))`, log);
}
control.ended(code);
sendJson({event: 'ended', code, now_us: clock.now});
repl.run(mp, settings.raw_repl);
log(Buffer.from('MPY: soft reboot\r\n'));
machine.die('soft', {raw_repl: repl.raw});
