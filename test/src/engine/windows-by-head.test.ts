// Masks with a window per KV head, on both engines: sessions and evaluation against plain attention that applies the mask key by key, and their laws.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toMaskGrid } from '../../../src/core/head-mask.ts';
import { countKvBytes } from '../../../src/core/kv-cost.ts';
import { KV_DTYPES, type KvDtype } from '../../../src/core/session.ts';
import type { HeadMask } from '../../../src/core/shapes.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { openNativeEngine } from '../../../src/engine/native/native-engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { type ModelFolder, openModelFolder } from '../../../src/model/folder.ts';
import { expectAgreement, printToleranceUse } from '../../reference/agreement.ts';
import { describeNative, listCpuVariants } from '../../reference/native-library.ts';
import { makeTokens, writeRandomModel } from '../../reference/random-model.ts';
import { type ReferenceModel, referenceForward, referenceLogits, referenceLoss } from '../../reference/transformer.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-windows-'));
const OVERRIDES = { num_hidden_layers: 2, num_attention_heads: 8, num_key_value_heads: 4 };
const model: ReferenceModel = writeRandomModel(join(scratch, 'model'), { seed: 3, overrides: OVERRIDES });
const tokens = makeTokens(model, 71, 5);
const { vocab } = model.config.shape;
/** Every kind of head in one layer: full, windows of one token, inside the text, and past its end. */
const mask: HeadMask = {
  sinkTokens: 2,
  windows: [
    [null, 5, 17, 1],
    [40, null, 300, 9],
  ],
};
const options = { gates: toMaskGrid(mask), window: { sinkTokens: mask.sinkTokens, recentTokens: 1 } };
const { hidden } = referenceForward(model, tokens, { ...options, windows: mask.windows });
/** `[T][vocab]` */
const expected = referenceLogits(model, hidden);
const last = expected.at(-1)!;

const gates = [
  [0.3, 0.9, 0, 1],
  [0.5, 0.2, 0.7, 0.6],
];
const answers: [number, number][] = [[68, 71]];
const positions = [67, 68, 69];
const lossOf = (at: number[][]): number =>
  referenceLoss(model, tokens, { positions, gates: at, window: options.window, windows: mask.windows });
const loss = lossOf(gates);
/** By central differences; a gate at an end of 0 … 1 is stepped over it, which the fp64 loops take. */
const gradient = gates.flatMap((row, layer) =>
  row.map((_, kvHead) => {
    const shift = (by: number): number[][] =>
      gates.map((all, l) => all.map((gate, k) => (l === layer && k === kvHead ? gate + by : gate)));
    return (lossOf(shift(1e-3)) - lossOf(shift(-1e-3))) / 2e-3;
  }),
);

function logProb(position: number): number {
  const row = expected[position]!;
  const top = Math.max(...row);
  return row[tokens[position + 1]!]! - top - Math.log(row.reduce((sum, x) => sum + Math.exp(x - top), 0));
}

afterAll(() => {
  printToleranceUse();
  rmSync(scratch, { recursive: true });
});

