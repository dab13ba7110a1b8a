// samples.jsonl: a sample per line, `{"tokens": […], "answers": [[start, end), …], …}`; other keys are kept. From us or anybody.
// A line whose `objective` is long-range has `gains` too, one for each answer token.
// Read and written as a stream, so that a file may be larger than memory. Generated samples have a samples.meta.json with the provenance in the same folder.
import { createHash } from 'node:crypto';
import { closeSync, readSync } from 'node:fs';
import { z } from 'zod';
import { type Sample, supervisedPositions } from '../core/shapes.ts';
import { FileError, FormatError } from '../errors/errors.ts';
import { fileErrorOf, stableJson, writeFileAtomic } from './atomic-file.ts';
import { isReplacedWhole, type Output, openOutput } from './output.ts';
import {
  checkJson,
  exactly,
  formatFound,
  integerWithin,
  type JsonRecord,
  jsonRecord,
  readJson,
  textUpTo,
} from './read-json.ts';
import { keepBytes, openSource, readSome } from './samples-source.ts';

export const SAMPLES_SCHEMA = 'duo.samples';
export const SAMPLES_VERSION = 1;
/** 2^28 bytes hold a sample of 30m tokens; the bound keeps a file without line ends out of memory. */
const MAX_LINE_BYTES = 2 ** 28;
const MAX_META_BYTES = 2 ** 24;
const READ_BYTES = 2 ** 18;
const NEWLINE = 10;

/** What the model allows; absent limits are not checked. */
export interface SampleLimits {
  /** token ids are below this */
  readonly vocab?: number | undefined;
  /** longest sample in tokens */
  readonly maxTokens?: number | undefined;
}

/** A checked samples file, open for reading any sample by its number. */
export interface SampleFile {
  readonly path: string;
  /** at least 1 */
  readonly count: number;
  /** tokens of the shortest and longest sample */
  readonly shortest: number;
  readonly longest: number;
  /** sha256:… of the file's bytes */
  readonly hash: string;
  /** tokens of each sample, in file order */
  readonly lengths: readonly number[];
  /** Sample `index` in file order, 0 … count − 1, read anew at each call. */
  read(index: number): Sample;
  /** Later reads are an error; closing twice is not. */
  close(): void;
}

const isTokenId = (value: unknown, vocab: number): boolean =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < vocab;

/** Check one sample. @param options.place for the message, "line 3 of f.jsonl". @throws {FormatError} what is wrong, where. */
export function checkSample(value: unknown, options: SampleLimits & { place: string }): Sample {
  const { place, vocab = 2 ** 31, maxTokens = Number.POSITIVE_INFINITY } = options;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FormatError(
      `Expected an object with \`tokens\` and \`answers\` in ${place}, got \`${formatFound(value)}\`.`,
    );
  }
  const { tokens, answers } = value as Record<string, unknown>;
  if (!Array.isArray(tokens) || tokens.length === 0) {
    throw new FormatError(`Expected \`tokens\` to be a list of token ids in ${place}, got \`${formatFound(tokens)}\`.`);
  }
  if (tokens.length > maxTokens) {
    throw new FormatError(
      `Expected a sample of at most the ${maxTokens} tokens that the model allows in ${place}, got \`${tokens.length}\`.`,
    );
  }
  const wrong = tokens.findIndex((token) => !isTokenId(token, vocab));
  if (wrong >= 0) {
    throw new FormatError(
      `Expected \`tokens[${wrong}]\` to be an integer from 0 to ${vocab - 1} in ${place}, got \`${formatFound(tokens[wrong])}\`.`,
    );
  }
  if (!Array.isArray(answers) || answers.length === 0) {
    throw new FormatError(
      `Expected \`answers\` to be a list of at least one range [start, end) in ${place}, got \`${formatFound(answers)}\`.`,
    );
  }
  for (const [index, range] of answers.entries()) {
    const [start, end] = Array.isArray(range) && range.length === 2 ? range : [];
    const isRange =
      Number.isInteger(start) && Number.isInteger(end) && start >= 1 && start < end && end <= tokens.length;
    if (!isRange) {
      throw new FormatError(
        `Expected \`answers[${index}]\` to be [start, end) with 1 ≤ start < end ≤ ${tokens.length} in ${place}, got \`${formatFound(range)}\`.`,
      );
    }
  }
  const sample = value as Sample;
  if (sample.objective === 'long-range') checkGains(sample, place);
  return sample;
}

/** @throws {FormatError} a long-range sample without a finite gain for each answer token. */
function checkGains({ answers, gains }: Sample, place: string): void {
  const count = supervisedPositions(answers, 'answer').length;
  if (Array.isArray(gains) && gains.length === count && gains.every(Number.isFinite)) return;
  throw new FormatError(
    `Expected \`gains\` to be ${count} numbers, one for each answer token of a long-range sample, in ${place}, got \`${formatFound(gains)}\`.`,
  );
}

