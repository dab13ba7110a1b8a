// The two models shipped with the project, as their folders stand: what the files promise, and that they recall passkeys with every head
// full and not when every head streams. The figures of the model cards come from more samples.

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openProseHaystack } from '../../data-gen/haystack.ts';
import { generateSample } from '../../data-gen/passkey.ts';
import { makeModelConfig } from '../../scripts/demo-folder.ts';
import { RECIPES } from '../../scripts/demo-recipes.ts';
import { buildTokenizerJson, buildVocabulary } from '../../scripts/demo-tokenizer.ts';
import { loadPreset } from '../../src/config/presets.ts';
import { makeHeadMask } from '../../src/core/head-mask.ts';
import { filledGrid } from '../../src/core/shapes.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { openTensorflowEngine } from '../../src/engine/tensorflow/tensorflow-engine.ts';
import { type ModelFolder, openModelFolder } from '../../src/model/folder.ts';
import { openTokenizer } from '../../src/text/tokenizer.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

describe.each([
  { name: 'demo', path: join(root, 'models/demo'), mostBytes: 5e6, mostParameters: 2e6 },
  { name: 'tiny', path: join(root, 'test/models/tiny'), mostBytes: 2e6, mostParameters: 400_000 },
] as const)('the $name model', ({ name, path, mostBytes, mostParameters }) => {
  const recipe = RECIPES[name];
  let folder: ModelFolder;
  let engine: Engine;

  beforeAll(async () => {
    folder = openModelFolder(path);
    engine = await openTensorflowEngine(folder);
  });
  afterAll(async () => {
    await engine.close();
    folder.close();
  });

  test('keeps to its size', () => {
    const files = readdirSync(path);
    expect(files.reduce((sum, file) => sum + statSync(join(path, file)).size, 0)).toBeLessThan(mostBytes);
    expect(statSync(join(path, 'model.safetensors')).size).toBeLessThan(2 * mostParameters + 8192);
  });

  test('has the tokenizer and the configuration its script writes', () => {
    expect(JSON.parse(readFileSync(join(path, 'tokenizer.json'), 'utf8'))).toEqual(buildTokenizerJson());
    expect(JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'))).toEqual(
      makeModelConfig(recipe, buildVocabulary().size),
    );
  });

  test('recalls with every head full, not with every head streaming', async () => {
    const tokenizer = openTokenizer(path);
    const haystack = openProseHaystack(tokenizer);
    const settings = loadPreset(name).config;
    const { layers, kvHeads } = recipe.shape;
    const streaming = makeHeadMask(filledGrid(layers, kvHeads, 0), { sinkTokens: 4, recentTokens: 32 });
    const full: number[] = [];
    const none: number[] = [];
    for (const index of [0, 1, 2, 3]) {
      const sample = generateSample({
        tokenizer,
        haystack,
        settings,
        seed: 99,
        split: 'held-out',
        index,
        lengthTokens: 384,
      });
      full.push((await engine.evaluate(sample, 'full')).accuracy);
      none.push((await engine.evaluate(sample, streaming)).accuracy);
    }
    const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(mean(full)).toBeGreaterThanOrEqual(0.95);
    expect(mean(none)).toBeLessThanOrEqual(0.2);
  });
});
