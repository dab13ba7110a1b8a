import { describe, expect, it } from 'vitest';
import { countDecodeWeights, countWeights, findShape, NAMED_SHAPES } from '../../../src/bench/shapes.ts';

describe('named shapes', () => {
  // Parameters of the published checkpoints; an untied embedding is not read by decode.
  it.each([
    ['llama-2-7b', 6_738_415_616, true],
    ['llama-3-8b', 8_030_261_248, true],
    ['llama-3-70b', 70_553_706_496, true],
    ['llama-3.2-1b', 1_235_814_400, false],
    ['llama-3.2-3b', 3_212_749_824, false],
    ['mistral-7b', 7_248_023_552, true],
    ['qwen2.5-7b', 7_615_616_512, true],
    ['qwen2.5-32b', 32_763_876_352, true],
    ['qwen3-8b', 8_190_735_360, true],
  ] as const)('%s has the parameters of its checkpoint', (name, parameters, isUntied) => {
    const config = findShape(name);
    const embedding = isUntied ? config.shape.vocab * config.shape.hidden : 0;
    expect(config.tiedEmbeddings).toBe(!isUntied);
    expect(countDecodeWeights(config) + embedding).toBe(parameters);
    expect(countWeights(config)).toBe(parameters);
  });

  it('keeps the layers asked for', () => {
    expect(findShape('llama-3-8b', { layers: 2 }).shape.layers).toBe(2);
    expect(NAMED_SHAPES['llama-3-8b']?.shape.layers).toBe(32);
  });

  it('refuses unknown names and impossible layers', () => {
    expect(() => findShape('toString')).toThrow('Expected a shape among llama-2-7b');
    expect(() => findShape('llama-3-8b', { layers: 33 })).toThrow('Expected `layers` to be an integer from 1 to 32');
  });
});