/** What holds on every engine. */
function testEngine(open: (folder: ModelFolder) => Promise<Engine>, tolerance: 'native' | 'reference'): void {
  let engine: Engine;
  let folder: ModelFolder;
  beforeAll(async () => {
    folder = openModelFolder(join(scratch, 'model'));
    engine = await open(folder);
  });
  afterAll(async () => {
    await engine.close();
    folder.close();
  });

  it('a session in any chunking', async () => {
    for (const chunkTokens of [1, 7, 32, tokens.length]) {
      const session = await engine.openSession(mask, { maxTokens: tokens.length, chunkTokens });
      expectAgreement(await session.prefill(tokens), last, { tolerance, label: `chunks of ${chunkTokens}` });
      await session.close();
    }
  });

  it('decode at every position, and a fork', async () => {
    const session = await engine.openSession(mask, { maxTokens: tokens.length });
    await session.prefill(tokens.slice(0, 4));
    for (let index = 4; index < tokens.length - 1; index++) {
      expectAgreement(await session.decode(tokens[index]!), expected[index]!, { tolerance, label: 'decode' });
    }
    const fork = await session.fork();
    const token = tokens.at(-1)!;
    expectAgreement(await fork.decode(token), last, { tolerance, label: 'a fork' });
    await fork.close();
    expectAgreement(await session.decode(token), last, { tolerance, label: 'its parent' });
    await session.close();
  });

  it('bytes of the formula', async () => {
    const session = await engine.openSession(mask, { maxTokens: 50 });
    const { kvBytes, fullKvBytes } = session.memory();
    expect(kvBytes).toBe(countKvBytes({ model: engine.model, mask, tokens: 50, dtype: 'f32' }));
    expect(fullKvBytes).toBe(countKvBytes({ model: engine.model, mask: 'full', tokens: 50, dtype: 'f32' }));
    await session.close();
  });

  it('evaluate and scoreTokens', async () => {
    const answers: [number, number][] = [[30, 34]];
    const { logProb: mean } = await engine.evaluate({ tokens, answers }, mask);
    const sum = [29, 30, 31, 32].reduce((total, position) => total + logProb(position), 0);
    expectAgreement([mean], [sum / 4], { tolerance, label: 'evaluate' });
    const scores = await engine.scoreTokens?.(tokens, mask);
    if (scores === undefined) return;
    const all = Array.from({ length: tokens.length - 1 }, (_, position) => logProb(position));
    expectAgreement(scores, all, { tolerance, label: 'scoreTokens' });
  });

  it('loss and gate gradient, by finite differences', async () => {
    const result = await engine.distill({ tokens, answers }, gates, mask);
    expectAgreement([result.loss], [loss], { tolerance, label: 'loss' });
    expectAgreement(result.gradient.flat(), gradient, { tolerance: 'finiteDifference', label: 'gradient' });
    // The streaming branch of a head whose window is the whole context is the full one.
    expect(result.gradient[0]![0]).toBe(0);
    expect(result.gradient[1]![1]).toBe(0);
  });

  it('probes as differences of hidden states', async () => {
    const sample = { tokens, answers };
    const probeGates = gates.map((row) => row.map((gate) => 1 - gate));
    const base = await engine.computeHidden!(sample, gates, mask);
    const probed = await engine.probe!(sample, { gates, probeGates, window: mask, begin: 0, end: 8 });
    for (let head = 0; head < 8; head++) {
      const changed = gates.map((row, layer) =>
        row.map((gate, kvHead) => (4 * layer + kvHead === head ? 1 - gate : gate)),
      );
      const other = await engine.computeHidden!(sample, changed, mask);
      const differences = probed.subarray(head * base.length, (head + 1) * base.length);
      const worst = Math.max(...base.map((value, index) => Math.abs(value - other[index]! - differences[index]!)));
      expect(worst).toBeLessThanOrEqual(1e-5 * Math.max(...base.map(Math.abs)));
    }
    const { hidden: states } = referenceForward(model, tokens, {
      gates,
      window: options.window,
      windows: mask.windows,
    });
    const rows = positions.flatMap((position) => [...states[position]!]);
    expectAgreement(base, rows, { tolerance, label: 'hidden states' });
    const bad = { sinkTokens: 2, windows: [[1, 2, 3, 0.5], ...mask.windows.slice(1)] };
    await expect(engine.distill(sample, gates, bad)).rejects.toThrow('Expected windows of at least 1 token');
  });

  it('equal windows are the mask with one window, bit for bit', async () => {
    const grid = [
      [1, 0, 0, 1],
      [0, 0, 1, 0],
    ];
    const one: HeadMask = { sinkTokens: 3, windows: grid.map((row) => row.map((x) => (x === 1 ? null : 6))) };
    const wide: HeadMask = { sinkTokens: 3, windows: grid.map((row) => row.map(() => tokens.length)) };
    const run = async (of: HeadMask | 'full'): Promise<Float32Array> => {
      const session = await engine.openSession(of, { maxTokens: tokens.length, chunkTokens: 16 });
      const logits = await session.prefill(tokens);
      await session.close();
      return logits;
    };
    expect(await run(wide)).toEqual(await run('full'));
    expect(await run(one)).not.toEqual(await run('full'));
  });
}

describeNative.each(await listCpuVariants())('%s', (device) => {
  testEngine((folder) => openNativeEngine(folder, { device, threads: 2 }), 'native');
});

describe('tensorflow', () => {
  testEngine((folder) => openTensorflowEngine(folder, { backend: 'cpu' }), 'reference');
});

const LIMITS: Record<KvDtype, number> = { f32: 1e-5, bf16: 0.02, int8: 0.03, fp8: 0.2, k8v4: 0.4, int4: 0.5 };

describeNative('native caches of every kind', () => {
  it('agree with f32 within their rounding, alone and decoded together', async () => {
    const folder = openModelFolder(join(scratch, 'model'));
    const engine = await openNativeEngine(folder);
    for (const kvDtype of KV_DTYPES) {
      const open = async (of: HeadMask | 'full') => {
        const session = await engine.openSession(of, { maxTokens: tokens.length, kvDtype, chunkTokens: 13 });
        await session.prefill(tokens.slice(0, -1));
        return session;
      };
      const sessions = [await open(mask), await open('full')];
      const forks = await Promise.all(sessions.map((session) => session.fork()));
      const [together] = await engine.decodeBatch!(sessions, [tokens.at(-1)!, tokens.at(-1)!]);
      const alone = await forks[0]!.decode(tokens.at(-1)!);
      expectAgreement(together!, alone, { tolerance: 'native', label: `${kvDtype} together and alone` });
      // Rounding of keys and values to 8 or 4 bits, through two layers.
      const worst = Math.max(...alone.map((x, i) => Math.abs(x - last[i]!))) / Math.max(...last.map(Math.abs));
      expect(worst).toBeLessThan(LIMITS[kvDtype]);
      expect(sessions[0]!.memory().kvBytes).toBe(
        countKvBytes({ model: engine.model, mask, tokens: tokens.length, dtype: kvDtype }),
      );
      expect(vocab).toBe(alone.length);
      for (const session of [...sessions, ...forks]) await session.close();
    }
    await engine.close();
    folder.close();
  });
});