function parseSample(line: Buffer, options: SampleLimits & { place: string }): Sample {
  let value: unknown;
  try {
    value = JSON.parse(line.toString('utf8'));
  } catch (cause) {
    const program = findDecompressor(line);
    if (program !== null) {
      throw new FormatError(
        `Expected JSON in ${options.place}, got compressed bytes; samples are read many times, from a file of plain text: decompress it first with \`${program}\`.`,
        { cause },
      );
    }
    throw new FormatError(`Expected JSON in ${options.place}: ${(cause as Error).message}.`, { cause });
  }
  return checkSample(value, options);
}

/** The program that unpacks what begins with these bytes; null where they begin no compressed file that is known here. */
function findDecompressor(bytes: Buffer): string | null {
  const magic = bytes.subarray(0, 4).toString('hex');
  if (magic.startsWith('1f8b')) return 'gunzip';
  if (magic === '28b52ffd') return 'unzstd';
  return magic.startsWith('425a68') ? 'bunzip2' : null;
}

interface Line {
  /** from 1 */
  readonly number: number;
  readonly offset: number;
  /** without the line end */
  readonly bytes: Buffer;
}

/** Lines of an open file; `onBytes` sees every byte once, in order. */
function* readLines(file: number, options: { path: string; onBytes: (bytes: Buffer) => void }): Generator<Line> {
  const { path, onBytes } = options;
  const chunk = Buffer.alloc(READ_BYTES);
  let parts: Buffer[] = [];
  let length = 0;
  let lineStart = 0;
  let number = 1;
  const finishLine = (): Line => ({ number: number++, offset: lineStart, bytes: Buffer.concat(parts) });
  for (;;) {
    const size = readSome(file, chunk);
    if (size === 0) break;
    const bytes = chunk.subarray(0, size);
    onBytes(bytes);
    for (let at = 0; at < size; ) {
      const end = bytes.indexOf(NEWLINE, at);
      const piece = Buffer.from(bytes.subarray(at, end < 0 ? size : end));
      parts.push(piece);
      length += piece.length;
      if (length > MAX_LINE_BYTES) {
        throw new FormatError(
          `Expected lines of at most ${MAX_LINE_BYTES} bytes, got a longer one in line ${number} of ${path}.`,
        );
      }
      if (end < 0) break;
      yield finishLine();
      lineStart += length + 1;
      parts = [];
      length = 0;
      at = end + 1;
    }
  }
  if (length > 0) yield finishLine();
}

const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const withoutMark = (bytes: Buffer): Buffer =>
  bytes.subarray(0, 3).equals(BYTE_ORDER_MARK) ? bytes.subarray(3) : bytes;
const isBlank = (bytes: Buffer): boolean => bytes.every((byte) => byte === 32 || byte === 9 || byte === 13);

/** Check every line of a samples file and open it; `-` is standard input, which is kept in a temporary file, as what comes from a pipe is, because
 * samples are read many times. Blank lines are passed over. Memory: one sample, and a few numbers for each line.
 * @throws {FileError} absent, unreadable; {FormatError} no sample, or the first wrong line with its number. */
export function openSamples(given: string, limits: SampleLimits = {}): SampleFile {
  const source = openSource(given);
  const { path } = source;
  let file: number | null = source.file;
  const hash = createHash('sha256');
  const lines: { number: number; offset: number; length: number }[] = [];
  const lengths: number[] = [];
  let shortest = Number.POSITIVE_INFINITY;
  let longest = 0;
  try {
    const onBytes = (piece: Buffer): void => {
      hash.update(piece);
      if (source.pipe !== null) keepBytes(source.file, piece);
    };
    for (const { number, offset, bytes } of readLines(source.pipe ?? source.file, { path, onBytes })) {
      const marked = number === 1 ? withoutMark(bytes) : bytes;
      if (isBlank(marked)) continue;
      const { tokens } = parseSample(marked, { ...limits, place: `line ${number} of ${path}` });
      lines.push({ number, offset: offset + bytes.length - marked.length, length: marked.length });
      lengths.push(tokens.length);
      shortest = Math.min(shortest, tokens.length);
      longest = Math.max(longest, tokens.length);
    }
    if (lines.length === 0) throw new FormatError(`Expected at least one sample in ${path}, found none.`);
  } catch (cause) {
    closeSync(file);
    throw cause instanceof FormatError || cause instanceof FileError ? cause : fileErrorOf('read samples', path, cause);
  } finally {
    if (source.pipe !== null && source.pipe !== 0) closeSync(source.pipe);
  }
  return {
    path,
    count: lines.length,
    shortest,
    longest,
    hash: `sha256:${hash.digest('hex')}`,
    lengths,
    read(index) {
      const line = lines[index];
      if (line === undefined)
        throw new RangeError(`Expected a sample index from 0 to ${lines.length - 1}, got ${index}.`);
      if (file === null) throw new FormatError(`Expected ${path} to be open, but it was closed.`);
      const bytes = Buffer.alloc(line.length);
      let size = 0;
      while (size < bytes.length) {
        const read = readSync(file, bytes, size, bytes.length - size, line.offset + size);
        if (read === 0)
          throw new FormatError(`Expected ${path} to stay as it was, but it became shorter while in use.`);
        size += read;
      }
      return parseSample(bytes, { ...limits, place: `line ${line.number} of ${path}` });
    },
    close() {
      if (file !== null) closeSync(file);
      file = null;
    },
  };
}

