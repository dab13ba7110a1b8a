// Scoring through real sessions of the golden model, held to the engine's own one-pass evaluation.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { countKvBytes } from '../../../src/core/kv-cost.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import type { NamedMask } from '../../../src/eval/baselines.ts';
import { evaluateSamples } from '../../../src/eval/evaluate-samples.ts';
import { evaluateTask } from '../../../src/eval/evaluate-task.ts';
import { type ModelFolder, openModelFolder } from '../../../src/model/folder.ts';
import {
  GOLDEN_FOLDER,
  goldenTokenizer,
  MIXED,
  makeGoldenPrompts,
  readGoldenSamples,
  STREAMING,
} from './golden-prompts.ts';

let folder: ModelFolder;
let engine: Engine;
beforeAll(async () => {
  folder = openModelFolder(GOLDEN_FOLDER);
  engine = await openTensorflowEngine(folder);
});
afterAll(async () => {
  await engine.close();
  folder.close();
});

const masks: NamedMask[] = [
  { name: 'full', mask: 'full' },
  { name: 'mixed', mask: MIXED },
  { name: 'streaming', mask: STREAMING },
];
const prompts = makeGoldenPrompts().slice(0, 2);

function run(mask: NamedMask, measure: 'generated' | 'teacher-forced', more: object = {}) {
  return evaluateTask({
    engine,
    task: 'golden',
    samples: prompts,
    mask,
    measure,
    tokenizer: goldenTokenizer,
    stopTokens: [2],
    length: null,
    ...more,
  });
}

describe('teacher-forced scoring through a session', () => {
  it.each(masks)('agrees with the one-pass evaluation: $name', async (mask) => {
    const [expected] = await evaluateSamples({ engine, samples: readGoldenSamples().slice(0, 2), masks: [mask] });
    for (const settings of [{}, { chunkTokens: 7 }]) {
      const row = await run(mask, 'teacher-forced', { settings });
      expect(row.accuracy).toBe(expected?.accuracy);
      expect(row.logProb).toBeCloseTo(expected?.logProb as number, 3);
      expect(row.answerTokens).toBe(expected?.answerTokens);
    }
  });

  it('tells full from streaming, and its budget', async () => {
    const full = await run(masks[0] as NamedMask, 'teacher-forced');
    const streaming = await run(masks[2] as NamedMask, 'teacher-forced');
    expect(full.accuracy).toBe(1);
    expect(streaming.accuracy).toBeLessThan(0.5);
    expect(full.footprint).toBe(1);
    expect(streaming.footprint).toBeLessThan(0.5);
    expect(full.kvBytes).toBe(full.fullKvBytes);
    const tokens = Math.max(...prompts.map((prompt) => prompt.teacherForced?.tokens.length as number));
    expect(full.kvBytes).toBe(countKvBytes({ model: engine.model, mask: 'full', tokens, dtype: 'f32' }));
    expect(streaming.kvBytes).toBe(countKvBytes({ model: engine.model, mask: STREAMING, tokens, dtype: 'f32' }));
    expect([full.kvDtype, full.kvRotation, full.prefill]).toEqual(['f32', null, 'exact']);
  });
});

describe('generated answers', () => {
  it('recalls under full attention and not under streaming', async () => {
    const full = await run(masks[0] as NamedMask, 'generated');
    expect([full.accuracy, full.logProb, full.measure]).toEqual([1, null, 'generated']);
    expect(full.accuracyInterval[0]).toBeLessThan(1);
    expect((await run(masks[2] as NamedMask, 'generated')).accuracy).toBe(0);
  });

  it('sees more through one chunk of chunked prefill than through exact prefill', async () => {
    const settings = { prefill: 'chunked' as const, chunkTokens: 4096 };
    const row = await run(masks[2] as NamedMask, 'teacher-forced', { settings });
    expect(row.prefill).toBe('chunked');
    expect(row.footprint).toBeGreaterThan((await run(masks[2] as NamedMask, 'teacher-forced')).footprint);
    await expect(run(masks[2] as NamedMask, 'generated', { settings: { prefill: 'chunked' } })).rejects.toThrow(
      'Expected `chunkTokens` with chunked prefill, got none',
    );
  });

  it('stops at a stop token', async () => {
    const dot = goldenTokenizer.tokenId('.') as number;
    const longer = prompts.map((prompt) => ({
      ...prompt,
      maxNewTokens: prompt.maxNewTokens + 6,
      score: (text: string) => (text.trim() === prompt.references[0] ? 100 : 0),
    }));
    const row = await run(masks[0] as NamedMask, 'generated', { samples: longer, stopTokens: [dot] });
    expect(row.accuracy).toBe(1);
  });
});

it('refuses no samples, a task without an answer text, and a stopped signal', async () => {
  const full = masks[0] as NamedMask;
  await expect(run(full, 'generated', { samples: [] })).rejects.toThrow('at least one sample of task `golden`');
  const textless = [{ ...prompts[0], teacherForced: null }];
  await expect(run(full, 'teacher-forced', { samples: textless })).rejects.toThrow(
    'score it by generated text instead',
  );
  await expect(run(full, 'generated', { signal: AbortSignal.abort() })).rejects.toMatchObject({ exitCode: 130 });
});
