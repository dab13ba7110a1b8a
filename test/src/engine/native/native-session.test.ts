// Sessions of the native engine: golden logits in any chunking, the runtime's laws, sampling against its TypeScript twin, and lifetimes.

import { afterAll, beforeAll, expect, it } from 'vitest';
import { measureDisagreement } from '../../../../src/bench/session-checks.ts';
import { findShape } from '../../../../src/bench/shapes.ts';
import { makeHeadMask } from '../../../../src/core/head-mask.ts';
import { countKvBytes } from '../../../../src/core/kv-cost.ts';
import { isQuantizedKv, KV_DTYPES, type KvDtype, type Session } from '../../../../src/core/session.ts';
import type { HeadMask, MaskGrid } from '../../../../src/core/shapes.ts';
import type { Engine } from '../../../../src/engine/engine.ts';
import { listModelConfigValues } from '../../../../src/engine/native/model-config.ts';
import { openNativeEngine, openRandomNativeEngine } from '../../../../src/engine/native/native-engine.ts';
import { openTensorflowEngine } from '../../../../src/engine/tensorflow/tensorflow-engine.ts';
import { openModelFolder } from '../../../../src/model/folder.ts';
import { openModel } from '../../../../src/native/model.ts';
import { openSession } from '../../../../src/native/session.ts';
import { decodeTogether } from '../../../../src/runtime/batch.ts';
import { checkSampling, sampleToken } from '../../../../src/runtime/sampling.ts';
import { expectAgreement, printToleranceUse } from '../../../reference/agreement.ts';
import { readGolden } from '../../../reference/golden.ts';
import { describeNative, listCpuVariants } from '../../../reference/native-library.ts';

const variants = await listCpuVariants();
const golden = readGolden('gqa-4l-d192');
const [, , short] = golden.cases;
if (short === undefined) throw new Error('no golden case');
const { tokens } = short.sample;
const vocab = golden.tensor(`${short.prefix}logits.full`).length / tokens.length;

afterAll(printToleranceUse);

function toGrid(flat: ArrayLike<number>, kvHeads: number): MaskGrid {
  return Array.from({ length: flat.length / kvHeads }, (_, layer) =>
    Array.from({ length: kvHeads }, (_, head) => flat[layer * kvHeads + head] as number),
  );
}

const grid = toGrid(golden.tensor('gates.binary'), 3);
const binary = makeHeadMask(grid, short.window);
const streaming = makeHeadMask(
  grid.map((row) => row.map(() => 0)),
  short.window,
);
const MASKS = { full: 'full', stream: streaming, binary } as const;

function goldenRow(name: string, row: number): ArrayLike<number> {
  return golden.tensor(`${short?.prefix}logits.${name}`).slice(row * vocab, (row + 1) * vocab);
}

async function useEngine(device: string, use: (engine: Engine) => Promise<void>, threads = 2): Promise<void> {
  const folder = openModelFolder(golden.path);
  const engine = await openNativeEngine(folder, { device, threads });
  folder.close();
  try {
    await use(engine);
  } finally {
    await engine.close();
  }
}

describeNative('a session that has no room', () => {
  it('says how many bytes it needs, how many there are, and which flags make it smaller', async () => {
    await useEngine('cpu', async (engine) => {
      const opening = engine.openSession('full', { maxTokens: 2 ** 30, kvDtype: 'f32' });
      await expect(opening).rejects.toThrow(
        /^Expected 3072\.0 GiB for the f32 cache of 1073741824 tokens, got none: [\d.]+ of the machine's [\d.]+ GiB are free, or a limit of this process is reached; use fewer tokens \(--max-new-tokens, --lengths, --contexts\), a mask that streams more heads, or a smaller --kv-dtype\.$/,
      );
      await expect(opening).rejects.toMatchObject({ status: 'MEMORY', exitCode: 1 });
    });
  });
});

