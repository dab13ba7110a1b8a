import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { makeRandom } from '../../../src/core/random.ts';
import { checkSampling, drawUniform, sampleToken } from '../../../src/runtime/sampling.ts';

const LOGITS = new Float32Array([1, 3, 3, -2, 0.5]);

function countDraws(options: Parameters<typeof checkSampling>[0], draws = 4000): number[] {
  const counts = new Array<number>(LOGITS.length).fill(0);
  for (let seed = 0; seed < draws; seed++) {
    const token = sampleToken(LOGITS, checkSampling({ ...options, seed }), 9);
    counts[token] = (counts[token] as number) + 1;
  }
  return counts;
}

describe('sampleToken', () => {
  it('draws what kernels/cpu and kernels/cuda draw', () => {
    const lines = readFileSync('kernels/tests/sampling_vectors.txt', 'utf8').split('\n');
    const logits = Float32Array.from(
      (lines.find((line) => line.startsWith('logits ')) as string).split(' ').slice(1),
      Number,
    );
    const draws = lines.filter((line) => /^\d/.test(line)).map((line) => line.split(' ').map(Number));
    expect(draws.length).toBeGreaterThan(150);
    for (const [temperature = 0, topK = 0, topP = 1, seed = 0, length = 0, token = 0] of draws)
      expect(sampleToken(logits, checkSampling({ temperature, topK, topP, seed }), length)).toBe(token);
  });

  it('is greedy at temperature 0 and takes the lowest id of a tie', () => {
    expect(sampleToken(LOGITS, checkSampling({}), 4)).toBe(1);
    expect(sampleToken(LOGITS, checkSampling({ temperature: 1, topK: 1 }), 4)).toBe(1);
    expect(sampleToken(LOGITS, checkSampling({ temperature: 1, topP: 1e-6 }), 4)).toBe(1);
  });

  it('draws by the softmax', () => {
    const total = LOGITS.reduce((sum, logit) => sum + Math.exp(logit), 0);
    countDraws({ temperature: 1 }).forEach((count, id) => {
      const share = Math.exp(LOGITS[id] as number) / total;
      // Five standard deviations of a count out of 4000.
      expect(Math.abs(count - 4000 * share)).toBeLessThanOrEqual(5 * Math.sqrt(4000 * share * (1 - share)) + 1);
    });
  });

  it('flattens with the temperature', () => {
    const cold = countDraws({ temperature: 0.3 });
    const hot = countDraws({ temperature: 5 });
    expect(hot[3] as number).toBeGreaterThan(cold[3] as number);
  });

  it('keeps the k highest, then the shortest prefix that reaches p', () => {
    const byK = countDraws({ temperature: 1, topK: 3 });
    expect(byK[0]).toBeGreaterThan(0);
    expect([byK[3], byK[4]]).toEqual([0, 0]);
    // The two logits of 3 hold 45 % each.
    const byP = countDraws({ temperature: 1, topP: 0.6 });
    expect([byP[0], byP[3], byP[4]]).toEqual([0, 0, 0]);
    expect(byP[2]).toBeGreaterThan(0);
  });

  it('gives the same cut whether or not rare tokens must be sorted too', () => {
    const random = makeRandom(3, 'sampling');
    const logits = Float32Array.from({ length: 500 }, () => 40 * random.uniform() - 20);
    const sorted = [...logits.keys()].sort((a, b) => (logits[b] as number) - (logits[a] as number) || a - b);
    for (const topP of [0.3, 0.9, 0.999999, 0.9999999]) {
      const options = checkSampling({ temperature: 1, topP, seed: 5 });
      const weights = sorted.map((id) => Math.exp((logits[id] as number) - (logits[sorted[0] as number] as number)));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      let kept = 0;
      for (let sum = 0; kept < weights.length && sum < Math.fround(topP) * total; kept++)
        sum += weights[kept] as number;
      const target = drawUniform(5, 7) * weights.slice(0, kept).reduce((sum, weight) => sum + weight, 0);
      let running = 0;
      const expected = sorted.find((_, index) => {
        running += weights[index] as number;
        return running > target;
      });
      expect(sampleToken(logits, options, 7)).toBe(expected);
    }
  });

  it('is a function of seed and length', () => {
    expect(drawUniform(1, 2)).toBe(drawUniform(1, 2));
    expect(drawUniform(1, 2)).not.toBe(drawUniform(1, 3));
    expect(drawUniform(1, 2)).not.toBe(drawUniform(2, 2));
  });
});

describe('checkSampling', () => {
  it.each([
    [{ temperature: -1 }, 'Expected `temperature` to be a finite number of at least 0, got `-1`'],
    [{ topK: 1.5 }, 'Expected `topK` to be an integer of at least 0, got `1.5`'],
    [{ topP: 0 }, 'Expected `topP` to be above 0 and at most 1, got `0`'],
    [{ seed: -3 }, 'Expected `seed` to be an integer of 0 to 2^53 − 1, got `-3`'],
  ])('refuses %j', (options, message) => {
    expect(() => checkSampling(options)).toThrow(message);
  });
});
