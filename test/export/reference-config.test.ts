import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { buildMask } from '../../export/build-mask.ts';
import { buildReferenceConfig, readReferenceConfig, writeReferenceConfig } from '../../export/reference-config.ts';
import { makeGatesFile } from './gates-fixture.ts';

const window = { sinkTokens: 0, recentTokens: 32 };
const { file } = buildMask({ gates: makeGatesFile([[1, 0]]), cut: { streamingFraction: 0.5 }, window });

test('window and sparsity come back as they went', () => {
  const path = join(mkdtempSync(join(tmpdir(), 'duo-config-')), 'config.json');
  writeReferenceConfig(path, file);
  expect(readReferenceConfig(path)).toEqual({ window, sparsity: 0.5 });
});

test("has the reference's 45 keys, filled where duo knows the value", () => {
  const config = buildReferenceConfig(file);
  expect(Object.keys(config)).toHaveLength(45);
  expect(config).toMatchObject({ sink_size: 0, recent_size: 32, sparsity: 0.5, threshold: null, lr: 0.02, seed: 7 });
  expect(config.deploy_sink_size).toBeNull();
});
