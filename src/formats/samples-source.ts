// Where samples come from: a file, or a pipe (standard input, a FIFO), whose bytes are kept in a temporary file, because samples are read many times.
import { randomUUID } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FormatError } from '../errors/errors.ts';
import { fileErrorOf } from './file-errors.ts';

/** Names standard input where a samples file is asked for. */
const STDIN_PATH = '-';
/** Wait between tries where a pipe that does not block is empty. */
const RETRY_MS = 5;

/** Where the lines of samples come from, and where they can be read again. */
export interface SamplesSource {
  /** as sentences name it */
  readonly path: string;
  /** read at any place: the samples file, or the copy of a pipe, which has no name and goes with its descriptor */
  readonly file: number;
  /** read once: standard input, a FIFO */
  readonly pipe: number | null;
}

/** Open a file, a FIFO, or standard input (`-`). @throws {FileError}; {FormatError} a folder or a device. */
export function openSource(given: string): SamplesSource {
  const isInput = given === STDIN_PATH || given === '/dev/stdin';
  const path = isInput ? 'standard input' : given;
  try {
    const opened = isInput ? 0 : openSync(given, 'r');
    const found = fstatSync(opened);
    if (found.isFile() && !isInput) return { path, file: opened, pipe: null };
    if (isInput || found.isFIFO()) return { path, file: openNameless(), pipe: opened };
    closeSync(opened);
  } catch (cause) {
    throw fileErrorOf('read samples', path, cause);
  }
  throw new FormatError(`Expected ${path} to be a samples file, found a folder or a device; name a file.`);
}

/** A temporary file that is gone when it is closed, however the process ends. */
function openNameless(): number {
  const path = join(tmpdir(), `.duo-samples-${randomUUID()}`);
  const file = openSync(path, 'wx+', 0o600);
  rmSync(path);
  return file;
}

/** Reads what is there, waiting for it. @returns 0 at the end. */
export function readSome(file: number, chunk: Buffer): number {
  for (;;) {
    try {
      return readSync(file, chunk, 0, chunk.length, null);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code === 'EOF') return 0;
      if (code !== 'EAGAIN') throw cause;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
    }
  }
}

/** Append to the copy of a pipe. @throws {FileError} the disk is full. */
export function keepBytes(file: number, bytes: Buffer): void {
  try {
    for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written);
  } catch (cause) {
    throw fileErrorOf('keep samples in', tmpdir(), cause);
  }
}
