// metrics.jsonl: one line per step of the gate optimisation, appended as the run goes, cut back to a checkpoint when it resumes.
// Every few steps a line also holds the gates, so that one file has both the losses and the course of the gates.
import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { z } from 'zod';
import { FormatError } from '../errors/errors.ts';
import { fileErrorOf, writeFileAtomic } from './atomic-file.ts';
import { checkJson, finiteNumber, integerWithin, readTextWithin, unitNumber } from './read-json.ts';

/** 2^31 steps are never reached; the bound refuses damaged numbers. */
const MAX_STEPS = 2 ** 31;
const MAX_TOKENS = 2 ** 31;
/** A million lines of 400 bytes. */
export const MAX_METRICS_BYTES = 512 * 2 ** 20;
/** Four decimals are enough to draw a gate's course and keep a line of 256 gates under 2 KB. */
const COURSE_DECIMALS = 4;

export interface MetricsLine {
  /** i = 0 … N−1 */
  readonly step: number;
  /** distillation + penalty, at the gates before the step */
  readonly loss: number;
  readonly distillation: number;
  readonly penalty: number;
  readonly lr: number;
  /** tokens of the step's sample */
  readonly length: number;
  /** mean of the gates after the step */
  readonly gateMean: number;
  /** share of the gates strictly between 0.05 and 0.95 after the step */
  readonly undecided: number;
  /** gates after the step, `[layers][kvHeads]`, four decimals; on every `gatesEvery`-th line and the last */
  readonly gates?: number[][] | undefined;
  /** wall-clock seconds of the step; outside the promise of equal bytes */
  readonly seconds: number;
}

const schema: z.ZodType<MetricsLine> = z.strictObject({
  step: integerWithin(0, MAX_STEPS),
  loss: finiteNumber,
  distillation: finiteNumber,
  penalty: finiteNumber,
  lr: finiteNumber,
  length: integerWithin(1, MAX_TOKENS),
  gateMean: unitNumber,
  undecided: unitNumber,
  gates: z.array(z.array(unitNumber)).optional(),
  seconds: finiteNumber,
});

/** Read whole metrics. A torn last line (no newline, left by a kill) is not part of the file.
 * @throws {FileError} absent; {FormatError} a malformed line, with its number. */
export function readMetrics(path: string): MetricsLine[] {
  return splitWholeLines(readTextWithin(path, MAX_METRICS_BYTES)).map((line, index) =>
    parseLine(line, `line ${index + 1} of ${path}`),
  );
}

/** Open metrics.jsonl for appending after its first `keepSteps` lines; later lines and a torn one are cut off.
 * @param keepSteps steps the checkpoint has behind it; 0 starts afresh.
 * @throws {FormatError} fewer whole lines than `keepSteps`, or lines out of order; {FileError}. */
export function openMetrics(path: string, keepSteps: number): MetricsWriter {
  const kept = keepSteps === 0 ? [] : splitWholeLines(readTextWithin(path, MAX_METRICS_BYTES)).slice(0, keepSteps);
  if (kept.length < keepSteps) {
    throw new FormatError(
      `Expected ${path} to hold the ${keepSteps} steps of its checkpoint, got \`${kept.length}\`; run again with --overwrite.`,
    );
  }
  kept.forEach((line, index) => {
    const { step } = parseLine(line, `line ${index + 1} of ${path}`);
    if (step !== index) {
      throw new FormatError(`Expected \`step\` in line ${index + 1} of ${path} to be \`${index}\`, got \`${step}\`.`);
    }
  });
  const text = kept.map((line) => `${line}\n`).join('');
  if (!isFileEqual(path, text)) writeFileAtomic(path, text);
  return new MetricsWriter(path);
}

/** Appends lines; `sync` makes them survive a power failure and must precede the checkpoint that counts them. */
export class MetricsWriter {
  readonly path: string;
  #file: number | null;

  constructor(path: string) {
    this.path = path;
    try {
      this.#file = openSync(path, 'a');
    } catch (cause) {
      throw fileErrorOf('write', path, cause);
    }
  }

  /** Append one line. @throws {FileError} disk full. */
  append(line: MetricsLine): void {
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    this.#attempt((file) => {
      for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written);
    });
  }

  sync(): void {
    this.#attempt(fsyncSync);
  }

  /** Close the file; a second close does nothing. */
  close(): void {
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
  }

  #attempt(action: (file: number) => void): void {
    if (this.#file === null) throw new Error(`Expected the writer of ${this.path} to be open, got a closed one.`);
    try {
      action(this.#file);
    } catch (cause) {
      throw fileErrorOf('write', this.path, cause);
    }
  }
}

/** Gates as the course of a metrics line keeps them. */
export function roundGates(gates: readonly (readonly number[])[]): number[][] {
  return gates.map((row) => row.map((gate) => Number(gate.toFixed(COURSE_DECIMALS))));
}

function splitWholeLines(text: string): string[] {
  return text.split('\n').slice(0, -1);
}

function parseLine(line: string, place: string): MetricsLine {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new FormatError(`Expected ${place} to hold JSON: ${(cause as Error).message}.`, { cause });
  }
  return checkJson(schema, { value, path: place });
}

function isFileEqual(path: string, text: string): boolean {
  try {
    return readFileSync(path, 'utf8') === text;
  } catch {
    return false;
  }
}
