import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ConfigError } from '../../../src/errors/errors.ts';
import { formatGates } from '../../../src/formats/gates.ts';
import { buildGates } from '../../../train/gates-file.ts';
import { findMethod, HEAD_METHODS } from '../../../train/methods/index.ts';
import { makeQuadraticEngine, quadraticSampleAt } from '../quadratic-engine.ts';

test('names are unique, and an unknown one names the known', () => {
  expect(new Set(HEAD_METHODS.map(({ name }) => name)).size).toBe(HEAD_METHODS.length);
  expect(() => findMethod('magic')).toThrow(ConfigError);
  expect(() => findMethod('magic')).toThrow(/^Expected `method` to be one of gates.*, got `magic`\.$/);
});

test('`gates` scores every head, and its gates.json is the same bytes each time', async () => {
  const window = { sinkTokens: 4, recentTokens: 32 };
  const run = async (): Promise<string> => {
    const engine = makeQuadraticEngine();
    const folder = mkdtempSync(join(tmpdir(), 'duo-method-'));
    const scored = await findMethod('gates').score({
      engine,
      sampleAt: quadraticSampleAt,
      settings: {
        steps: 20,
        lr: 0.05,
        lambda: 0.2,
        window,
        supervise: 'predict',
        fullBranch: 'student',
        checkpointEvery: 5,
        gatesEvery: 10,
        stableSteps: 0,
      },
      files: { metrics: join(folder, 'metrics.jsonl'), checkpoint: join(folder, 'checkpoint.json') },
      identity: {},
    });
    expect(scored.stepsDone).toBe(20);
    const provenance = { tool: 'duo 0.1.0', seed: 42, samples: 'sha256:00' };
    return formatGates(
      buildGates({ model: engine.model, fingerprint: null, window, method: 'gates', scored, provenance }),
    );
  };
  const bytes = await run();
  expect(await run()).toBe(bytes);
  expect(JSON.parse(bytes).provenance).toEqual({
    tool: 'duo 0.1.0',
    seed: 42,
    samples: 'sha256:00',
    method: 'gates',
    sink: 4,
    recent: 32,
    steps: 20,
    stoppedEarly: false,
  });
});
