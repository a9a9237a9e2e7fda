// Layer: a folder of the host as a file system inside the VM, with the promise of littlefs: what was written to an
// open file counts from its flush() or close() on, all of it at once; until then a power cut leaves the file as it was.
// Changes of names are atomic and durable when they return. `onWrite(op)` may cut the power before the operation.
import fs from 'node:fs';
import path from 'node:path';

// Emscripten counts errors the WASI way.
const WASI = {ENOENT: 44, EEXIST: 20, ENOTEMPTY: 55, EISDIR: 31, ENOTDIR: 54, EINVAL: 28, EACCES: 2, EPERM: 63,
  EROFS: 69, ENOSPC: 51, EXDEV: 75, EBADF: 8};

export function hostFs(FS, {readOnly = false, onWrite = null} = {}) {
  const call = (operation) => {
    try {
      return operation();
    } catch (error) {
      if (error.code === undefined || error instanceof FS.ErrnoError) throw error;
      throw new FS.ErrnoError(WASI[error.code] ?? 29);
    }
  };
  const hostPath = (node) => {
    const parts = [];
    let at = node;
    while (at.parent !== at) {
      parts.push(at.name);
      at = at.parent;
    }
    return path.join(at.mount.opts.root, ...parts.reverse());
  };
  const child = (parent, name) => path.join(hostPath(parent), name);
  const allowWrite = () => {
    if (readOnly) throw new FS.ErrnoError(WASI.EROFS);
  };
  // A change of names is atomic: it happens or, when the power goes at it, does not.
  const change = (op, operation) => {
    allowWrite();
    if (onWrite) onWrite(op);
    return call(operation);
  };
  // What was written so far becomes the file.
  const commit = (stream) => {
    if (!stream.dirty) return 0;
    change('commit', () => {
      const scratch = `${stream.node.mount.opts.root}.commit`;
      fs.writeFileSync(scratch, stream.pages);
      fs.renameSync(scratch, hostPath(stream.node));
    });
    stream.dirty = false;
    return 0;
  };

  function createNode(parent, name, mode) {
    const node = FS.createNode(parent, name, mode, 0);
    node.node_ops = nodeOps;
    node.stream_ops = streamOps;
    return node;
  }

  const nodeOps = {
    getattr(node) {
      const stat = call(() => fs.lstatSync(hostPath(node)));
      return {dev: 1, ino: node.id, mode: stat.mode, nlink: 1, uid: 0, gid: 0, rdev: 0, size: stat.size,
        atime: stat.atime, mtime: stat.mtime, ctime: stat.ctime, blksize: 4096, blocks: Math.ceil(stat.size / 512)};
    },
    setattr(node, attributes) {
      if (attributes.size === undefined) return;
      allowWrite();
      if (attributes.size !== 0) throw new FS.ErrnoError(WASI.EINVAL);
      node.emptied = true; // by the open() that follows; the old content stands until the new one is committed
    },
    lookup(parent, name) {
      const stat = call(() => fs.lstatSync(child(parent, name)));
      return createNode(parent, name, stat.mode);
    },
    mknod(parent, name, mode) {
      const target = child(parent, name);
      change('create', () => (FS.isDir(mode) ? fs.mkdirSync(target) : fs.closeSync(fs.openSync(target, 'w'))));
      return createNode(parent, name, mode);
    },
    rename(node, newParent, newName) {
      change('rename', () => fs.renameSync(hostPath(node), child(newParent, newName)));
      node.name = newName;
    },
    unlink: (parent, name) => change('unlink', () => fs.unlinkSync(child(parent, name))),
    rmdir: (parent, name) => change('unlink', () => fs.rmdirSync(child(parent, name))),
    readdir: (node) => ['.', '..', ...call(() => fs.readdirSync(hostPath(node)))],
  };

  const streamOps = {
    open(stream) {
      if (FS.isDir(stream.node.mode)) return;
      if ((stream.flags & 3) === 0) {
        stream.hostFd = call(() => fs.openSync(hostPath(stream.node), 'r'));
        return;
      }
      allowWrite();
      stream.dirty = Boolean(stream.node.emptied);
      stream.pages = stream.dirty ? Buffer.alloc(0) : call(() => fs.readFileSync(hostPath(stream.node)));
      stream.node.emptied = false;
    },
    close(stream) {
      if (stream.hostFd !== undefined) fs.closeSync(stream.hostFd);
      else if (stream.pages) commit(stream);
    },
    fsync: (stream) => commit(stream),
    read(stream, buffer, offset, length, position) {
      if (length === 0) return 0;
      if (stream.pages) {
        const found = stream.pages.subarray(position, position + length);
        buffer.set(found, offset);
        return found.length;
      }
      return call(() => fs.readSync(stream.hostFd, buffer, offset, length, position));
    },
    write(stream, buffer, offset, length, position) {
      allowWrite();
      if (onWrite) onWrite('file');
      if (stream.pages.length < position + length) {
        stream.pages = Buffer.concat([stream.pages, Buffer.alloc(position + length - stream.pages.length)]);
      }
      stream.pages.set(buffer.subarray(offset, offset + length), position);
      stream.dirty = true;
      return length;
    },
    llseek(stream, offset, whence) {
      let position = offset;
      if (whence === 1) position += stream.position;
      if (whence === 2) position += stream.pages ? stream.pages.length : fs.fstatSync(stream.hostFd).size;
      if (position < 0) throw new FS.ErrnoError(WASI.EINVAL);
      return position;
    },
  };

  return {
    mount(mount) {
      return createNode(null, '/', 0o40777);
    },
  };
}

// What the program sees are the numbers of a board: the calls that the VM makes are answered with those.
const BOARD = {44: 2, 20: 17, 55: 39, 31: 21, 54: 20, 28: 22, 2: 13, 63: 1, 69: 30, 51: 28, 75: 18, 8: 9, 29: 5};

export function boardErrors(FS) {
  for (const name of ['open', 'stat', 'lstat', 'unlink', 'rename', 'mkdir', 'rmdir', 'readdir', 'chdir', 'truncate',
    'write', 'read']) {
    const operation = FS[name];
    FS[name] = (...args) => {
      try {
        return operation.apply(FS, args);
      } catch (error) {
        throw error instanceof FS.ErrnoError ? new FS.ErrnoError(BOARD[error.errno] ?? error.errno) : error;
      }
    };
  }
}

// Mounts host folder `root` at `point` (made with its parents) in the VM.
export function mountFolder(FS, point, root, options = {}) {
  let path = '';
  for (const part of point.split('/').slice(1)) {
    path += `/${part}`;
    if (!FS.analyzePath(path).exists) FS.mkdir(path);
  }
  FS.mount(hostFs(FS, options), {root}, point);
}
