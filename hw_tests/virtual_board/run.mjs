// Runs one script in the VM: node run.mjs '{"script":..., "path":[...], "args":[...]}'. Idle time is skipped.
import fs from 'node:fs';
import path from 'node:path';
import {Clock} from './clock.mjs';
import {mountFolder} from './hostfs.mjs';
import {createMachine} from './machine.mjs';
import {createVm, execute, reportCrashes} from './vm.mjs';

reportCrashes();
const job = JSON.parse(process.argv[2]);
const out = (bytes) => {
  for (let at = 0; at < bytes.length;) at += fs.writeSync(1, bytes, at);
};
const world = createMachine({clock: new Clock({mode: 'instant'}), flashPath: null});
world.die = (why) => {
  out(Buffer.from(`machine.${why}\n`));
  process.kill(process.pid, 'SIGKILL');
};
const mp = await createVm({world, stdout: out});
const script = path.resolve(job.script);
const folders = [...new Set([path.dirname(script), ...job.path.map((folder) => path.resolve(folder))])].sort();
let last = null;
for (const folder of folders) {
  if (last !== null && folder.startsWith(`${last}/`)) continue; // inside a folder that is there already
  mountFolder(mp.FS, folder, folder);
  last = folder;
}
const python = (value) => JSON.stringify(value);
process.exitCode = execute(mp, [
  'import sys',
  `sys.path[:0] = ${python([...job.path.map((folder) => path.resolve(folder)), path.dirname(script)])}`,
  `sys.argv[:] = ${python([script, ...job.args])}`,
  `__file__ = ${python(script)}`,
  'with open(__file__) as _f: _s = _f.read()',
  "exec(compile(_s, __file__, 'exec'))",
].join('\n'), out);
