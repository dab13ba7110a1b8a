// A promise of 0.99 on the demo against its ground truth, a promise of a task's score, and what the closing lines tell of 0.99.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { findKeepTask } from '../../identify/keep-of.ts';
import { countEntries } from '../../src/core/kv-cost.ts';
import type { HeadMask } from '../../src/core/shapes.ts';
import { type IdentifyOptions, type IdentifyResult, identify } from '../../src/index.ts';
import { describeNative } from '../reference/native-library.ts';

const demo = (config: NonNullable<IdentifyOptions['config']>): Promise<IdentifyResult> =>
  identify({ model: 'demo', config: { method: 'quadratic', ...config } });

const TRUTH = new URL('../../bench/results/2026-11-23-demo-ground-truth/passkey/ground-truth.json', import.meta.url);
/** Heads that greedy removal must leave full to stay equal to full attention in the wording of the preset (scripts/ground-truth.ts). */
function readTrueHeads(): number {
  const { tasks, layers, kvHeads } = JSON.parse(readFileSync(TRUTH, 'utf8'));
  const greedy = tasks[0].summaries.find(({ name }: { name: string }) => name === 'greedy on passkey');
  return layers * kvHeads - greedy.equal;
}

describeNative('a promise of 0.99 on the demo', { timeout: 180_000 }, () => {
  const [sink, recent, tokens, heads] = [8, 32, 256, 32];
  const truth = readTrueHeads();

  it('needs as many whole heads as the ground truth, within one', async () => {
    expect(truth).toBe(6);
    for (const config of [{ recentTokens: recent }, { method: 'gates', recentTokens: recent }]) {
      const { cut, promise } = await demo({ keep: 0.99, ...config });
      expect(Math.abs(cut.retrievalHeads - truth)).toBeLessThanOrEqual(1);
      expect(promise?.found?.interval[0]).toBeGreaterThanOrEqual(0.99);
    }
  });

  it('needs its KV entries with windows by head, within one head', async () => {
    const { mask, promise } = await demo({ keep: 0.99 });
    expect(mask.version).toBe(2);
    const entries = countEntries(promise?.found?.mask as HeadMask, tokens);
    const trueEntries = truth * tokens + (heads - truth) * (sink + recent);
    expect(Math.abs(entries - trueEntries)).toBeLessThanOrEqual(tokens - (sink + recent));
  });
});

describeNative("a promise of a task's score", { timeout: 180_000 }, () => {
  it('finds the smallest budget by answers to prompts, and says by what', async () => {
    const { mask, promise, least } = await demo({ keep: 0.8, keepOf: 'niah_single_2', heldOutSamples: 0 });
    const { found, walked } = promise ?? {};
    expect(found?.interval[0]).toBeGreaterThanOrEqual(0.8);
    // the words of another task need more of the demo than those that its heads were found by
    expect(found?.kvShare).toBeGreaterThan(0.35);
    expect(mask.provenance.promise).toMatchObject({ keepOf: 'niah_single_2', samples: 16 });
    expect(least.map(({ keepOf }) => keepOf)).toEqual(['niah_single_2']);
    expect(walked?.some(({ interval }) => interval[0] < 0.8)).toBe(true);
  });

  it('is refused before anything is measured where the demo has no words for the task', async () => {
    await expect(demo({ keep: 0.9, keepOf: 'vt' })).rejects.toThrow('Task `vt` has no wording `small-vocabulary`');
  });
});

describe('findKeepTask', () => {
  it('knows the tasks, and that recall and gain are none', () => {
    expect(findKeepTask('recall')).toBeNull();
    expect(findKeepTask('gain')).toBeNull();
    expect(findKeepTask('kv-retrieval')?.name).toBe('kv-retrieval');
  });

  it('refuses other names, and tasks that need a file', () => {
    expect(() => findKeepTask('luck')).toThrow(/^Expected `keepOf` to be recall, gain or one of .*vt.*, got `luck`\.$/);
    expect(() => findKeepTask('qa_2', '`--keep-of`')).toThrow(
      /^Expected `--keep-of` .*got `qa_2`, which needs a file of questions that an identification does not read\.$/,
    );
  });
});
