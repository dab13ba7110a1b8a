// A large repository fetched from a server on this machine that speaks the Hub's API: the fetch is killed at random times and begun again until it
// is done, bytes of an unfinished file are spoilt on the way, and every hash is compared. At the end the server itself sends a spoilt file.
import { type ChildProcess, spawn } from 'node:child_process';
import { createCipheriv, createHash } from 'node:crypto';
import {
  closeSync,
  createReadStream,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { COMMIT, type MadeFile, type ServerFile, serveHub } from '../scripts/hub-server.ts';
import { makeRandom, type Random } from '../src/core/random.ts';
import type { Bench, BenchResult } from './bench.ts';

const BLOCK = 16;
const HASH_BYTES = 2 ** 20;

export const bench: Bench = {
  about:
    'a large Hub download killed at random and resumed: equal hashes, spoilt bytes found (needs its size on the disk)',
  flags: {
    gigabytes: { default: '9', about: 'weights in all, 10^9 bytes' },
    shards: { default: '5', about: 'files that they are in' },
    'most-seconds': { default: '20', about: 'a fetch is killed after 1 to this many seconds' },
    seed: { default: '1', about: 'decides the kills' },
    folder: { default: tmpdir(), about: 'where the cache goes, which is removed at the end' },
  },
  async run(flags) {
    const folder = mkdtempSync(join(flags.folder as string, 'duo-hub-kills-'));
    try {
      return await fetchUnderKills(folder, flags);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

async function fetchUnderKills(home: string, flags: Readonly<Record<string, string>>): Promise<BenchResult> {
  const [gigabytes, shards, mostSeconds, seed] = [flags.gigabytes, flags.shards, flags['most-seconds'], flags.seed].map(
    Number,
  ) as [number, number, number, number];
  const random = makeRandom(seed, 'hub-kills');
  const { bavail, bsize } = statfsSync(home);
  if (bavail * bsize < gigabytes * 1.2e9)
    throw new Error(
      `Expected ${(gigabytes * 1.2).toFixed(1)} GB free in ${home}, found ${((bavail * bsize) / 1e9).toFixed(1)} GB.`,
    );
  // Sizes that are no round number, and not equal.
  const sizes = Array.from({ length: shards }, (_, index) => Math.floor((gigabytes * 1e9) / shards) + 7919 * index + 3);
  const made = Object.fromEntries(sizes.map((size, index) => [nameShard(index, shards), makeFile(index, size)]));
  const files = { ...listTexts(Object.keys(made)), ...made };
  const server = await serveHub(files);
  const starts: string[] = [];
  server.fault = (request, _, where) => {
    if (where === 'cdn')
      starts.push(`${request.url?.slice(1)} from ${/=(\d+)/.exec(request.headers.range ?? '')?.[1] ?? 0}`);
    return false;
  };
  const blobs = join(home, 'hub', 'models--org--model', 'blobs');
  const startMs = performance.now();
  let kills = 0;
  let spoilt: string | null = null;
  try {
    for (;;) {
      const child = startFetch(home, server.url);
      const ended = waitFor(child);
      const killMs = 1000 * (1 + random.uniform() * (mostSeconds - 1));
      const outcome = await Promise.race([
        ended,
        new Promise<null>((resolve) => setTimeout(() => resolve(null), killMs)),
      ]);
      if (outcome !== null) {
        if (outcome.code !== 0) throw new Error(`the fetch ended by itself with ${outcome.code}: ${outcome.stderr}`);
        break;
      }
      child.kill('SIGKILL');
      await ended;
      kills++;
      // Once, one byte of what is there of an unfinished file.
      spoilt ??= spoilUnfinished(blobs, random);
    }
    const seconds = (performance.now() - startMs) / 1000;
    const found: Record<string, boolean> = {};
    for (const [name, file] of Object.entries(made))
      found[name] = (await hashFile(snapshotOf(home, name))) === file.sha256;
    const leftovers = readdirSync(blobs).filter((name) => !/^[0-9a-f]+$/.test(name));
    const refetched = starts.filter(
      (start) => spoilt !== null && start === `${nameOfBlob(made, spoilt)} from 0`,
    ).length;
    const refusal = await sendSpoilt({ home, server, made, blobs });
    const isRight =
      Object.values(found).every(Boolean) && leftovers.length === 0 && kills > 0 && (spoilt === null || refetched > 1);
    if (!isRight)
      throw new Error(
        `hashes ${JSON.stringify(found)}, leftovers ${leftovers.join()}, kills ${kills}, spoilt ${spoilt}, starts ${starts.join('; ')}`,
      );
    const table = [
      `${(sizes.reduce((sum, size) => sum + size, 0) / 1e9).toFixed(2)} GB in ${shards} files, killed by SIGKILL ${kills} times after 1 to ${mostSeconds} s each, done after ${seconds.toFixed(0)} s in all`,
      `${Object.keys(found).length} of ${shards} files have the hash of what was served; nothing else is left in the cache`,
      spoilt === null
        ? 'no unfinished file was there to be spoilt'
        : `a byte of an unfinished file was changed between two tries: found at its end, fetched again from its start (${refetched} starts at 0), and right then`,
      `one file sent with a changed byte: exit code ${refusal.code}, "${refusal.message}"; not in the cache; right on the next run: ${refusal.isRightAfter}`,
    ].join('\n');
    return { table, figures: { sizes, kills, seconds, starts, spoilt: spoilt !== null, refusal } };
  } finally {
    await server.close();
  }
}

const nameShard = (index: number, shards: number): string =>
  `model-${String(index + 1).padStart(5, '0')}-of-${String(shards).padStart(5, '0')}.safetensors`;

function listTexts(shards: readonly string[]): Record<string, ServerFile> {
  const json = (value: unknown): ServerFile => ({ bytes: Buffer.from(JSON.stringify(value)) });
  return {
    'config.json': json({ model_type: 'llama' }),
    'tokenizer.json': json({ model: { type: 'BPE', vocab: {}, merges: [] } }),
    'model.safetensors.index.json': json({
      weight_map: Object.fromEntries(shards.map((shard, index) => [`w${index}`, shard])),
    }),
  };
}

/** Bytes of a keystream, which can begin anywhere. */
function makeFile(index: number, size: number): MadeFile {
  const key = createHash('sha256').update(`shard ${index}`).digest();
  const make = (start: number, end: number): Buffer => {
    const counter = Buffer.alloc(BLOCK);
    counter.writeBigUInt64BE(BigInt(Math.floor(start / BLOCK)), 8);
    const skip = start % BLOCK;
    return createCipheriv('aes-256-ctr', key, counter)
      .update(Buffer.alloc(end - start + skip))
      .subarray(skip);
  };
  const hash = createHash('sha256');
  for (let at = 0; at < size; at += HASH_BYTES) hash.update(make(at, Math.min(size, at + HASH_BYTES)));
  return { size, sha256: hash.digest('hex'), make };
}

const SCRIPT = `
import { fetchModel } from '${new URL('../src/hub/fetch-model.ts', import.meta.url).href}';
import { parseHubName } from '${new URL('../src/hub/hub-name.ts', import.meta.url).href}';
try {
  await fetchModel(parseHubName('org/model'));
} catch (error) {
  process.stderr.write(error.message);
  process.exitCode = 1;
}
`;

function startFetch(home: string, endpoint: string): ChildProcess {
  return spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', SCRIPT], {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    env: { ...process.env, HF_HOME: home, HF_ENDPOINT: endpoint, NO_PROXY: '127.0.0.1', HF_TOKEN: '' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}

function waitFor(child: ChildProcess): Promise<{ code: number | null; stderr: string }> {
  let stderr = '';
  child.stderr?.on('data', (data: Buffer) => {
    stderr += data;
  });
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stderr })));
}

const snapshotOf = (home: string, file: string): string =>
  join(home, 'hub', 'models--org--model', 'snapshots', COMMIT, file);

/** Change one byte of the unfinished file there is. @returns its name, null where there is none. */
function spoilUnfinished(blobs: string, random: Random): string | null {
  let names: string[] = [];
  try {
    names = readdirSync(blobs).filter((name) => name.endsWith('.incomplete'));
  } catch {
    return null; // the first fetch was killed before it made the folder
  }
  const name = names.find((each) => statSync(join(blobs, each)).size > 0);
  if (name === undefined) return null;
  const path = join(blobs, name);
  const at = Math.floor(random.uniform() * statSync(path).size);
  const file = openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, at);
  byte[0] = (byte[0] as number) ^ 1;
  writeSync(file, byte, 0, 1, at);
  closeSync(file);
  return name.replace('.incomplete', '');
}

