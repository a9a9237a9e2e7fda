// Layer: garbage collection. This build collects only when Python has returned to JavaScript altogether, because it
// can't see what C functions hold; here the program never returns. But while it waits in `_vb.wait`, everything it
// needs hangs on its own (scanned) stack, so the collection is let through there: the interpreter's count of nested
// calls from JavaScript is shown to be 0 for one harmless call. Where that count is, is found by watching it.
const STATIC_WORDS = 0x40000; // the interpreter's static data is in the first MiB

// Finds the counter; null when this build does not show exactly one.
export function findDepth(mp) {
  const memory = () => new Int32Array(mp._module.HEAPU8.buffer, 0, STATIC_WORDS);
  let candidates = null;
  let nested = null;
  const look = (depth) => {
    const words = memory();
    if (candidates) {
      candidates = candidates.filter((index) => words[index] === depth);
      return;
    }
    candidates = [];
    for (let index = 0; index < words.length; index++) if (words[index] === depth) candidates.push(index);
  };
  mp.registerJsModule('_depth', {look, deeper: (depth) => nested(depth)});
  mp.runPython('import _depth\ndef _look(depth):\n  _depth.look(depth)\n  if depth < 4: _depth.deeper(depth + 1)\n  _depth.look(depth)');
  nested = mp.globals.get('_look');
  nested(1);
  look(0);
  nested(1);
  mp.runPython('del _depth, _look');
  return candidates.length === 1 ? candidates[0] : null;
}

// -> function that runs a collection that is due, from inside a call out of Python.
export function collector(mp) {
  const depth = findDepth(mp);
  if (depth === null) return () => {};
  const module = mp._module;
  const gate = mp.pyimport('_wait');
  const name = Buffer.from('SIZE\0'); // a number: looking it up makes nothing
  const text = module._malloc(name.length);
  module.HEAPU8.set(name, text);
  const answer = module._malloc(12);
  let words = new Int32Array(module.HEAPU8.buffer, 4 * depth, 1);
  return () => {
    if (words.buffer !== module.HEAPU8.buffer) words = new Int32Array(module.HEAPU8.buffer, 4 * depth, 1);
    const before = words[0];
    words[0] = 0;
    module._proxy_c_to_js_lookup_attr(gate._ref, text, answer);
    words[0] = before;
  };
}
