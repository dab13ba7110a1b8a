// Reads documents out of text, JSONL, JSONL.gz and JSONL.zst files as streams, so that only the part in use is read and decompressed.
import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { FormatError } from '../src/errors/errors.ts';
import { fileErrorOf } from '../src/formats/atomic-file.ts';
import { decompressZstd } from './zstd.ts';

const READ_BYTES = 256 * 1024;
const MAX_LINE_CHARACTERS = 2 ** 28; // bounds the memory of one JSONL line; half of what a JavaScript string holds

/** True iff the name says JSON lines, compressed or not. */
export function isJsonLines(path: string): boolean {
  return /\.jsonl(\.gz|\.zst)?$/i.test(path);
}

/** The decompressed bytes of `path`, read as they are asked for. @throws {FileError}; {FormatError} broken compression, or a zstd window that is too large. */
async function* readBytes(path: string): AsyncGenerator<Uint8Array> {
  const file = createReadStream(path, { highWaterMark: READ_BYTES });
  try {
    if (/\.gz$/i.test(path)) {
      const gunzip = createGunzip();
      file.on('error', (cause) => gunzip.destroy(cause));
      yield* file.pipe(gunzip) as AsyncIterable<Uint8Array>;
    } else if (/\.zst$/i.test(path)) {
      yield* decompressZstd(file as AsyncIterable<Uint8Array>, path);
    } else {
      yield* file as AsyncIterable<Uint8Array>;
    }
  } catch (cause) {
    if (cause instanceof FormatError) throw cause;
    const { code, syscall } = cause as NodeJS.ErrnoException;
    if (syscall !== undefined) throw fileErrorOf('read haystack', path, cause);
    throw new FormatError(
      `Cannot decompress ${path}: ${(cause as Error).message || code}; it is damaged, cut short or of another format.`,
      { cause },
    );
  } finally {
    file.destroy();
  }
}

/** Decoded text of `path` in pieces. @throws {FormatError} not UTF-8. */
async function* readText(path: string): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const decode = (bytes?: Uint8Array): string => {
    try {
      return bytes ? decoder.decode(bytes, { stream: true }) : decoder.decode();
    } catch (cause) {
      throw new FormatError(`Expected ${path} to be UTF-8 text, found other bytes; convert it first.`, { cause });
    }
  };
  for await (const bytes of readBytes(path)) yield decode(bytes);
  yield decode();
}

async function* readLines(path: string): AsyncGenerator<string> {
  let parts: string[] = [];
  let length = 0;
  for await (const text of readText(path)) {
    const pieces = text.split('\n');
    for (const [index, piece] of pieces.entries()) {
      parts.push(piece);
      length += piece.length;
      if (length > MAX_LINE_CHARACTERS) {
        throw new FormatError(
          `Expected lines of at most ${MAX_LINE_CHARACTERS} characters in ${path}, found a longer one.`,
        );
      }
      if (index < pieces.length - 1) {
        yield parts.join('');
        parts = [];
        length = 0;
      }
    }
  }
  yield parts.join('');
}

async function* readJsonLines(path: string): AsyncGenerator<string> {
  let line = 0;
  for await (const text of readLines(path)) {
    line++;
    if (text.trim() === '') continue;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw new FormatError(`Expected JSON in ${path} line ${line}: ${(cause as Error).message}.`, { cause });
    }
    const field = typeof value === 'object' && value !== null ? (value as Record<string, unknown>).text : undefined;
    if (typeof field !== 'string') {
      throw new FormatError(`Expected an object with a string \`text\` in ${path} line ${line}.`);
    }
    yield field;
  }
}

/** Documents of one file in file order, read until about `maxCharacters` characters are there; the last may be cut.
 * JSON lines give a document per line, any other file is one document. Blank documents are left out.
 * @throws {FileError} unreadable; {FormatError} not UTF-8, broken compression, malformed line (with its number). */
export async function readDocuments(path: string, maxCharacters: number): Promise<string[]> {
  const documents: string[] = [];
  const pieces: string[] = [];
  let room = maxCharacters;
  for await (const text of isJsonLines(path) ? readJsonLines(path) : readText(path)) {
    const kept = text.slice(0, room).replace(/[\uD800-\uDBFF]$/, '');
    room -= text.length;
    (isJsonLines(path) ? documents : pieces).push(kept);
    if (room <= 0) break;
  }
  if (!isJsonLines(path)) documents.push(pieces.join(''));
  if (documents.some((document) => document.includes('\0'))) {
    throw new FormatError(`Expected ${path} to hold text, found a NUL character; name a text file.`);
  }
  return documents.filter((document) => document.trim() !== '');
}
