// Layer: one real MicroPython VM in this process, with `_vb` (the machine's other side) and the shims in lib/.
import fs from 'node:fs';
import {fileURLToPath} from 'node:url';
import path from 'node:path';
import {collector} from './collect.mjs';
import {install} from './clock.mjs';
import {boardErrors, mountFolder} from './hostfs.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const PACKAGE = '@micropython/micropython-webassembly-pyscript';
export const SHIMS = '/.board';
const EPOCH_2000_MS = 946684800000; // an ESP32 without a set clock starts here
const SCRATCH = 16384;

// `world`: {clock, bootUs, calls}; calls are numbers-in, number-out functions; bytes go through the scratch buffer.
export async function createVm({world, stdout, ticksStartMs = 0}) {
  const require = (await import('node:module')).createRequire(import.meta.url);
  const {loadMicroPython} = await import(require.resolve(`${PACKAGE}/micropython.mjs`));
  const {clock} = world;
  let spinning = false;
  install(() => clock.read() - world.bootUs, () => {
    if (spinning) clock.spin();
  }, EPOCH_2000_MS);
  const mp = await loadMicroPython({
    url: require.resolve(`${PACKAGE}/micropython.wasm`),
    heapsize: 1024 * 1024,
    linebuffer: false,
    stdout: (bytes) => stdout(bytes),
    stderr: (bytes) => stdout(bytes),
  });
  // From here on the VM's ticks_ms is uptime + ticksStartMs.
  install(() => clock.read() - world.bootUs + ticksStartMs * 1000, () => {
    if (spinning) clock.spin();
  }, EPOCH_2000_MS);
  const module = mp._module;
  const address = module._malloc(SCRATCH);
  const scratch = {
    size: SCRATCH,
    take: (length, offset = 0) => Buffer.from(module.HEAPU8.slice(address + offset, address + offset + length)),
    put: (bytes, offset = 0) => {
      module.HEAPU8.set(bytes, address + offset);
      return bytes.length;
    },
  };
  world.scratch = scratch;
  mp.registerJsModule('_vb', {
    ...world.calls,
    address,
    collect: () => world.collect(),
    size: SCRATCH,
    ticks_us: () => {
      clock.spin();
      return (clock.read() - world.bootUs + ticksStartMs * 1000) % 2 ** 30 | 0;
    },
  });
  boardErrors(mp.FS);
  mountFolder(mp.FS, SHIMS, path.join(HERE, 'lib'), {readOnly: true});
  mp.runPython(fs.readFileSync(path.join(HERE, 'lib', '_boot.py'), 'utf8'));
  world.collect = collector(mp);
  spinning = true;
  return mp;
}

// An error that nobody expected: its stack and no more (the interpreter's loader is one line of 100 kB).
export function reportCrashes() {
  process.on('uncaughtException', (error) => {
    fs.writeSync(2, `${String(error?.stack ?? error).slice(0, 4000)}\n`);
    process.exit(70);
  });
}

// Runs Python source; the exit code a process would have: 0, 1 with the traceback printed, or SystemExit's code.
export function execute(mp, source, stdout) {
  try {
    mp.runPython(source);
    return 0;
  } catch (error) {
    if (error.name !== 'PythonError') throw error;
    if (error.type === 'SystemExit') {
      const code = /SystemExit: ?(-?\d+)?\s*$/.exec(error.message);
      return code ? Number(code[1] ?? 0) : 1;
    }
    stdout(Buffer.from(`${error.message}\n`));
    return 1;
  }
}
