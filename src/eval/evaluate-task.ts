// Scores prompts at run time, through the session that deployment uses: prefill and decode with the mask, never a dense forward
// with a mask over it. A prompt is answered by greedy decoding, or its true answer is fed token by token.

import { createHash } from 'node:crypto';
import { toMaskGrid } from '../core/head-mask.ts';
import { streamingFractionOf } from '../core/masks.ts';
import { isQuantizedKv, type KvDtype, type PrefillSemantics, type Session } from '../core/session.ts';
import { type Sample, supervisedPositions } from '../core/shapes.ts';
import type { Engine } from '../engine/engine.ts';
import { AbortedError, ConfigError, EngineError } from '../errors/errors.ts';
import { hashMask } from '../formats/mask-hash.ts';
import type { Prediction } from '../formats/predictions.ts';
import type { EvalRow } from '../formats/results.ts';
import { nameRow } from '../formats/row-origin.ts';
import { generateText } from '../runtime/generate.ts';
import type { Tokenizer } from '../text/tokenizer.ts';
import type { NamedMask } from './baselines.ts';
import { type ScoredSample, summariseTeacherForced } from './evaluate-samples.ts';
import { measureMeanFootprint, type RunShape } from './footprint.ts';
import { summariseScores } from './metrics/summarise-scores.ts';
import { averageBuckets } from './suites/longbench-score.ts';
import type { TaskSample } from './tasks/task.ts';

/** How a session of a row is opened. */
export interface RunSettings {
  /** default 'exact' */
  readonly prefill?: PrefillSemantics;
  /** tokens per prefill chunk; default the engine's where prefill is exact, required where it is chunked, because the result depends on it */
  readonly chunkTokens?: number;
  /** default the engine's */
  readonly kvDtype?: KvDtype;
  /** default true, as a session's */
  readonly kvRotation?: boolean;
}

type ScoreFields = Pick<
  EvalRow,
  | 'accuracy'
  | 'accuracyInterval'
  | 'logProb'
  | 'logProbInterval'
  | 'answerTokens'
  | 'metric'
  | 'others'
  | 'note'
  | 'buckets'
>;

/** Score the samples of one task, length and depth under one mask.
 * @param options.measure 'generated': the task's score of a greedy answer; 'teacher-forced': share of answer tokens right.
 * @param options.stopTokens end a greedy answer, without becoming part of it.
 * @param options.onProgress samples done.
 * @returns one row; `accuracy` is the mean score over 100, or the share over all answer tokens.
 * @throws {ConfigError} no samples, or teacher-forced scoring of a task without answer ranges; {AbortedError}; {EngineError}. */
export async function evaluateTask(options: {
  readonly engine: Engine;
  readonly task: string;
  readonly samples: readonly TaskSample[];
  readonly mask: NamedMask;
  readonly measure: EvalRow['measure'];
  readonly tokenizer: Tokenizer;
  readonly stopTokens: readonly number[];
  readonly length: number | null;
  readonly depth?: number;
  readonly settings?: RunSettings;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
  /** called with each generated text and its score */
  readonly onPrediction?: (prediction: Prediction) => void;
}): Promise<EvalRow> {
  const { engine, task, samples, mask, measure, settings = {}, signal } = options;
  if (settings.prefill === 'chunked' && settings.chunkTokens === undefined) {
    throw new ConfigError(
      'Expected `chunkTokens` with chunked prefill, got none; its result depends on the size of a chunk',
    );
  }
  if (samples.length === 0) throw new ConfigError(`Expected at least one sample of task \`${task}\`, got none`);
  const startMs = performance.now();
  const memory = { kvBytes: 0, fullKvBytes: 0 };
  let kvDtype: KvDtype = 'f32';
  const runs: RunShape[] = [];
  const predictions: Prediction[] = [];
  const forced: ScoredSample[] = [];
  for (const [index, sample] of samples.entries()) {
    const tokens =
      measure === 'generated'
        ? sample.promptTokens.length + sample.maxNewTokens
        : requireAnswer(task, sample).tokens.length;
    const session = await engine.openSession(mask.mask, { maxTokens: tokens, ...settings });
    try {
      if (measure === 'generated') {
        const { promptTokens, maxNewTokens } = sample;
        const source = { session, tokenizer: options.tokenizer, prompt: promptTokens };
        const stopTokens = [...options.stopTokens, ...(sample.stopTokens ?? [])];
        const stop = { stopTokens, minNewTokens: sample.minNewTokens ?? 0, ...(signal && { signal }) };
        const { text, decodedTokens, stopReason } = await generateText(source, { maxNewTokens, ...stop });
        const prediction = makePrediction({ task, index, sample, text, stopReason });
        predictions.push(prediction);
        options.onPrediction?.(prediction);
        runs.push({ promptTokens: promptTokens.length, outputTokens: decodedTokens, ...settings });
      } else {
        const answered = requireAnswer(task, sample);
        forced.push(await scoreAnswer(session, answered, signal));
        const promptTokens = firstAnswerToken(answered);
        runs.push({ promptTokens, outputTokens: answered.tokens.length - promptTokens, ...settings });
      }
      const held = session.memory();
      memory.kvBytes = Math.max(memory.kvBytes, held.kvBytes);
      memory.fullKvBytes = Math.max(memory.fullKvBytes, held.fullKvBytes);
      kvDtype = held.kvDtype;
    } finally {
      await session.close();
    }
    options.onProgress?.(index + 1, samples.length);
  }
  const footprint = measureMeanFootprint(runs, mask.mask);
  return {
    task,
    ...nameRow(mask),
    maskHash: hashMask(mask.mask),
    length: options.length,
    depth: options.depth ?? null,
    samples: samples.length,
    measure,
    ...(measure === 'generated' ? summarisePredictions(samples, predictions) : summariseTeacherForced(forced)),
    streamingFraction: mask.mask === 'full' ? 0 : streamingFractionOf(toMaskGrid(mask.mask)),
    ...memory,
    kvDtype,
    kvRotation: isQuantizedKv(kvDtype) ? settings.kvRotation !== false : null,
    footprint: footprint.integrated,
    peakFootprint: footprint.peak,
    prefill: settings.prefill ?? 'exact',
    seconds: (performance.now() - startMs) / 1000,
  };
}