const nameOfBlob = (made: Record<string, MadeFile>, etag: string): string =>
  Object.entries(made).find(([, file]) => file.sha256 === etag)?.[0] ?? '';

/** The last file again, with a changed byte in what the server sends. */
async function sendSpoilt(parts: {
  home: string;
  server: Awaited<ReturnType<typeof serveHub>>;
  made: Record<string, MadeFile>;
  blobs: string;
}): Promise<{ code: number | null; message: string; isRightAfter: boolean }> {
  const { home, server, made, blobs } = parts;
  const [name, file] = Object.entries(made).at(-1) as [string, MadeFile];
  rmSync(join(blobs, file.sha256));
  const { make } = file;
  const spoilAt = Math.floor(file.size / 2);
  const fetchOnce = async (): Promise<{ code: number | null; stderr: string }> => waitFor(startFetch(home, server.url));
  (file as { make: MadeFile['make'] }).make = (start, end) => {
    const bytes = make(start, end);
    if (start <= spoilAt && spoilAt < end) bytes[spoilAt - start] = (bytes[spoilAt - start] as number) ^ 1;
    return bytes;
  };
  const refused = await fetchOnce();
  const isThere = statSync(join(blobs, file.sha256), { throwIfNoEntry: false }) !== undefined;
  if (refused.code === 0 || isThere) throw new Error('a spoilt file was taken for a whole one');
  (file as { make: MadeFile['make'] }).make = make;
  const after = await fetchOnce();
  const isRightAfter = after.code === 0 && (await hashFile(snapshotOf(home, name))) === file.sha256;
  if (!isRightAfter) throw new Error(`the next run did not mend it: ${after.stderr}`);
  return { code: refused.code, message: refused.stderr, isRightAfter };
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: HASH_BYTES })) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}
