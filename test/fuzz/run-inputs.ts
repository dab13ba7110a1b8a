// Runs a reader over damaged inputs and keeps what no reader may do: throw anything but an error of duo in one sentence, take longer than a
// second, or take much more memory than a file of a few kilobytes can need.
import { rmSync } from 'node:fs';
import { makeRandom } from '../../src/core/random.ts';
import { DuoError } from '../../src/errors/errors.ts';
import { mutate } from './mutate.ts';
import type { Reader } from './readers.ts';

export const MAX_MS = 1000;
/** What one input may add to the largest resident size of the process. */
export const MAX_GROWTH_BYTES = 2 ** 28;
const MAX_SENTENCE = 5000;
const BATCH = 500;

export interface Finding {
  readonly reader: string;
  readonly seed: number;
  readonly index: number;
  readonly what: string;
}

export interface Outcome {
  readonly inputs: number;
  /** read without an error */
  readonly read: number;
  /** ended by the reader's own limit of time or memory */
  readonly limited: number;
  readonly slowestMs: number;
  readonly findings: readonly Finding[];
}

/** The input of that number. */
export function makeInput(reader: Reader, options: { seed: number; index: number }): Buffer {
  return mutate(reader, makeRandom(options.seed, 'fuzz', reader.name, options.index));
}

/** @param options.folder scratch, emptied at times.  @param options.onInput hears the number of the next input before it is read. */
export async function runInputs(
  reader: Reader,
  options: { seed: number; from: number; inputs: number; folder: string; onInput?: (index: number) => void },
): Promise<Outcome> {
  const { seed, from, inputs, folder, onInput } = options;
  const findings: Finding[] = [];
  const outcome = { inputs, read: 0, limited: 0, slowestMs: 0 };
  const judge = (index: number, error: unknown): void => {
    const what = judgeError(error);
    if (what !== null) findings.push({ reader: reader.name, seed, index, what });
    if (error === null) outcome.read++;
    else if (isLimit(error)) outcome.limited++;
  };
  if (reader.readMany !== undefined) {
    for (let start = from; start < from + inputs; start += BATCH) {
      onInput?.(start);
      const length = Math.min(BATCH, from + inputs - start);
      const batch = Array.from({ length }, (_, offset) => makeInput(reader, { seed, index: start + offset }));
      (await reader.readMany(batch, folder)).forEach((error, offset) => {
        judge(start + offset, error);
      });
      rmSync(folder, { recursive: true, force: true });
    }
    return { ...outcome, findings };
  }
  for (let index = from; index < from + inputs; index++) {
    onInput?.(index);
    const input = makeInput(reader, { seed, index });
    const before = largestBytes();
    const first = await timeOf(reader, input, folder);
    // Twice, because collecting what earlier inputs left may take long once.
    const isSlow = first.ms > MAX_MS && !isLimit(first.error);
    const ms = isSlow ? Math.min(first.ms, (await timeOf(reader, input, folder)).ms) : first.ms;
    if (!isLimit(first.error)) outcome.slowestMs = Math.max(outcome.slowestMs, ms);
    judge(index, first.error);
    const grown = largestBytes() - before;
    if (isSlow && ms > MAX_MS) findings.push({ reader: reader.name, seed, index, what: `took ${Math.round(ms)} ms` });
    if (grown > MAX_GROWTH_BYTES) {
      findings.push({ reader: reader.name, seed, index, what: `took ${Math.round(grown / 2 ** 20)} MiB of memory` });
    }
    if (index % 100 === 0) rmSync(folder, { recursive: true, force: true });
  }
  return { ...outcome, findings };
}

/** How long one input takes: by the clock, or by the processor where that is less, as on a machine with other work. */
async function timeOf(reader: Reader, input: Buffer, folder: string): Promise<{ ms: number; error: unknown }> {
  const startMs = performance.now();
  const startCpu = process.cpuUsage();
  let error: unknown = null;
  try {
    await reader.read?.(input, folder);
  } catch (thrown) {
    error = thrown ?? new Error('threw nothing');
  }
  const { user, system } = process.cpuUsage(startCpu);
  return { ms: Math.min(performance.now() - startMs, (user + system) / 1000), error };
}

/** What is wrong with an error; null where nothing is. */
function judgeError(error: unknown): string | null {
  if (error === null) return null;
  if (!(error instanceof DuoError)) return `threw ${error instanceof Error ? error.stack : String(error)}`;
  if (/[\n\r]/.test(error.message)) return `a message of several lines: ${JSON.stringify(error.message.slice(0, 300))}`;
  return error.message.length > MAX_SENTENCE ? `a message of ${error.message.length} characters` : null;
}

function isLimit(error: unknown): boolean {
  return error instanceof DuoError && /to be done within|was not done after|needed more than/.test(error.message);
}

/** Largest resident size of this process so far. */
function largestBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}
