// What masks score on fixed samples, each mask once: kept in memory and, where a file is named, a line per mask, so that a search
// over masks that was stopped goes on where it was.

import { createHash } from 'node:crypto';
import { appendFileSync, closeSync, existsSync, openSync, readFileSync, truncateSync } from 'node:fs';
import { makeHeadMask } from '../../src/core/head-mask.ts';
import type { HeadMask, MaskGrid, ModelShape, Sample, Window } from '../../src/core/shapes.ts';
import { supervisedPositions } from '../../src/core/shapes.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { AbortedError, ConfigError } from '../../src/errors/errors.ts';
import { computeWeightedMean } from '../../src/eval/metrics/confidence.ts';
import { fileErrorOf } from '../../src/formats/atomic-file.ts';

/** What one mask scored, a value per sample, in the samples' order. */
export interface MaskScore {
  /** share of answer tokens predicted right, 0..1 */
  readonly accuracy: readonly number[];
  /** mean natural-log probability of the answer tokens */
  readonly logProb: readonly number[];
}

interface MaskScoresOptions {
  readonly engine: Engine;
  /** window of every mask */
  readonly window: Window;
  readonly samples: readonly Sample[];
  /** JSONL file that keeps the scores; default: none is kept */
  readonly cellsPath?: string;
  /** fingerprint of the model, part of what a kept file must agree with */
  readonly model?: string;
  readonly signal?: AbortSignal;
}

/** Scores of masks by the engine's teacher-forced evaluation. */
export class MaskScores {
  readonly model: ModelShape;
  /** answer tokens of each sample: the weight of its values in a mean */
  readonly weights: readonly number[];
  readonly #options: MaskScoresOptions;
  readonly #known = new Map<string, MaskScore>();

  /** @throws {ConfigError} no samples, one without answers, or a kept file of other samples, window, model or engine; {FileError}. */
  constructor(options: MaskScoresOptions) {
    const { engine, samples, cellsPath } = options;
    if (samples.length === 0) throw new ConfigError('Expected at least one sample to score masks on, got none');
    this.#options = options;
    this.model = engine.model;
    this.weights = samples.map((sample, index) => {
      const answerTokens = supervisedPositions(sample.answers, 'predict').length;
      if (answerTokens === 0) throw new ConfigError(`Expected sample ${index + 1} to have an answer range, got none`);
      return answerTokens;
    });
    if (cellsPath !== undefined) this.#readCells(cellsPath);
  }

  /** Scores of a mask. @throws {AbortedError}; {EngineError}; {FileError} a full disk. */
  async read(mask: MaskGrid | 'full'): Promise<MaskScore> {
    const { engine, window, samples, cellsPath, signal } = this.#options;
    const name = mask === 'full' ? 'full' : mask.flat().join('');
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const given: HeadMask | 'full' = mask === 'full' ? 'full' : makeHeadMask(mask, window);
    const accuracy: number[] = [];
    const logProb: number[] = [];
    for (const sample of samples) {
      if (signal?.aborted) throw new AbortedError('Scoring of masks was stopped; finished masks are kept.');
      const result = await engine.evaluate(sample, given, signal === undefined ? {} : { signal });
      accuracy.push(result.accuracy);
      logProb.push(result.logProb);
    }
    const score = { accuracy, logProb };
    this.#known.set(name, score);
    if (cellsPath !== undefined) appendLine(cellsPath, { mask: name, ...score });
    return score;
  }

  /** Mean over all answer tokens of values that `read` gave. */
  mean(values: readonly number[]): number {
    return computeWeightedMean(values, this.weights);
  }

  #readCells(path: string): void {
    const { engine, window, samples, model = '' } = this.#options;
    const hash = createHash('sha256');
    for (const { tokens, answers } of samples) hash.update(JSON.stringify([tokens, answers]));
    const identity = { engine: engine.name, device: engine.device, model, window, samples: hash.digest('hex') };
    const header = JSON.stringify({ schema: 'duo.mask-scores', version: 1, ...identity });
    if (!existsSync(path)) {
      createFile(path);
      appendLine(path, JSON.parse(header));
      return;
    }
    const text = readFileSync(path, 'utf8');
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    const [first, ...lines] = whole.split('\n').slice(0, -1);
    if (first !== header) {
      throw new ConfigError(
        `Expected ${path} to hold scores of these samples, window, model and engine, got others; name another file.`,
      );
    }
    for (const line of lines) {
      const { mask, accuracy, logProb } = JSON.parse(line) as MaskScore & { mask: string };
      this.#known.set(mask, { accuracy, logProb });
    }
    // a kill in the middle of a line leaves its beginning, which the next line must not continue
    if (whole.length < text.length) truncateSync(path, Buffer.byteLength(whole));
  }
}

function createFile(path: string): void {
  try {
    closeSync(openSync(path, 'wx'));
  } catch (cause) {
    throw fileErrorOf('write', path, cause);
  }
}

function appendLine(path: string, value: unknown): void {
  try {
    appendFileSync(path, `${JSON.stringify(value)}\n`);
  } catch (cause) {
    throw fileErrorOf('write', path, cause);
  }
}