/** Feed a sample up to its first answer token, then token by token, and score each answer token from the true prefix.
 * @throws {AbortedError}; {EngineError} logits that are not finite. */
export async function scoreAnswer(session: Session, sample: Sample, signal?: AbortSignal): Promise<ScoredSample> {
  const positions = supervisedPositions(sample.answers, 'predict');
  const scored = new Set(positions);
  const first = firstAnswerToken(sample);
  const last = positions.at(-1) as number;
  let logits = await session.prefill(sample.tokens.slice(0, first), signal === undefined ? {} : { signal });
  let right = 0;
  let logProb = 0;
  for (let position = first - 1; position <= last; position++) {
    if (position >= first) logits = await session.decode(sample.tokens[position] as number, logits);
    throwIfAborted(signal);
    if (!scored.has(position)) continue;
    const expected = sample.tokens[position + 1] as number;
    if (findBest(logits) === expected) right++;
    logProb += computeLogProb(logits, expected);
  }
  const answerTokens = positions.length;
  return {
    accuracy: right / answerTokens,
    logProb: logProb / answerTokens,
    answerTokens,
    tokens: sample.tokens.length,
  };
}

/** Index of the largest logit, the lowest on a tie. @throws {EngineError} a logit is not a number. */
function findBest(logits: Float32Array): number {
  let best = 0;
  for (let index = 0; index < logits.length; index++) {
    if (Number.isNaN(logits[index]))
      throw new EngineError(`Expected finite logits, got NaN for token ${index}; check the model's weights`);
    if ((logits[index] as number) > (logits[best] as number)) best = index;
  }
  return best;
}

/** Natural-log probability of one token, in double precision. */
export function computeLogProb(logits: Float32Array, token: number): number {
  const top = logits[findBest(logits)] as number;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - top);
  return (logits[token] as number) - top - Math.log(sum);
}

function makePrediction(parts: {
  readonly task: string;
  readonly index: number;
  readonly sample: TaskSample;
  readonly text: string;
  readonly stopReason: Prediction['stopReason'];
}): Prediction {
  const { task, index, sample, text, stopReason } = parts;
  const others = Object.entries(sample.others ?? {}).map(([name, score]) => [name, score(text)] as const);
  return {
    task,
    index,
    promptHash: `sha256:${createHash('sha256').update(sample.prompt).digest('hex')}`,
    promptTokens: sample.promptTokens.length,
    prediction: text,
    answers: [...sample.references],
    score: sample.score(text),
    metric: sample.metric ?? 'string-match',
    ...(others.length === 0 ? {} : { others: Object.fromEntries(others) }),
    stopReason,
    ...(sample.record === undefined ? {} : { record: sample.record }),
  };
}

/** Mean and interval of the scores, means of the further scores, and a note on them. */
function summarisePredictions(samples: readonly TaskSample[], predictions: readonly Prediction[]): ScoreFields {
  const { mean, interval } = summariseScores(predictions.map(({ score }) => score));
  const names = Object.keys(predictions[0]?.others ?? {});
  const meanOf = (name: string): number =>
    predictions.reduce((sum, { others }) => sum + (others?.[name] ?? 0), 0) / (100 * predictions.length);
  const note = samples.find((sample) => sample.note !== undefined)?.note;
  return {
    accuracy: mean,
    accuracyInterval: interval,
    logProb: null,
    logProbInterval: null,
    answerTokens: null,
    metric: predictions[0]?.metric ?? 'string-match',
    ...(names.length === 0 ? {} : { others: Object.fromEntries(names.map((name) => [name, meanOf(name)])) }),
    ...(note === undefined ? {} : { note }),
    ...summariseBuckets(samples, predictions),
  };
}

/** LongBench-E's means by length of the text, where the task's name ends in `_e`. */
function summariseBuckets(
  samples: readonly TaskSample[],
  predictions: readonly Prediction[],
): Pick<EvalRow, 'buckets'> {
  const isE = predictions.some(({ task }) => /^(?:longbench|kvpress)\/.+[-_]e$/.test(task));
  const lengths = samples.map((sample) => sample.meta.length);
  if (!isE || !lengths.every((length) => typeof length === 'number')) return {};
  return {
    buckets: averageBuckets(
      predictions.map(({ score }) => score),
      lengths as number[],
    ),
  };
}

function requireAnswer(task: string, sample: TaskSample): Sample {
  if (sample.teacherForced !== null && sample.teacherForced.answers.length > 0) return sample.teacherForced;
  throw new ConfigError(`Task \`${task}\` has no single spelling of its answer; score it by generated text instead`);
}

const firstAnswerToken = (sample: Sample): number => Math.min(...sample.answers.map(([start]) => start));

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortedError('The evaluation was stopped before its last sample.');
}
