// One file into the cache: written to <blob>.incomplete, continued there after a break or a kill, checked by size and hash, and only then renamed.
// Two processes that want the same file take turns by a claim (src/core/claims.ts).
import { createHash, type Hash } from 'node:crypto';
import { createReadStream, existsSync, mkdirSync, renameSync, rmSync, statSync, truncateSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Claims } from '../core/claims.ts';
import { AbortedError, DuoError, FileError } from '../errors/errors.ts';
import { fileErrorOf } from '../formats/file-errors.ts';
import type { HubFile } from './choose-files.ts';
import { describeCause, type HubHttp, HubUnreachable, pause } from './http.ts';

export interface DownloadOptions {
  readonly url: string;
  readonly file: HubFile;
  /** where the blob goes */
  readonly path: string;
  readonly http: HubHttp;
  readonly signal?: AbortSignal | undefined;
  /** bytes of this file that are there */
  readonly onProgress?: ((bytes: number) => void) | undefined;
  /** the error of an answer that is not one */
  readonly refuse: (response: Response) => Promise<Error>;
}

/** A transfer that ended early or brought other bytes; the partial file stays, so that the next run continues it. */
export class TransferError extends FileError {
  override name = 'TransferError';
  override readonly code = 'ERR_TRANSFER';
}

/** After how long, by our own clock, a claim that another machine no longer touches is taken over: should clocks disagree by more and two
 * processes fetch one file, the checks of its size and hash still hold. */
const CLAIM_MAX_AGE_MS = 30_000;
const CLAIM_POLL_MS = 200;

/** Fetch a file unless its blob is there. @throws {TransferError}; {FileError} disk full; {AbortedError}; what `refuse` makes. */
export async function downloadFile(options: DownloadOptions): Promise<void> {
  const { path, signal } = options;
  if (isWhole(options)) return;
  try {
    mkdirSync(dirname(path), { recursive: true });
  } catch (cause) {
    throw fileErrorOf('write', path, cause);
  }
  const release = await awaitClaim(`${path}.lock`, signal);
  try {
    if (isWhole(options)) return; // another process has brought it meanwhile
    await fetchChecked(options);
  } finally {
    release();
  }
}

function isWhole({ path, file }: DownloadOptions): boolean {
  return statSync(path, { throwIfNoEntry: false })?.size === file.size;
}

async function fetchChecked(options: DownloadOptions): Promise<void> {
  const { file, path } = options;
  const partialPath = `${path}.incomplete`;
  // The partial file may be another process's, or damaged: if the complete file has the wrong hash, it is fetched once more from its start.
  for (let attempt = 0; ; attempt++) {
    const isFresh = !existsSync(partialPath);
    const found = await fetchBytes(options, partialPath);
    if (found === file.etag) break;
    rmSync(partialPath, { force: true });
    if (isFresh || attempt > 0) {
      throw new TransferError(
        `Expected ${file.path} with the hash ${file.etag}, got ${found}: the transfer spoilt it; run again, and if it comes again, check the network and HF_ENDPOINT.`,
      );
    }
  }
  try {
    renameSync(partialPath, path);
  } catch (cause) {
    throw fileErrorOf('write', path, cause);
  }
}

/** Bring the rest of a file. @returns the hash of all its bytes. */
async function fetchBytes(options: DownloadOptions, partialPath: string): Promise<string> {
  const { file, http, signal, onProgress, refuse } = options;
  let have = statSync(partialPath, { throwIfNoEntry: false })?.size ?? 0;
  if (have > file.size) {
    truncateSync(partialPath, 0);
    have = 0;
  }
  let hash = startHash(file);
  if (have > 0) await hashFile(hash, partialPath, signal);
  onProgress?.(have);
  let fruitless = 0;
  while (have < file.size) {
    if (signal?.aborted) throw new AbortedError(`Stopped in ${file.path}; the next run continues where it was.`);
    const before = have;
    const response = await requestRest(options, have);
    if (!response.ok) throw await refuse(response);
    if (have > 0 && !continuesAt(response, have)) {
      // A server without range requests sends the whole file again.
      truncateSync(partialPath, 0);
      have = 0;
      hash = startHash(file);
    }
    let reason = 'the connection ended early';
    try {
      have = await append({ response, partialPath, have, hash, file, onProgress });
    } catch (cause) {
      if (cause instanceof DuoError) throw cause;
      if (signal?.aborted) throw new AbortedError(`Stopped in ${file.path}; the next run continues where it was.`);
      have = statSync(partialPath).size;
      reason = describeCause(cause);
    }
    if (have >= file.size) break;
    // A connection that broke after bringing data is no reason to give up; several in a row that bring none are.
    fruitless = have > before ? 0 : fruitless + 1;
    const waitMs = http.waitsMs[fruitless];
    if (waitMs === undefined) {
      throw endedEarly(file, have, reason);
    }
    await pause(waitMs, signal);
  }
  return hash.digest('hex');
}

