// Laws of the tensorflow engine on wasm: gate ends, windows, supervise rules, sessions in any chunking, forks, lifetimes, errors.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeHeadMask, toMaskGrid } from '../../../../src/core/head-mask.ts';
import { filledGrid, type HeadMask, type Sample } from '../../../../src/core/shapes.ts';
import type { Engine } from '../../../../src/engine/engine.ts';
import { openTensorflowEngine } from '../../../../src/engine/tensorflow/tensorflow-engine.ts';
import { AbortedError, ConfigError, EngineError, FormatError } from '../../../../src/errors/errors.ts';
import { type ModelFolder, openModelFolder } from '../../../../src/model/folder.ts';
import { expectAgreement, printToleranceUse } from '../../../reference/agreement.ts';
import { makeGates, makeTokens, writeRandomModel } from '../../../reference/random-model.ts';
import {
  type ReferenceModel,
  referenceForward,
  referenceLogits,
  referenceLoss,
} from '../../../reference/transformer.ts';

const path = mkdtempSync(join(tmpdir(), 'duo-laws-'));
const T = 40;
const window = { sinkTokens: 3, recentTokens: 6 };
const grid = [
  [0, 1],
  [1, 0],
];
const mask = makeHeadMask(grid, window);
let model: ReferenceModel;
let folder: ModelFolder;
let engine: Engine;
let tokens: number[];
let sample: Sample;
let gates: number[][];

beforeAll(async () => {
  model = writeRandomModel(path, { seed: 3 });
  folder = openModelFolder(path);
  engine = await openTensorflowEngine(folder, { backend: 'wasm' });
  tokens = makeTokens(model, T, 5);
  sample = {
    tokens,
    answers: [
      [30, 34],
      [32, 35],
      [38, T],
    ],
  };
  gates = makeGates(model, 9);
});
afterAll(async () => {
  await engine.close();
  folder.close();
  rmSync(path, { recursive: true });
  printToleranceUse();
});

/** Logits `[T][vocab]` of the float64 loops. */
function expectedLogits(given: HeadMask | 'full', fed: number[] = tokens): Float64Array[] {
  const isFull = given === 'full';
  const options = isFull
    ? { gates: null, window: null }
    : { gates: toMaskGrid(given), window: { sinkTokens: given.sinkTokens, recentTokens: 1 }, windows: given.windows };
  return referenceLogits(model, referenceForward(model, fed, options).hidden);
}

