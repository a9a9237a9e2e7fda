// Layer: the two pipes to the host process. Frames: length u32 LE of what follows, type byte, payload.
//   in (stdin):  C control JSON, U bytes for UART 1, R bytes for the console (UART 0)
//   out (stdout): J JSON (replies, events), U bytes from UART 1, R bytes of the console
// Incoming frames are read by a worker thread, so that the VM may block in the middle of a Python call.
import fs from 'node:fs';
import {MessageChannel, Worker, isMainThread, receiveMessageOnPort, workerData} from 'node:worker_threads';
import {fileURLToPath} from 'node:url';
import net from 'node:net';

// The monotonic clock of the machine, the same in every process of it (Python: time.monotonic()).
export const realNowMs = () => Number(process.hrtime.bigint()) / 1e6;

// Frames arrive with their real time of arrival; nothing here knows virtual time.
export class Inbox {
  constructor() {
    this.counter = new Int32Array(new SharedArrayBuffer(4));
    this.seen = 0;
    const {port1, port2} = new MessageChannel();
    this.port = port1;
    this.worker = new Worker(fileURLToPath(import.meta.url), {
      workerData: {counter: this.counter, port: port2}, transferList: [port2], stdin: false,
    });
    this.onFrame = () => {};
  }

  drain() {
    const count = Atomics.load(this.counter, 0);
    if (count === this.seen) return;
    this.seen = count;
    for (let got = receiveMessageOnPort(this.port); got; got = receiveMessageOnPort(this.port)) {
      const {type, bytes, atMs} = got.message;
      this.onFrame(type, Buffer.from(bytes), atMs);
    }
  }

  // Until a frame comes, at most `ms` of real time.
  block(ms) {
    Atomics.wait(this.counter, 0, this.seen, ms === Infinity ? undefined : Math.max(0, ms));
  }
}

export function sendFrame(type, payload) {
  const frame = Buffer.allocUnsafe(5 + payload.length);
  frame.writeUInt32LE(payload.length + 1, 0);
  frame.writeUInt8(type.charCodeAt(0), 4);
  frame.set(payload, 5);
  for (let at = 0; at < frame.length;) at += fs.writeSync(1, frame, at);
}

export const sendJson = (value) => sendFrame('J', Buffer.from(JSON.stringify(value)));

function readFrames({counter, port}) {
  let held = Buffer.alloc(0);
  const socket = new net.Socket({fd: 0, readable: true, writable: false});
  const tell = (type, bytes) => {
    port.postMessage({type, bytes, atMs: realNowMs()});
    Atomics.add(counter, 0, 1);
    Atomics.notify(counter, 0);
  };
  socket.on('data', (chunk) => {
    held = held.length ? Buffer.concat([held, chunk]) : chunk;
    while (held.length >= 5) {
      const length = held.readUInt32LE(0);
      if (held.length < 4 + length) break;
      tell(String.fromCharCode(held[4]), Uint8Array.from(held.subarray(5, 4 + length)));
      held = held.subarray(4 + length);
    }
  });
  // The host process is gone: so is the board.
  socket.on('close', () => process.kill(process.pid, 'SIGKILL'));
  socket.on('error', () => process.kill(process.pid, 'SIGKILL'));
}

if (!isMainThread && workerData?.counter) readFrames(workerData);