async function requestRest({ file, url, http, signal }: DownloadOptions, have: number): Promise<Response> {
  const range: Record<string, string> = have > 0 ? { range: `bytes=${have}-` } : {};
  try {
    return await http.request(url, { headers: { 'accept-encoding': 'identity', ...range }, signal });
  } catch (cause) {
    if (!(cause instanceof HubUnreachable)) throw cause;
    throw endedEarly(file, have, cause.message);
  }
}

function endedEarly(file: HubFile, have: number, reason: string): TransferError {
  return new TransferError(
    `Expected ${file.size} bytes of ${file.path}, got ${have}: ${reason}; run again to continue from there.`,
  );
}

function continuesAt(response: Response, have: number): boolean {
  return response.status === 206 && (response.headers.get('content-range') ?? '').startsWith(`bytes ${have}-`);
}

/** Add a body to the file, hashing as it comes. @returns bytes of the file now. */
async function append(parts: {
  response: Response;
  partialPath: string;
  have: number;
  hash: Hash;
  file: HubFile;
  onProgress: ((bytes: number) => void) | undefined;
}): Promise<number> {
  const { response, partialPath, hash, file, onProgress } = parts;
  let have = parts.have;
  if (response.body === null) return have;
  const output = await open(partialPath, have > 0 ? 'r+' : 'w').catch((cause) =>
    Promise.reject(fileErrorOf('write', partialPath, cause)),
  );
  try {
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      if (have + chunk.length > file.size) {
        throw new TransferError(
          `Expected ${file.size} bytes of ${file.path}, got more; the server sends another file, check HF_ENDPOINT and the proxy.`,
        );
      }
      await writeAll(output, chunk, { position: have, partialPath });
      hash.update(chunk);
      have += chunk.length;
      onProgress?.(have);
    }
    return have;
  } catch (cause) {
    // Bytes past what was hashed would be hashed again on the next try.
    await output.truncate(have).catch(() => {});
    throw cause;
  } finally {
    await output.close();
  }
}

async function writeAll(
  output: Awaited<ReturnType<typeof open>>,
  chunk: Uint8Array,
  place: { position: number; partialPath: string },
): Promise<void> {
  try {
    for (let done = 0; done < chunk.length; ) {
      done += (await output.write(chunk, done, chunk.length - done, place.position + done)).bytesWritten;
    }
  } catch (cause) {
    throw fileErrorOf('write', place.partialPath, cause);
  }
}

function startHash(file: HubFile): Hash {
  return file.isLarge ? createHash('sha256') : createHash('sha1').update(`blob ${file.size}\0`);
}

async function hashFile(hash: Hash, path: string, signal: AbortSignal | undefined): Promise<void> {
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) {
    if (signal?.aborted) throw new AbortedError('Stopped while reading what was downloaded before.');
    hash.update(chunk as Uint8Array);
  }
}

/** Claim a file, or wait until its owner is done or gone. @returns a function that gives it up. @throws {FileError}; {AbortedError}. */
async function awaitClaim(path: string, signal: AbortSignal | undefined): Promise<() => void> {
  const claims = new Claims({ maxAgeMs: CLAIM_MAX_AGE_MS });
  while (!take(claims, path)) await pause(CLAIM_POLL_MS, signal);
  return () => claims.close();
}

function take(claims: Claims, path: string): boolean {
  try {
    return claims.take(path);
  } catch (cause) {
    throw fileErrorOf('write', path, cause);
  }
}