describe('distill', () => {
  it('is zero with zero gradient where the window covers the sample', async () => {
    const covering = { sinkTokens: 10, recentTokens: T - 10 };
    const { loss, gradient } = await engine.distill(sample, gates, covering);
    expect(loss).toBe(0);
    expect(gradient).toEqual(filledGrid(2, 2, 0));
    expect((await engine.distill(sample, gates, { sinkTokens: 10, recentTokens: T - 11 })).loss).toBeGreaterThan(0);
  });

  it('is exactly zero where all gates are 1, for either full branch', async () => {
    for (const fullBranch of ['student', 'teacher'] as const) {
      expect((await engine.distill(sample, filledGrid(2, 2, 1), window, { fullBranch })).loss).toBe(0);
    }
  });

  it('equals the streaming model where all gates are 0', async () => {
    const positions = [29, 30, 31, 32, 33, 37, 38];
    const { loss } = await engine.distill(sample, filledGrid(2, 2, 0), window);
    const expected = referenceLoss(model, tokens, { positions, gates: filledGrid(2, 2, 0), window });
    expectAgreement([loss], [expected], { tolerance: 'reference', label: 'loss of gates 0' });
  });

  it('supervises the positions of either rule, each once', async () => {
    const rules = { predict: [29, 30, 31, 32, 33, 37, 38], answer: [30, 31, 32, 33, 34, 38, 39] } as const;
    for (const supervise of ['predict', 'answer'] as const) {
      const { loss } = await engine.distill(sample, gates, window, { supervise });
      const expected = referenceLoss(model, tokens, { positions: rules[supervise], gates, window });
      expectAgreement([loss], [expected], { tolerance: 'reference', label: `loss, ${supervise}` });
    }
  });

  it('gives the same bytes twice and leaves no tensor behind', async () => {
    const first = await engine.distill(sample, gates, window);
    const before = tf.memory().numTensors;
    expect(await engine.distill(sample, gates, window)).toEqual(first);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('reports progress up to 1 and stops at an abort, freeing everything', async () => {
    const seen: number[] = [];
    await engine.distill(sample, gates, window, { onProgress: (fraction) => seen.push(fraction) });
    expect(seen).toEqual([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1]);
    const before = tf.memory().numTensors;
    for (const stopAfter of [1, 3, 5]) {
      const controller = new AbortController();
      let layers = 0;
      const onProgress = (): void => {
        if (++layers === stopAfter) controller.abort();
      };
      const run = engine.distill(sample, gates, window, { signal: controller.signal, onProgress });
      await expect(run).rejects.toThrow(AbortedError);
      expect(layers).toBe(stopAfter);
    }
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('evaluate', () => {
  it.each([['full'], [mask]] as const)('equals the float64 loops with mask %j', async (given) => {
    const logits = expectedLogits(given as HeadMask | 'full');
    const positions = [29, 30, 31, 32, 33, 37, 38];
    let right = 0;
    let logProb = 0;
    for (const position of positions) {
      const row = logits[position]!;
      const answer = tokens[position + 1]!;
      if (row.indexOf(Math.max(...row)) === answer) right++;
      logProb += row[answer]! - Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
    }
    const result = await engine.evaluate(sample, given as HeadMask | 'full');
    expect(result.accuracy).toBe(right / positions.length);
    expectAgreement([result.logProb], [logProb / positions.length], { tolerance: 'reference', label: 'logProb' });
  });
});

describe('sessions', () => {
  it('give every head its own window: one that covers the text is the whole context, a smaller one is not', async () => {
    const run = async (windows: HeadMask['windows'], chunkTokens: number): Promise<Float32Array> => {
      const session = await engine.openSession({ sinkTokens: 3, windows }, { maxTokens: T, chunkTokens });
      const logits = await session.prefill(tokens);
      await session.close();
      return logits;
    };
    const windows = [
      [6, T],
      [11, 2],
    ];
    const oneShot = await run(windows, T);
    const equal = await run([[6, null], windows[1]!], T);
    expectAgreement(oneShot, equal, { tolerance: 'reference', label: 'covering window' });
    expectAgreement(await run(windows, 7), oneShot, { tolerance: 'reference', label: 'windows in chunks' });
    const uniform = await run(
      [
        [6, T],
        [6, 6],
      ],
      T,
    );
    expect(Math.max(...oneShot.map((value, index) => Math.abs(value - uniform[index]!)))).toBeGreaterThan(1e-3);
  });

  it.each([1, 2, 7, 256])('prefill in chunks of %i gives the logits of the float64 loops', async (chunkTokens) => {
    for (const given of ['full', mask] as const) {
      const session = await engine.openSession(given, { maxTokens: T, chunkTokens });
      const logits = await session.prefill(tokens);
      expectAgreement(logits, expectedLogits(given).at(-1)!, { tolerance: 'reference', label: 'prefill' });
      await session.close();
    }
  });

  it.each([
    [0, 1],
    [0, 5],
    [8, 1],
    [3, 6],
    [50, 4],
  ])('decode after prefill equals one longer prefill, sink %i, recent %i', async (sinkTokens, recentTokens) => {
    const given = makeHeadMask(grid, { sinkTokens, recentTokens });
    const expected = expectedLogits(given);
    const session = await engine.openSession(given, { maxTokens: T });
    await session.prefill(tokens.slice(0, 4));
    for (let position = 4; position < T; position++) {
      const logits = await session.decode(tokens[position]!);
      expectAgreement(logits, expected[position]!, { tolerance: 'reference', label: 'decode' });
    }
    expect(session.length).toBe(T);
    expect(session.logits()).toEqual(await (await session.fork()).logits());
    await session.close();
  });

  it('writes logits to the array it is given', async () => {
    const session = await engine.openSession(mask, { maxTokens: T });
    const into = await session.prefill(tokens.slice(0, 4));
    expect(await session.decode(tokens[4]!, into)).toBe(into);
    expect(into).toEqual(session.logits());
    await expect(session.decode(tokens[5]!, new Float32Array(3))).rejects.toThrow('logits to write to, got one of 3');
    expect(session.length).toBe(5);
    await session.close();
  });

  it('with chunked prefill a streaming head sees its whole chunk: one chunk is full attention', async () => {
    const chunked = await engine.openSession(mask, { maxTokens: T, prefill: 'chunked', chunkTokens: T });
    expectAgreement(await chunked.prefill(tokens), expectedLogits('full').at(-1)!, {
      tolerance: 'reference',
      label: 'chunked',
    });
    const small = await engine.openSession(mask, { maxTokens: T, prefill: 'chunked', chunkTokens: 5 });
    const large = await engine.openSession(mask, { maxTokens: T, prefill: 'chunked', chunkTokens: 8 });
    expect(await small.prefill(tokens)).not.toEqual(await large.prefill(tokens));
  });

  it('a fork equals its parent and goes its own way', async () => {
    const parent = await engine.openSession(mask, { maxTokens: T });
    await parent.prefill(tokens.slice(0, 20));
    const child = await parent.fork();
    await child.decode(1);
    expect(parent.length).toBe(20);
    const sibling = await parent.fork();
    await parent.close();
    expectAgreement(await sibling.prefill(tokens.slice(20)), expectedLogits(mask).at(-1)!, {
      tolerance: 'reference',
      label: 'fork',
    });
    expectAgreement(child.logits(), expectedLogits(mask, [...tokens.slice(0, 20), 1]).at(-1)!, {
      tolerance: 'reference',
      label: 'fork',
    });
  });

  it('counts the bytes it holds', async () => {
    const session = await engine.openSession(mask, { maxTokens: T });
    const headBytes = 2 * 8 * 4;
    expect(session.memory().kvBytes).toBe(headBytes * (2 * T + 2 * (3 + 6)));
    expect(session.memory().fullKvBytes).toBe(headBytes * 4 * T);
    const short = await engine.openSession(mask, { maxTokens: 5 });
    expect(short.memory().kvBytes).toBe(headBytes * 4 * 5);
  });

  it('an abort leaves it at the last whole chunk', async () => {
    const session = await engine.openSession(mask, { maxTokens: T, chunkTokens: 10 });
    const controller = new AbortController();
    const onProgress = (done: number): void => {
      if (done === 20) controller.abort();
    };
    const before = tf.memory().numTensors;
    await expect(session.prefill(tokens, { signal: controller.signal, onProgress })).rejects.toThrow(AbortedError);
    expect(tf.memory().numTensors).toBe(before);
    expect(session.length).toBe(20);
    const logits = await session.prefill(tokens.slice(20));
    expectAgreement(logits, expectedLogits(mask).at(-1)!, { tolerance: 'reference', label: 'after an abort' });
  });

  it('refuses by name what it cannot do', async () => {
    const open = (options: object): Promise<unknown> => engine.openSession(mask, { maxTokens: T, ...options });
    await expect(open({ kvDtype: 'bf16' })).rejects.toThrow(
      'Expected `kvDtype` to be f32 on the tensorflow engine, got `bf16`; the native engine has it',
    );
    await expect(open({ chunkTokens: 0 })).rejects.toThrow(ConfigError);
    await expect(open({ maxTokens: 513 })).rejects.toThrow(ConfigError);
    const session = await engine.openSession('full', { maxTokens: 4 });
    expect(() => session.logits()).toThrow(EngineError);
    await expect(session.prefill([])).rejects.toThrow(FormatError);
    await expect(session.prefill([1, 2, 3, 4, 5])).rejects.toThrow('Expected the session to stay within its 4 tokens');
    const running = session.prefill([1, 2]);
    await expect(session.decode(3)).rejects.toThrow('Expected one call on a session at a time');
    await running;
    await session.close();
    await session.close();
    for (const use of [() => session.decode(1), () => session.prefill([1]), () => session.fork()]) {
      await expect(use()).rejects.toThrow('Expected an open session, found a closed one');
    }
    expect(() => session.memory()).toThrow(EngineError);
  });
});

describe('inputs', () => {
  const bad: [string, () => Promise<unknown>, string][] = [
    [
      'a token outside the vocabulary',
      () => engine.evaluate({ ...sample, tokens: [1, 40], answers: [[1, 2]] }, 'full'),
      'Expected token ids from 0 to 39, got 40 at position 1',
    ],
    ['a range past the end', () => engine.evaluate({ tokens, answers: [[38, 41]] }, 'full'), 'got [38, 41)'],
    ['a range at 0', () => engine.distill({ tokens, answers: [[0, 1]] }, gates, window), 'got [0, 1)'],
    ['no answer', () => engine.distill({ tokens, answers: [] }, gates, window), 'at least one answer range'],
    [
      'a sample too long',
      () => engine.evaluate({ tokens: new Array(513).fill(1), answers: [[1, 2]] }, 'full'),
      'Expected at most 512 tokens',
    ],
    [
      'gates of another model',
      () => engine.distill(sample, filledGrid(3, 2, 1), window),
      'Expected `gates` of 2 layers with 2 KV heads each, got 3 layers',
    ],
    [
      'a gate above 1',
      () => engine.distill(sample, filledGrid(2, 2, 1.5), window),
      'Expected gates from 0 to 1, got 1.5 at layer 0, KV head 0',
    ],
    [
      'a gate that is not a number',
      () => engine.distill(sample, filledGrid(2, 2, Number.NaN), window),
      'Expected gates from 0 to 1, got NaN',
    ],
    [
      'recent 0',
      () => engine.distill(sample, gates, { sinkTokens: 1, recentTokens: 0 }),
      'Expected `recentTokens` to be an integer of at least 1, got `0`',
    ],
    [
      'sink −1',
      () => engine.evaluate(sample, { ...mask, sinkTokens: -1 }),
      'Expected `sinkTokens` to be an integer of at least 0, got `-1`',
    ],
    [
      'a window of 0.5',
      () => engine.evaluate(sample, { sinkTokens: 1, windows: filledGrid(2, 2, 0.5) }),
      'Expected windows of at least 1 token, or null for the whole context, got 0.5 at layer 0, KV head 0',
    ],
    [
      'what is no mask',
      () => engine.openSession([[1, 1]] as unknown as HeadMask, { maxTokens: T }),
      "Expected a mask to be 'full' or { sinkTokens, windows }",
    ],
  ];
  it.each(bad)('refuses %s', async (_name, run, message) => {
    await expect(run()).rejects.toThrow(message);
  });
});

it('estimate grows with the tokens and counts the operations of the formula', () => {
  // P = 2·T·(24·8·(8+4) + 3·24·36), A = 2·4·8·40·40, two layers, 4P + 11A
  const linear = 2 * T * (24 * 8 * 12 + 3 * 24 * 36);
  const attention = 2 * 4 * 8 * T * T;
  expect(engine.estimate(T).operations).toBe(2 * (4 * linear + 11 * attention));
  expect(engine.estimate(2 * T).memoryBytes).toBeGreaterThan(engine.estimate(T).memoryBytes);
});

it('a closed engine refuses, and has freed its weights', async () => {
  const before = tf.memory().numTensors;
  const other = await openTensorflowEngine(folder, { backend: 'wasm' });
  await other.evaluate(sample, 'full');
  const session = await other.openSession('full', { maxTokens: T });
  await other.close();
  await other.close();
  expect(tf.memory().numTensors).toBe(before);
  await expect(other.evaluate(sample, 'full')).rejects.toThrow('Expected an open engine, found a closed one');
  await expect(session.prefill([1])).rejects.toThrow('Expected an open engine, found a closed one');
});

it('names a loss that is not a number', async () => {
  const huge = mkdtempSync(join(tmpdir(), 'duo-huge-'));
  const overflowing = writeRandomModel(huge, { seed: 1, scale: 1e25 });
  const opened = openModelFolder(huge);
  const other = await openTensorflowEngine(opened, { backend: 'wasm' });
  expect(overflowing.config.shape.layers).toBe(2);
  await expect(other.distill(sample, gates, window)).rejects.toThrow(
    'Expected the distillation loss to be a finite number',
  );
  await expect(other.evaluate(sample, 'full')).rejects.toThrow('Expected finite logits');
  await other.close();
  opened.close();
  rmSync(huge, { recursive: true });
});

it('refuses beforehand what wasm cannot address', async () => {
  const long = mkdtempSync(join(tmpdir(), 'duo-long-'));
  const overrides = { max_position_embeddings: 65536 };
  writeRandomModel(long, { seed: 1, overrides });
  const opened = openModelFolder(long);
  const other = await openTensorflowEngine(opened, { backend: 'wasm' });
  const many = { tokens: new Array(40_000).fill(1), answers: sample.answers };
  await expect(other.distill(many, gates, window)).rejects.toThrow(
    'Expected a step over 40000 tokens to fit the 4 GiB that wasm can address',
  );
  await other.close();
  opened.close();
  rmSync(long, { recursive: true });
});
