// The noise floor: what rounding alone does on both engines, heads that do nothing lie below it and heads that recall above.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openHaystack } from '../../../data-gen/haystack.ts';
import { generateSample } from '../../../data-gen/passkey.ts';
import { loadPreset } from '../../../src/config/presets.ts';
import type { Sample } from '../../../src/core/shapes.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { openNativeEngine } from '../../../src/engine/native/native-engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import type { Noise } from '../../../src/formats/noise.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { openTokenizer } from '../../../src/text/tokenizer.ts';
import { addValues, startSums } from '../../../train/quadratic/balanced-sums.ts';
import { measureSample, requireProbing } from '../../../train/quadratic/measure-sample.ts';
import { describeNoise, measureRounding } from '../../../train/quadratic/noise.ts';
import { describeNative } from '../../reference/native-library.ts';

const DEMO = join(new URL('../../../', import.meta.url).pathname, 'models/demo');
const folder = openModelFolder(DEMO);
const { layers, kvHeads } = folder.config.shape;
const supervise = 'predict' as const;
let sample: Sample;
beforeAll(async () => {
  const tokenizer = openTokenizer(DEMO);
  const haystack = await openHaystack({ path: null, tokenizer });
  const settings = { ...loadPreset('demo').config, minTokens: 128, maxTokens: 128, passkeys: 2 };
  sample = generateSample({ tokenizer, haystack, settings, seed: 1, split: 'train', index: 0 });
});
afterAll(() => folder.close());

/** Distances of samples of one kind. */
function told(...distances: number[]) {
  const sums = distances.reduce((before, value) => addValues(before, Float64Array.of(value), false), startSums(1));
  return { distances: sums, balance: 1 };
}

/** The floor is far below what heads do that recall, and above zero; twice the same. */
async function checkFloor(engine: Engine): Promise<number> {
  const probing = requireProbing(engine);
  const distance = await measureRounding(sample, { engine: probing });
  expect(distance).toBeGreaterThan(1e-14);
  expect(distance).toBeLessThan(1e-10);
  expect(await measureRounding(sample, { engine: probing })).toBe(distance);
  return distance as number;
}

describe('measureRounding', () => {
  it('sees the rounding of the tensorflow engine', async () => {
    const engine = await openTensorflowEngine(folder, { backend: 'wasm' });
    try {
      await checkFloor(engine);
    } finally {
      await engine.close();
    }
  });
});

describe('measureRounding of a short sample', () => {
  it('is null where the layers see past its start', async () => {
    const engine = await openTensorflowEngine(folder, { backend: 'wasm' });
    try {
      const short = { tokens: sample.tokens.slice(0, 5), answers: sample.answers };
      expect(await measureRounding(short, { engine: requireProbing(engine) })).toBeNull();
    } finally {
      await engine.close();
    }
  });
});

describeNative('the native engine', () => {
  it('rounds too, and the demo heads that recall stand above its floor, those of the first layer do not', async () => {
    const engine = await openNativeEngine(folder, { device: 'cpu' });
    try {
      const distance = await checkFloor(engine);
      const window = { sinkTokens: 8, recentTokens: 32 };
      const gates = Array.from({ length: layers }, () => new Array<number>(kvHeads).fill(1));
      const gram = await measureSample(sample, gates, {
        engine: requireProbing(engine),
        window,
        supervise,
        step: 'finite',
        scratchFolder: '/nonexistent',
      });
      const size = layers * kvHeads + 1;
      const effects = Float64Array.from({ length: size - 1 }, (_, head) => gram[head * size + head] as number);
      const { below } = describeNoise({ ...told(distance as number), effects, step: 'finite', kvHeads }) as Noise;
      expect(below.length).toBeGreaterThan(3);
      expect(below.every(([layer]) => layer === 0)).toBe(true);
    } finally {
      await engine.close();
    }
  });
});

describe('describeNoise', () => {
  const effects = Float64Array.from([0, 0.9e-6, 5e-6, 1]);
  it('takes the mean distance as floor and lists the heads up to it', () => {
    const noise = describeNoise({ ...told(0.5e-6, 1.5e-6), effects, step: 'finite', kvHeads: 2 }) as Noise;
    expect(noise.floor).toBeCloseTo(1e-6, 12);
    expect(noise.below).toEqual([
      [0, 0],
      [0, 1],
    ]);
  });

  it('scales the floor of a small step up to a whole one', () => {
    const noise = describeNoise({ ...told(1e-9), effects, step: 'tangent', kvHeads: 2 }) as Noise;
    expect(noise.floor).toBeCloseTo(1024e-9, 12);
    expect(noise.below).toHaveLength(2);
  });

  it('weighs long-range samples as the effects do', () => {
    const long = { samples: 2, sums: Float64Array.of(6) };
    const distances = { samples: 1, sums: Float64Array.of(1e-6), long };
    const noise = describeNoise({ distances, balance: 1e-6, effects, step: 'finite', kvHeads: 2 }) as Noise;
    expect(noise.floor).toBeCloseTo(2e-6, 12);
  });

  it('is null where no sample told a distance', () => {
    expect(describeNoise({ ...told(), effects, step: 'finite', kvHeads: 2 })).toBeNull();
  });
});
