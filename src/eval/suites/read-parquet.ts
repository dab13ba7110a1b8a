// Rows of an untrusted parquet file, decoded by hyparquet in a process of its own: a damaged file can keep it for ever, ask for more memory
// than there is, or fail in a promise that nobody waits for, each of which would end or stop this process.
import { execFile } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { deserialize } from 'node:v8';
import { FormatError } from '../../errors/errors.ts';
import { fileErrorOf } from '../../formats/atomic-file.ts';

const MAX_FILE_BYTES = 2 ** 31 - 1;
/** Decoding takes about 0.02 s a megabyte; a loaded machine takes seconds to start a process. */
const LEAST_MS = 10_000;
const MS_PER_MEGABYTE = 1000;
/** Columns of text are compressed to a third or so, and a character of a string may take two bytes. */
const LEAST_HEAP_MIB = 512;
const HEAP_PER_FILE = 16;

const CHILD = `
const [, hyparquet, path] = process.argv;
const { readFileSync, writeFileSync } = require('node:fs');
const { pathToFileURL } = require('node:url');
const { serialize } = require('node:v8');
const answer = (outcome) => {
  writeFileSync(1, serialize(outcome));
  process.exit(0);
};
const fail = (error) => answer({ failure: error.message });
process.on('unhandledRejection', fail);
(async () => {
  const { parquetReadObjects } = await import(pathToFileURL(hyparquet).href);
  const bytes = readFileSync(path);
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  answer({ rows: await parquetReadObjects({ file }) });
})().catch(fail);
`;

/** Every row as an object; 64-bit integers are BigInts.
 * @throws {FileError}; {FormatError} not parquet, damaged, or more than 10 s and 1 s a megabyte, or 512 MiB and 16 times its size of memory. */
export async function readParquetRows(path: string): Promise<Record<string, unknown>[]> {
  const size = sizeOf(path);
  if (size > MAX_FILE_BYTES) throw new FormatError(`Expected ${path} to be at most ${MAX_FILE_BYTES} bytes.`);
  const mostMs = LEAST_MS + Math.ceil((MS_PER_MEGABYTE * size) / 1e6);
  const heapMib = LEAST_HEAP_MIB + Math.ceil((HEAP_PER_FILE * size) / 2 ** 20);
  const library = createRequire(import.meta.url).resolve('hyparquet');
  const outcome = await runChild([`--max-old-space-size=${heapMib}`, '--eval', CHILD, library, path], mostMs);
  if ('rows' in outcome) return outcome.rows;
  const failure =
    outcome.failure ??
    (outcome.isLate
      ? `it was not done after ${Math.round(mostMs / 1000)} s`
      : `it needed more than ${heapMib} MiB of memory (its process ended by ${outcome.ending})`);
  throw new FormatError(`Expected ${path} to be a parquet file: ${failure}.`);
}

function sizeOf(path: string): number {
  try {
    accessSync(path, constants.R_OK);
    return statSync(path).size;
  } catch (cause) {
    throw fileErrorOf('read', path, cause);
  }
}

type Ending = { rows: Record<string, unknown>[] } | { failure?: string; isLate?: boolean; ending?: string };

function runChild(args: readonly string[], timeout: number): Promise<Ending> {
  return new Promise((resolve) => {
    const options = { timeout, killSignal: 'SIGKILL', encoding: 'buffer', maxBuffer: Infinity } as const;
    execFile(process.execPath, args, options, (error, stdout) => {
      if (error === null) resolve(deserialize(stdout) as Ending);
      else resolve({ isLate: error.killed === true, ending: error.signal ?? `code ${error.code}` });
    });
  });
}
