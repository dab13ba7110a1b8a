// Standard output of every command: nothing is lost in silence. A write that fails ends the command with exit code 1; a reader that
// closed its end (`| head`) has what it wanted, so the command continues with its files and succeeds.
import { fstatSync, writeSync } from 'node:fs';
import { fileErrorOf } from '../formats/file-errors.ts';

const STDOUT = 1;
let failure: Error | null = null;
let isFile: boolean | null = null;
const closed = new AbortController();

/** Aborted when the reader of standard output has closed its end: a command that only prints may stop. */
export const stdoutClosed: AbortSignal = closed.signal;

/** Watch standard output and standard error from now on. */
export function watchStreams(): void {
  // A program may run several command lines in turn.
  process.stdout.off('error', note).on('error', note);
  process.stderr.off('error', ignore).on('error', ignore);
}

/** Nothing can be said where standard error itself fails (a terminal that hung up, a full disk). */
function ignore(): void {}

/** Write text on standard output. @throws {FileError} a write failed, this one or one before. */
export function writeStdout(text: string): void {
  if (closed.signal.aborted) return;
  // Node's stream for files drops the rest of a write that the disk took in part; a file is written here to its last byte.
  isFile ??= !process.stdout.isTTY && isRegularFile();
  if (isFile) {
    const bytes = Buffer.from(text);
    try {
      for (let written = 0; written < bytes.length; ) written += writeSync(STDOUT, bytes, written);
    } catch (cause) {
      note(cause as NodeJS.ErrnoException);
    }
  } else process.stdout.write(text);
  if (failure !== null) throw failure;
}

/** Wait until everything written has left. @throws {FileError} some of it could not be written. */
export async function finishStdout(): Promise<void> {
  if (!closed.signal.aborted && !isFile) await new Promise<void>((done) => process.stdout.write('', () => done()));
  // An error of the last write is reported on the next turn.
  await new Promise((done) => setImmediate(done));
  const found = failure;
  failure = null;
  if (found !== null) throw found;
}

function note(cause: NodeJS.ErrnoException): void {
  if (cause.code === 'EPIPE') closed.abort();
  else failure ??= fileErrorOf('write', 'standard output', cause);
}

function isRegularFile(): boolean {
  try {
    return fstatSync(STDOUT).isFile();
  } catch {
    return false;
  }
}