describeNative.each(variants)('%s sessions', (device) => {
  it.each(Object.keys(MASKS) as (keyof typeof MASKS)[])('give golden logits in any chunking, %s', async (name) => {
    await useEngine(device, async (engine) => {
      for (const chunkTokens of [1, 7, 64, tokens.length]) {
        const session = await engine.openSession(MASKS[name], { maxTokens: tokens.length, chunkTokens });
        const logits = await session.prefill(tokens);
        const row = goldenRow(name, tokens.length - 1);
        expectAgreement(logits, row, { tolerance: 'native', label: `${device} session logits` });
        await session.close();
      }
      const session = await engine.openSession(MASKS[name], { maxTokens: tokens.length });
      await session.prefill(tokens.slice(0, 11));
      for (let index = 11; index < tokens.length; index++) {
        const logits = await session.decode(tokens[index] as number);
        expectAgreement(logits, goldenRow(name, index), { tolerance: 'native', label: `${device} decode logits` });
      }
      await session.close();
    });
  });
});

describeNative('native sessions', () => {
  let engine: Engine;
  beforeAll(async () => {
    const folder = openModelFolder(golden.path);
    engine = await openNativeEngine(folder);
    folder.close();
  });
  afterAll(() => engine.close());

  const open = (mask: HeadMask | 'full' = binary, options = {}): Promise<Session> =>
    engine.openSession(mask, { maxTokens: tokens.length + 8, ...options });

  it('see what evaluate sees', async () => {
    const { accuracy, logProb } = await engine.evaluate(short.sample, binary);
    const session = await open();
    const positions = short.sample.answers.flatMap(([start, end]) =>
      Array.from({ length: end - start }, (_, index) => start + index - 1),
    );
    let logits = await session.prefill(tokens.slice(0, 1));
    let sum = 0;
    let right = 0;
    for (let index = 0; index < tokens.length - 1; index++) {
      if (positions.includes(index)) {
        const target = tokens[index + 1] as number;
        const largest = Math.max(...logits);
        const total = logits.reduce((part, logit) => part + Math.exp(logit - largest), 0);
        sum += (logits[target] as number) - largest - Math.log(total);
        right += Number(logits.indexOf(largest) === target);
      }
      logits = await session.decode(tokens[index + 1] as number);
    }
    expect(right / positions.length).toBe(accuracy);
    expect(sum / positions.length).toBeCloseTo(logProb, 5);
    await session.close();
  });

  it('agree with the tensorflow engine', async () => {
    const folder = openModelFolder(golden.path);
    const other = await openTensorflowEngine(folder, { backend: 'cpu' });
    for (const prefill of ['exact', 'chunked'] as const) {
      const options = { maxTokens: tokens.length, chunkTokens: 23, prefill };
      const expected = await (await other.openSession(binary, options)).prefill(tokens);
      const logits = await (await engine.openSession(binary, options)).prefill(tokens);
      expectAgreement(logits, expected, { tolerance: 'golden', label: `${prefill} sessions, native and tensorflow` });
    }
    await other.close();
    folder.close();
  });

  it('give the same bits for 1 and 2 threads, in every cache dtype', async () => {
    for (const kvDtype of KV_DTYPES) {
      const results: Float32Array[] = [];
      for (const threads of [1, 2]) {
        await useEngine(
          'cpu',
          async (one) => {
            const session = await one.openSession(binary, { maxTokens: tokens.length + 1, kvDtype });
            await session.prefill(tokens);
            results.push(await session.decode(5));
          },
          threads,
        );
      }
      expect(results[0]).toEqual(results[1]);
    }
  });

  it('hold the bytes of the formula', async () => {
    for (const kvDtype of KV_DTYPES) {
      const session = await open(binary, { kvDtype });
      const options = { model: engine.model, tokens: tokens.length + 8, dtype: kvDtype };
      const { kvBytes, fullKvBytes, workspaceBytes, kvDtype: told } = session.memory();
      expect(told).toBe(kvDtype);
      expect(kvBytes).toBe(countKvBytes({ ...options, mask: binary }));
      expect(fullKvBytes).toBe(countKvBytes({ ...options, mask: 'full' }));
      expect(workspaceBytes).toBeGreaterThan(0);
      await session.close();
    }
  });

  it('say what they hold and what still fits', async () => {
    const session = await open(binary);
    const { kvBytes } = session.memory();
    expect(session.held?.()).toEqual({ kvBytes, sharedBytes: 0, roomTokens: tokens.length + 8 });
    await session.prefill(tokens);
    expect(session.held?.().roomTokens).toBe(8);
    await session.close();
  });

  it('rotate keys and values of quantised caches unless told not to, and of no others', async () => {
    const run = async (kvDtype: KvDtype, kvRotation?: boolean): Promise<Float32Array> => {
      const session = await open(binary, { kvDtype, ...(kvRotation !== undefined && { kvRotation }) });
      const logits = await session.prefill(tokens);
      await session.close();
      return logits;
    };
    const exact = await run('f32');
    for (const kvDtype of KV_DTYPES) {
      const byDefault = await run(kvDtype);
      const [on, off] = [await run(kvDtype, true), await run(kvDtype, false)];
      expect(byDefault).toEqual(on);
      if (isQuantizedKv(kvDtype)) expect(on).not.toEqual(off);
      else expect(on).toEqual(off);
      // Near what is exact either way: int4's steps are a fifteenth of a vector's range.
      for (const logits of [on, off]) expect(measureDisagreement(logits, exact)).toBeLessThan(0.3);
    }
  });

  it('decode together as each alone', async () => {
    const sessions = [await open(), await open('full'), await open(streaming, { kvDtype: 'int8' })];
    for (const [index, session] of sessions.entries()) await session.prefill(tokens.slice(0, 30 + 9 * index));
    const forks = await Promise.all(sessions.map((session) => session.fork()));
    const together = await decodeTogether(engine, sessions, [3, 4, 5]);
    for (const [index, fork] of forks.entries()) {
      const label = 'decoded together and alone';
      expectAgreement(together[index] as Float32Array, await fork.decode(3 + index), { tolerance: 'native', label });
    }
    await expect(decodeTogether(engine, [sessions[0], sessions[0]] as Session[], [1, 2])).rejects.toThrow('twice');
    for (const session of [...sessions, ...forks]) await session.close();
  });

  it('step as decode and sample do', async () => {
    const session = await open(binary);
    await session.prefill(tokens.slice(0, 30));
    const other = await session.fork();
    let token = 5;
    for (let seed = 0; seed < 8; seed++) {
      const sampling = checkSampling({ temperature: 3, topK: 20, topP: 0.9, seed });
      const expected = sampleToken(await other.decode(token), sampling, other.length);
      token = (await session.step?.(token, sampling)) as number;
      expect(token).toBe(expected);
    }
    await session.close();
    await other.close();
  });

  it('draw the tokens that sampling.ts draws, and generate as a loop of them', async () => {
    const folder = openModelFolder(golden.path);
    const model = await openModel(listModelConfigValues(folder.config), folder.weights?.files as string[], {});
    const session = await openSession(model, {
      ...{
        windows: null,
        sinkTokens: 0,
        maxTokens: 200,
        kvDtype: 'f32',
        kvRotation: true,
        prefill: 'exact',
        chunkTokens: 0,
      },
    });
    await session.prefill(Int32Array.from(tokens.slice(0, 40)));
    const logits = session.logits();
    for (const [temperature, topK, topP] of [
      [0, 0, 1],
      [1, 0, 1],
      [3, 0, 1],
      [4, 9, 1],
      [3, 0, 0.9],
      [2.5, 40, 0.7],
    ] as const) {
      for (let seed = 0; seed < 60; seed++) {
        const options = checkSampling({ temperature, topK, topP, seed });
        expect(session.sample(options)).toBe(sampleToken(logits, options, session.length));
      }
    }
    const options = checkSampling({ temperature: 3, topK: 50, seed: 9 });
    const twin = await session.fork();
    const generated = await session.generate(12, options);
    const drawn: number[] = [];
    for (let step = 0; step < 12; step++) {
      const token = twin.sample(options);
      drawn.push(token);
      await twin.decode(token);
    }
    expect([...generated]).toEqual(drawn);
    expect(session.length).toBe(52);
    const stopped = await twin.generate(5, { ...options, stopTokens: [...Array(vocab).keys()] });
    expect([stopped.length, twin.length]).toEqual([1, 52]);
    for (const handle of [session, twin, model]) handle.close();
    folder.close();
  });

  it('write logits to the array they are given, alone and in a batch', async () => {
    const [session, other] = [await open(), await open()];
    const into = await session.prefill(tokens.slice(0, 3));
    await other.prefill(tokens.slice(0, 3));
    const before = into.slice();
    expect(await session.decode(tokens[3] as number, into)).toBe(into);
    expect(into).toEqual(await other.decode(tokens[3] as number));
    expect(into).not.toEqual(before);
    const both = [into, new Float32Array(into.length)];
    const pair = await engine.decodeBatch?.([session, other], [1, 2], both);
    expect(pair?.every((logits, index) => logits === both[index])).toBe(true);
    expect(both).toEqual([session.logits(), other.logits()]);
    await expect(session.decode(1, new Float32Array(3))).rejects.toThrow('logits to write to, got one of 3');
    expect(session.length).toBe(5);
    for (const handle of [session, other]) await handle.close();
  });

  it('may be closed twice, and refuse use after it', async () => {
    const session = await open();
    await session.prefill(tokens.slice(0, 3));
    await session.close();
    await session.close();
    await expect(session.decode(1)).rejects.toThrow('closed');
    expect(() => session.logits()).toThrow('closed');
  });

  it('refuse more tokens than they hold, and a position without logits', async () => {
    const session = await engine.openSession('full', { maxTokens: 4 });
    expect(() => session.logits()).toThrow('Expected the session to have logits');
    await expect(session.prefill(tokens.slice(0, 5))).rejects.toThrow('at most 4 more tokens');
    await session.close();
  });

  it('outlive their engine', async () => {
    const folder = openModelFolder(golden.path);
    const brief = await openNativeEngine(folder);
    folder.close();
    const session = await brief.openSession('full', { maxTokens: tokens.length });
    await brief.close();
    const row = goldenRow('full', tokens.length - 1);
    expectAgreement(await session.prefill(tokens), row, { tolerance: 'native', label: 'session without its engine' });
    await session.close();
  });

  it('open and close a thousand times without a leak', async () => {
    const cycle = async (count: number): Promise<void> => {
      for (let index = 0; index < count; index++) {
        const session = await open(binary, { maxTokens: 2048 });
        await session.prefill(tokens.slice(0, 2));
        await session.close();
      }
    };
    await cycle(100);
    const before = process.memoryUsage().rss;
    await cycle(1000);
    // A leaked cache alone would be 4 MB per session.
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 2 ** 20);
  });

  it('stop within a moment of an abort, keep whole chunks and go on', async () => {
    // About a second of work for two cores.
    const named = findShape('llama-3.2-1b', { layers: 4 });
    const config = { ...named, shape: { ...named.shape, hidden: 1024, intermediate: 4096, heads: 16, vocab: 5000 } };
    const large = await openRandomNativeEngine(config, { seed: 1, weightDtype: 'bf16' });
    const text = Array.from({ length: 1024 }, (_, index) => (index * 97) % 5000);
    const mask = { sinkTokens: 4, windows: [60, null, 60, null].map((window) => Array(8).fill(window)) };
    const session = await large.openSession(mask, { maxTokens: 1024, chunkTokens: 128 });
    const calm = await large.openSession(mask, { maxTokens: 1024, chunkTokens: 128 });
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 20);
    await expect(session.prefill(text, { signal: controller.signal })).rejects.toMatchObject({ name: 'AbortedError' });
    // Within 100 ms is promised on a machine of its own; tests share theirs, and see that it ended before its end.
    expect(session.length % 128).toBe(0);
    const rest = session.length;
    expect(rest).toBeLessThan(1024);
    const logits = await session.prefill(text.slice(rest, 512 + rest));
    if (rest > 0) await calm.prefill(text.slice(0, rest));
    expect(await calm.prefill(text.slice(rest, 512 + rest))).toEqual(logits);
    for (const one of [session, calm]) await one.close();
    await large.close();
  });
});