/** Samples of a file one by one, in file order. @throws as `openSamples`, before the first sample. */
export function* readSamples(path: string, limits: SampleLimits = {}): Generator<Sample> {
  const file = openSamples(path, limits);
  try {
    for (let index = 0; index < file.count; index++) yield file.read(index);
  } finally {
    file.close();
  }
}

/** Where a samples file came from: what changes its bytes, inputs by hash. */
export interface SamplesMeta {
  readonly schema: typeof SAMPLES_SCHEMA;
  readonly version: typeof SAMPLES_VERSION;
  readonly count: number;
  /** sha256:… of the samples file */
  readonly samples: string;
  /** settings, seed, hashes of haystack and tokenizer */
  readonly provenance: JsonRecord;
}

const metaSchema: z.ZodType<SamplesMeta> = z.strictObject({
  schema: exactly(SAMPLES_SCHEMA),
  version: exactly(SAMPLES_VERSION),
  count: integerWithin(1, Number.MAX_SAFE_INTEGER),
  samples: textUpTo(100),
  provenance: jsonRecord,
});

/** `samples.meta.json` for `samples.jsonl`. */
export function metaPathOf(path: string): string {
  return `${path.replace(/\.jsonl$/i, '')}.meta.json`;
}

/** Read the provenance of a samples file. @throws {FileError} absent; {FormatError} malformed. */
export function readSamplesMeta(path: string): SamplesMeta {
  const metaPath = metaPathOf(path);
  return checkJson(metaSchema, { value: readJson(metaPath, MAX_META_BYTES), path: metaPath });
}

export interface WriteSamplesOptions<Samples> {
  readonly samples: Samples;
  /** a function is asked after the last sample, for what is known only then */
  readonly provenance: JsonRecord | (() => JsonRecord);
  /** called after each sample with the number written so far */
  readonly onWritten?: (count: number) => void;
}

/** Write samples as they come, whole or not at all, and their provenance next to them. Same samples, same bytes.
 * Where `path` is `-`, a FIFO or a device the samples go there as they come, and no provenance is written.
 * @throws {FormatError} a malformed sample, or none; {FileError} disk full, read-only, no such folder; whatever `samples` throws. */
export function writeSamples(path: string, options: WriteSamplesOptions<Iterable<Sample>>): SamplesMeta {
  const writer = new SampleWriter(path, options);
  try {
    for (const sample of options.samples) writer.add(sample);
    return writer.finish();
  } catch (cause) {
    writer.discard();
    throw cause;
  }
}

/** `writeSamples` for samples that are made asynchronously, so that others get their turn in between. */
export async function streamSamples(
  path: string,
  options: WriteSamplesOptions<AsyncIterable<Sample>>,
): Promise<SamplesMeta> {
  const writer = new SampleWriter(path, options);
  try {
    for await (const sample of options.samples) writer.add(sample);
    return writer.finish();
  } catch (cause) {
    writer.discard();
    throw cause;
  }
}

/** A samples file being written. */
class SampleWriter {
  readonly #path: string;
  readonly #options: Omit<WriteSamplesOptions<unknown>, 'samples'>;
  readonly #hash = createHash('sha256');
  readonly #hasMeta: boolean;
  readonly #output: Output;
  #count = 0;

  constructor(path: string, options: Omit<WriteSamplesOptions<unknown>, 'samples'>) {
    this.#path = path;
    this.#options = options;
    this.#hasMeta = isReplacedWhole(path);
    this.#output = openOutput(path);
  }

  add(sample: Sample): void {
    const place = `sample ${this.#count + 1} for ${this.#path}`;
    const bytes = Buffer.from(`${JSON.stringify(checkSample(sample, { place }))}\n`);
    this.#hash.update(bytes);
    this.#output.write(bytes);
    this.#count++;
    this.#options.onWritten?.(this.#count);
  }

  finish(): SamplesMeta {
    if (this.#count === 0) throw new FormatError(`Expected at least one sample to write to ${this.#path}, got none.`);
    this.#output.commit();
    const metaPath = metaPathOf(this.#path);
    const { provenance } = this.#options;
    const meta = checkJson(metaSchema, {
      value: {
        schema: SAMPLES_SCHEMA,
        version: SAMPLES_VERSION,
        count: this.#count,
        samples: `sha256:${this.#hash.digest('hex')}`,
        provenance: typeof provenance === 'function' ? provenance() : provenance,
      },
      path: metaPath,
    });
    if (this.#hasMeta) writeFileAtomic(metaPath, stableJson(meta));
    return meta;
  }

  discard(): void {
    this.#output.discard();
  }
}
