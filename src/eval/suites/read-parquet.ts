// Rows of an untrusted parquet file, decoded by hyparquet in a process of its own: a damaged file can keep it for ever, ask for more memory
// than there is, or fail in a promise that nobody waits for, each of which would end or stop this process. Time is the processor's, so that
// a loaded machine fails no honest file.
import { execFile } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { deserialize } from 'node:v8';
import { FormatError } from '../../errors/errors.ts';
import { fileErrorOf } from '../../formats/atomic-file.ts';

const MAX_FILE_BYTES = 2 ** 31 - 1;
/** Decoding takes about 20 ms of processor time per megabyte. */
const MIN_MS = 1000;
const MS_PER_MEGABYTE = 100;
/** Columns of text are compressed to a third or so, and a character of a string may take two bytes. */
const MIN_HEAP_MIB = 512;
const HEAP_PER_FILE = 16;
/** Of Node itself, and of buffers that are not on JavaScript's heap. */
const OTHER_MIB = 512;
/** Before the length of each answer, so that one that was cut by the process's end is recognised. */
const LENGTH_BYTES = 8;

/** Decodes one file after another on a thread, so that the process can look after it: one that takes too much ends the process. */
const CHILD = `
const { Worker } = require('node:worker_threads');
const { readFileSync, writeFileSync } = require('node:fs');
const { serialize } = require('node:v8');

async function decodeFiles() {
  const answer = (outcome) => parentPort.postMessage(serialize(outcome));
  const fail = (error) => answer({ failure: String(error?.message ?? error) });
  process.on('unhandledRejection', fail);
  const { parquetReadObjects } = await import(workerData);
  parentPort.on('message', (path) => {
    const bytes = readFileSync(path);
    const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
    (async () => answer({ rows: await parquetReadObjects({ file }) }))().catch(fail);
  });
  parentPort.postMessage('ready');
}

function watch({ library, heapMib, mostMiB, jobs }) {
  const source = 'const { parentPort, workerData } = require("node:worker_threads"); const { readFileSync } = require("node:fs"); const { serialize } = require("node:v8");' + decodeFiles + '; decodeFiles();';
  const worker = new Worker(source, { eval: true, workerData: library, resourceLimits: { maxOldGenerationSizeMb: heapMib } });
  const send = (bytes) => {
    const length = Buffer.alloc(${LENGTH_BYTES});
    length.writeDoubleLE(bytes.length);
    writeFileSync(1, length);
    writeFileSync(1, bytes);
  };
  const end = (outcome) => {
    send(serialize(outcome));
    process.exit(0);
  };
  let index = -1;
  let start = null;
  const next = () => {
    if (++index === jobs.length) process.exit(0);
    start = process.cpuUsage();
    worker.postMessage(jobs[index].path);
  };
  worker.on('message', (message) => {
    if (message !== 'ready') send(message);
    next();
  });
  worker.on('error', (error) => end(error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? { ending: 'limit' } : { failure: error.message }));
  setInterval(() => {
    if (start === null) return;
    const { user, system } = process.cpuUsage(start);
    if ((user + system) / 1000 > jobs[index].mostMs) end({ isLate: true });
    if (process.memoryUsage.rss() > mostMiB * 2 ** 20) end({ ending: 'limit' });
  }, 20);
}

watch(JSON.parse(readFileSync(0, 'utf8')));
`;

type Rows = Record<string, unknown>[];
type Ending = { rows: Rows } | { failure?: string; isLate?: boolean; ending?: string };

/** Every row as an object; 64-bit integers are BigInts.
 * @throws {FileError}; {FormatError} not parquet, damaged, or more than 1 s and 0.1 s per megabyte of processor time, or 512 MiB and 16 times
 * its size of JavaScript's memory (1 GiB and as much of all memory). */
export async function readParquetRows(path: string): Promise<Rows> {
  const [found] = await readParquetFiles([path]);
  if (found instanceof FormatError) throw found;
  return found as Rows;
}

/** As `readParquetRows` of each, in as few processes as hold. @throws {FileError}. */
export async function readParquetFiles(paths: readonly string[]): Promise<(Rows | FormatError)[]> {
  const sizes = paths.map(sizeOf);
  const most = sizes.reduce((largest, size) => Math.max(largest, size), 0);
  if (most > MAX_FILE_BYTES)
    throw new FormatError(`Expected ${paths.join(', ')} to be at most ${MAX_FILE_BYTES} bytes.`);
  const heapMib = MIN_HEAP_MIB + Math.ceil((HEAP_PER_FILE * most) / 2 ** 20);
  const jobs = paths.map((path, index) => ({
    path,
    mostMs: MIN_MS + Math.ceil((MS_PER_MEGABYTE * (sizes[index] as number)) / 1e6),
  }));
  const library = pathToFileURL(createRequire(import.meta.url).resolve('hyparquet')).href;
  const endings: Ending[] = [];
  while (endings.length < jobs.length) {
    const rest = jobs.slice(endings.length);
    endings.push(...(await runChild({ library, heapMib, mostMiB: heapMib + OTHER_MIB, jobs: rest })));
  }
  return endings.map((ending, index) => {
    if ('rows' in ending) return ending.rows;
    const { path, mostMs } = jobs[index] as { path: string; mostMs: number };
    const reason = ending.isLate
      ? `it was not done after ${(mostMs / 1000).toFixed(1)} s`
      : `it needed more than ${heapMib} MiB of memory (its process ended by ${ending.ending})`;
    return new FormatError(`Expected ${path} to be a parquet file: ${ending.failure ?? reason}.`);
  });
}

function sizeOf(path: string): number {
  try {
    accessSync(path, constants.R_OK);
    return statSync(path).size;
  } catch (cause) {
    throw fileErrorOf('read', path, cause);
  }
}

/** @returns what became of the first jobs, at least one: of the one that ended the process too. */
function runChild(task: { jobs: readonly object[] } & Record<string, unknown>): Promise<Ending[]> {
  return new Promise((resolve) => {
    const options = { encoding: 'buffer', maxBuffer: Infinity } as const;
    const child = execFile(process.execPath, ['--eval', CHILD], options, (error, stdout) => {
      const endings: Ending[] = [];
      let at = 0;
      while (at + LENGTH_BYTES <= stdout.length) {
        const end = at + LENGTH_BYTES + stdout.readDoubleLE(at);
        if (end > stdout.length) break;
        endings.push(deserialize(stdout.subarray(at + LENGTH_BYTES, end)) as Ending);
        at = end;
      }
      if (error !== null) endings.push({ ending: error.signal ?? `code ${error.code}` });
      resolve(endings);
    });
    // A process that ended before it read its task says so by its exit code.
    child.stdin?.on('error', () => {}).end(JSON.stringify(task));
  });
}
