// The native model through its binding: laws of gates and windows, threads, probing, malformed files, lifetime.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { encodeSafetensors } from '../../../scripts/safetensors-writer.ts';
import { listModelConfigValues } from '../../../src/engine/native/model-config.ts';
import { AbortedError, EngineError, NativeError } from '../../../src/errors/errors.ts';
import { parseModelConfig } from '../../../src/model/config.ts';
import { listDevices } from '../../../src/native/devices.ts';
import { type NativeModel, openModel, openRandomModel, type Passage } from '../../../src/native/model.ts';
import { expectAgreement, printToleranceUse } from '../../reference/agreement.ts';
import { describeNative, listCpuVariants } from '../../reference/native-library.ts';
import { makeConfigJson, makeRawFile, makeScratchFolder, makeTensors } from '../model/model-fixture.ts';

const folder = makeScratchFolder();
const json = makeConfigJson({ num_hidden_layers: 3, hidden_size: 20, intermediate_size: 34, head_dim: 6 });
const config = listModelConfigValues(parseModelConfig(json, 'config.json'));
const NUM_GATES = 3 * 2;
const variants = await listCpuVariants();
afterAll(printToleranceUse);

function writeShard(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const shard = writeShard('model.safetensors', encodeSafetensors(makeTensors(json)));

function makePassage(count: number, changes: Partial<Passage> = {}): Passage {
  return {
    tokens: Int32Array.from({ length: count }, (_, index) => (index * 7 + 3) % 11),
    positions: Int32Array.from({ length: count }, (_, index) => index),
    gates: Float32Array.from({ length: NUM_GATES }, (_, index) => (index * 0.37 + 0.1) % 1),
    windows: BigInt64Array.from({ length: NUM_GATES }, (_, index) => BigInt(5 + 4 * (index % 3))),
    sinkTokens: 2,
    ...changes,
  };
}

describeNative('whole-sample operations', () => {
  let model: NativeModel;
  beforeAll(async () => {
    model = await openModel(config, [shard]);
  });
  afterAll(() => model.close());

  it('gates 1 equal full attention, and so does a window that covers the sample', async () => {
    const full = await model.hidden(makePassage(40, { gates: null }));
    const ones = new Float32Array(NUM_GATES).fill(1);
    expect(await model.hidden(makePassage(40, { gates: ones }))).toEqual(full);
    const zeros = new Float32Array(NUM_GATES);
    for (const window of [32n, 0n]) {
      const windows = new BigInt64Array(NUM_GATES).fill(window);
      expect(await model.hidden(makePassage(40, { gates: zeros, windows, sinkTokens: 8 }))).toEqual(full);
    }
  });

  it('positions select rows of the same result', async () => {
    const all = await model.hidden(makePassage(50));
    const some = await model.hidden(makePassage(50, { positions: Int32Array.of(0, 13, 31) }));
    for (const [row, position] of [0, 13, 31].entries()) {
      const expected = all.slice(position * 20, (position + 1) * 20);
      expectAgreement(some.slice(row * 20, (row + 1) * 20), expected, { tolerance: 'native', label: 'rows' });
    }
  });

  it('counts the operations of a step by what each head sees', () => {
    const [tokens, positions, sinkTokens] = [100, 10, 2];
    const narrow = new BigInt64Array(NUM_GATES).fill(8n);
    const estimate = (windows: BigInt64Array): number =>
      model.estimate({ tokens, positions, windows, sinkTokens }).operations;
    const change = (gate: number, window: bigint): number => {
      const windows = narrow.slice();
      windows[gate] = window;
      return estimate(windows) - estimate(narrow);
    };
    // query-key pairs of a head over all positions, and scores and values of three forwards and a backward of 2.5
    const pairs = (visible: number): number => (visible * visible) / 2 + (tokens - visible) * visible;
    const perPair = (5.5 * 4 * model.config.heads * model.config.head_dim) / model.config.kv_heads;
    expect(change(1, 30n)).toBeCloseTo(perPair * (pairs(32) - pairs(10)), 3);
    expect(change(0, 0n)).toBeCloseTo(perPair * (pairs(tokens) - pairs(10)), 3);
    // the last layer at the supervised positions only
    expect(change(NUM_GATES - 1, 30n)).toBeCloseTo(perPair * positions * (32 - 10), 3);
    expect(() => estimate(new BigInt64Array(NUM_GATES).fill(-1n))).toThrow('Expected `windows[0]`');
  });

  it('a token after the last position changes nothing', async () => {
    const positions = Int32Array.of(5, 20);
    const short = await model.distill(makePassage(21, { positions }));
    const long = await model.distill(makePassage(40, { positions }));
    expect(long).toEqual(short);
  });

  it.each(variants)('%s: the same bits for 1, 2 and 3 threads', async (device) => {
    const results = [];
    for (const threads of [1, 2, 3]) {
      const other = await openModel(config, [shard], { device, threads });
      const passage = makePassage(333, { positions: Int32Array.of(100, 200, 300) });
      results.push({ step: await other.distill(passage), hidden: await other.hidden(passage) });
      other.close();
    }
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
  });

  it('evaluate agrees with the logits', async () => {
    const passage = makePassage(30);
    const targets = Int32Array.from(passage.tokens, (_, index) => (index * 5) % 11);
    const { logProbs, predictions } = await model.evaluate(passage, targets);
    const logits = await model.logits(passage);
    for (let row = 0; row < 30; row++) {
      const values = [...logits.slice(row * 11, (row + 1) * 11)];
      const best = Math.max(...values);
      const sum = values.reduce((total, value) => total + Math.exp(value - best), 0);
      expect(predictions[row]).toBe(values.indexOf(best));
      expect(logProbs[row]).toBeCloseTo(values[targets[row]!]! - best - Math.log(sum), 5);
    }
  });

  it('probe gives the differences of two forwards', async () => {
    const gates = Float32Array.of(1, 0.5, 1, 0.25, 1, 1);
    const probeGates = Float32Array.of(0, 0, 0.5, 1, 0, 0.75);
    const positions = Int32Array.of(9, 22, 29);
    const passage = makePassage(30, { gates, positions });
    const base = await model.hidden(passage);
    const differences = await model.probe(passage, { probeGates, begin: 0, end: NUM_GATES });
    for (let head = 0; head < NUM_GATES; head++) {
      const changed = gates.slice();
      changed[head] = probeGates[head]!;
      const other = await model.hidden({ ...passage, gates: changed });
      const expected = base.map((value, index) => value - other[index]!);
      const actual = differences.slice(head * expected.length, (head + 1) * expected.length);
      for (let index = 0; index < expected.length; index++) expect(actual[index]).toBeCloseTo(expected[index]!, 5);
    }
    const two = probeGates.map((gate, head) => (head === 1 || head === 4 ? gate : gates[head]!));
    const some = await model.probe(passage, { probeGates: two, begin: 0, end: NUM_GATES });
    some.forEach((value, index) => {
      const head = Math.floor(index / base.length);
      expect(value).toBe(head === 1 || head === 4 ? differences[index] : 0);
    });
    const part = await model.probe(passage, { probeGates, begin: 3, end: 5 });
    for (let index = 0; index < part.length; index++) expect(part[index]).toBeCloseTo(differences[3 * 60 + index]!, 5);
  });

  it('attention has masses that add up over ranges, for any number of threads, and refuses ranges outside the text', async () => {
    const passage = makePassage(30, { positions: Int32Array.of(0, 9, 29) });
    const whole = await model.attention(passage, Int32Array.of(0, 30, 0, 30, 0, 30));
    for (const mass of whole.masses) expect(mass).toBeCloseTo(1, 6);
    const first = await model.attention(passage, Int32Array.of(0, 1, 0, 4, 0, 11));
    const rest = await model.attention(passage, Int32Array.of(1, 1, 4, 30, 11, 29));
    const last = await model.attention(passage, Int32Array.of(1, 30, 30, 30, 29, 30));
    first.masses.forEach((mass, index) => {
      expect(mass + rest.masses[index]! + last.masses[index]!).toBeCloseTo(1, 6);
    });
    expect(first.topKeys).toEqual(whole.topKeys);
    const means = await model.meanHeads(passage.tokens);
    const other = await openModel(config, [shard], { threads: 3 });
    expect(await other.attention(passage, Int32Array.of(0, 1, 0, 4, 0, 11))).toEqual(first);
    expect(await other.meanHeads(passage.tokens)).toEqual(means);
    other.close();
    for (const ranges of [
      [0, 1, 0, 31, 0, 1],
      [0, 1, -1, 4, 0, 1],
      [0, 1, 5, 4, 0, 1],
    ]) {
      await expect(model.attention(passage, Int32Array.from(ranges))).rejects.toThrow(
        'Expected `key_ranges[1]` to lie within 0 to 30, begin before end',
      );
    }
  });

  it('KL features have the divergence of small changes as squared length, and their transpose keeps inner products', async () => {
    const positions = Int32Array.of(9, 22, 29);
    const ones = new Float32Array(NUM_GATES).fill(1);
    const passage = makePassage(30, { gates: ones, positions });
    const probeGates = ones.map(() => 1 - 1 / 32);
    const reference = await model.hidden(passage);
    const changes = await model.probe(passage, { probeGates, begin: 0, end: NUM_GATES });
    const features = await model.klFeatures(reference, changes);
    expect(features).toHaveLength(NUM_GATES * 3 * 12);
    for (let head = 0; head < NUM_GATES; head++) {
      const gates = ones.slice();
      gates[head] = probeGates[head]!;
      const { loss } = await model.distill({ ...passage, gates }, { distance: 'kl' });
      const own = features.slice(head * 36, (head + 1) * 36);
      expect(own.reduce((sum, value) => sum + value * value, 0) / 3 / loss).toBeCloseTo(1, 1);
    }
    const vectors = Float32Array.from({ length: 36 }, (_, index) => ((index * 7919) % 13) / 6 - 1);
    const hidden = await model.klVectors(reference, vectors);
    for (let head = 0; head < NUM_GATES; head++) {
      const direct = hidden.reduce((sum, value, index) => sum + value * changes[head * 60 + index]!, 0);
      const through = vectors.reduce((sum, value, index) => sum + value * features[head * 36 + index]!, 0);
      expect(direct).toBeCloseTo(through, 6);
    }
    const far = await model.hidden({ ...passage, gates: ones.map(() => 0) });
    const way = reference.map((value, index) => value - far[index]!);
    const anchored = await model.klFeatures(reference, way, { anchor: far });
    const { loss } = await model.distill({ ...passage, gates: ones.map(() => 0) }, { distance: 'kl' });
    expect(anchored.reduce((sum, value) => sum + value * value, 0) / 3 / loss).toBeCloseTo(1, 5);
    await expect(model.klFeatures(reference, changes.slice(0, 0))).rejects.toThrow('num_changes');
  });

  it('sketch gives the inner products with small closings of each head to each window, for any number of threads', async () => {
    const positions = Int32Array.of(9, 22, 29);
    const windows = [3, 5, 12, 40];
    const vectors = Float32Array.from({ length: 2 * 3 * 20 }, (_, index) => ((index * 7919) % 13) / 6 - 1);
    const ones = new Float32Array(NUM_GATES).fill(1);
    const passage = makePassage(30, { gates: ones, positions });
    const masked = Float32Array.of(1, 0, 1, 1, 0, 1);
    const around = await model.sketch({ ...passage, gates: masked }, { vectors, windows, sinkTokens: 2 });
    around.forEach((value, index) => {
      expect(value === 0).toBe(masked[Math.floor(index / windows.length) % NUM_GATES] === 0 || index % 4 === 3);
    });
    const half = Float32Array.of(1, 0.5, 1, 1, 1, 1);
    await expect(model.sketch({ ...passage, gates: half }, { vectors, windows, sinkTokens: 2 })).rejects.toThrow(
      'Expected `base_gates[1]` to be 0 or 1, got `0.5`',
    );
    const products = await model.sketch(passage, { vectors, windows, sinkTokens: 2 });
    expect(products).toHaveLength(2 * NUM_GATES * windows.length);
    const step = 1 / 64;
    const largest = Math.max(...products.map(Math.abs));
    for (const [rung, recentTokens] of windows.entries()) {
      const request = { probeGates: ones.map((gate) => gate - step), begin: 0, end: NUM_GATES };
      const differences = await model.probe(
        { ...passage, windows: new BigInt64Array(NUM_GATES).fill(BigInt(recentTokens)) },
        request,
      );
      for (let vector = 0; vector < 2; vector++) {
        for (let head = 0; head < NUM_GATES; head++) {
          let product = 0;
          for (let index = 0; index < 60; index++)
            product += differences[head * 60 + index]! * vectors[vector * 60 + index]!;
          const found = products[(vector * NUM_GATES + head) * windows.length + rung]!;
          expect(Math.abs(found - product / step)).toBeLessThan(0.03 * largest);
          // a window that covers the sample changes nothing
          if (recentTokens >= 30) expect(found).toBe(0);
        }
      }
    }
    const other = await openModel(config, [shard], { threads: 3 });
    expect(await other.sketch(passage, { vectors, windows, sinkTokens: 2 })).toEqual(products);
    other.close();
  });

  it('writes nothing outside its outputs', async () => {
    const bytes = new ArrayBuffer(4 * (40 * 20 + 64));
    const guarded = new Float32Array(bytes).fill(7);
    const inner = new Float32Array(bytes, 4 * 32, 40 * 20);
    const { runCall, TASK_ARGUMENT } = await import('../../../src/native/call.ts');
    const { tokens, positions, gates, windows } = makePassage(40);
    const values = [model.handle.id, tokens, 40, positions, 40, gates, windows, 2, TASK_ARGUMENT, inner];
    await runCall('duo_hidden', values);
    expect([...guarded.subarray(0, 32), ...guarded.subarray(-32)]).toEqual(new Array(64).fill(7));
    expect(inner).toEqual(await model.hidden(makePassage(40)));
  });
});

describeNative('errors and lifetime', () => {
  it('a shard that is malformed, incomplete or of another shape is refused by name', async () => {
    const tensors = makeTensors(json);
    const cases: [string, Uint8Array, string, RegExp][] = [
      ['short', new Uint8Array(3), 'FORMAT', /short.*at least 8 bytes, got 3/],
      ['header', makeRawFile('{"a": 1}'), 'FORMAT', /Expected `\{` in the safetensors header of `.*header` at byte 14/],
      ['missing', encodeSafetensors(tensors.slice(1)), 'FORMAT', /Expected tensor `model\.\S+` in the 1 weight file/],
      [
        'shape',
        encodeSafetensors(tensors.map((tensor, index) => (index === 0 ? { ...tensor, shape: [20, 11] } : tensor))),
        'SHAPE',
        /Expected tensor `model\.embed_tokens\.weight` of `.*shape` to have shape \[11, 20\], got \[20, 11\]/,
      ],
    ];
    for (const [name, bytes, status, message] of cases) {
      const opening = openModel(config, [writeShard(name, bytes)]);
      await expect(opening).rejects.toThrow(message);
      await expect(opening).rejects.toMatchObject({ name: 'NativeError', status });
    }
    await expect(openModel(config, [shard, shard])).rejects.toThrow(/once in the weight files, but .* has it again/);
    await expect(openModel(config, [join(folder, 'absent')])).rejects.toMatchObject({ status: 'FILE' });
  });

  it('an unknown device and an unusable one are refused', async () => {
    await expect(openModel(config, [shard], { device: 'gpu' })).rejects.toThrow(
      'Expected `device` to be "cpu" or "cuda:<number>", got `gpu`',
    );
    const cuda = listDevices().find(({ name }) => name === 'cuda:0')!;
    if (!cuda.available) await expect(openModel(config, [shard], { device: 'cuda:0' })).rejects.toThrow(NativeError);
  });

  it('use after close is an error, closing twice is not', async () => {
    const model = await openModel(config, [shard]);
    model.close();
    model.close();
    await expect(model.hidden(makePassage(5))).rejects.toThrow(EngineError);
    await expect(model.hidden(makePassage(5))).rejects.toThrow('Expected an open model, found a closed one');
  });

  it('an abort before and during a call rejects with AbortedError, and the model serves on', async () => {
    const model = await openRandomModel({ ...config, hidden: 256, intermediate: 1024, max_positions: 8192 }, 3);
    const gates = new Float32Array(NUM_GATES).fill(0.5);
    const passage = makePassage(3000, { gates, positions: Int32Array.of(2999) });
    await expect(model.distill(passage, { signal: AbortSignal.abort() })).rejects.toThrow(AbortedError);
    const controller = new AbortController();
    const running = model.distill(passage, { signal: controller.signal, onProgress: () => controller.abort() });
    await expect(running).rejects.toThrow(AbortedError);
    expect((await model.distill(makePassage(20))).loss).toBeGreaterThan(0);
    model.close();
  });

  it('1,000 models come and go', async () => {
    const before = process.memoryUsage().rss;
    for (let round = 0; round < 1000; round++) (await openModel(config, [shard], { threads: 1 })).close();
    expect(process.memoryUsage().rss - before).toBeLessThan(2 ** 26);
  });

  it('random weights are those of their seed', async () => {
    const hidden = [];
    for (const seed of [1, 1, 2]) {
      const model = await openRandomModel(config, seed, { weightDtype: 'f32' });
      hidden.push(await model.hidden(makePassage(12)));
      model.close();
    }
    expect(hidden[1]).toEqual(hidden[0]);
    expect(hidden[2]).not.toEqual(hidden[0]);
  });
});
