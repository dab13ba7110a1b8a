// Scales of losses: none where hidden states measure one kind of sample, KL brought to hidden states, long-range samples to the others.
import { describe, expect, it } from 'vitest';
import type { Sample } from '../../src/core/shapes.ts';
import type { DistillOptions, Engine } from '../../src/engine/engine.ts';
import { measureLossScales } from '../../train/loss-scales.ts';
import { makeQuadraticEngine } from './quadratic-engine.ts';

const window = { sinkTokens: 4, recentTokens: 32 };
const plain: Sample = { tokens: [1, 2, 3], answers: [[1, 2]] };
const long: Sample = { ...plain, objective: 'long-range' };
const steps = 9;

/** Losses by kind and distance where every gate is 0. */
const LOSSES = { plain: { hidden: 3, kl: 12 }, long: { hidden: 1, kl: 8 } };

function makeEngine(): { engine: Engine; calls: string[] } {
  const calls: string[] = [];
  const engine: Engine = {
    ...makeQuadraticEngine(),
    async distill(sample, gates, _window, { distance = 'hidden' }: DistillOptions = {}) {
      expect(gates.flat().every((gate) => gate === 0)).toBe(true);
      const kind = sample.objective === 'long-range' ? 'long' : 'plain';
      calls.push(`${kind} ${distance}`);
      return { loss: LOSSES[kind][distance], gradient: gates };
    },
  };
  return { engine, calls };
}

const sources = {
  plain: () => plain,
  long: () => long,
  both: (step: number) => (step % 2 === 0 ? plain : long),
};

describe('measureLossScales', () => {
  it.each([
    ['plain', 'hidden', { plain: 1, long: 1 }, 0],
    ['plain', 'auto', { plain: 1, long: 1 }, 0],
    ['plain', 'kl', { plain: 3 / 12, long: 1 }, 4],
    ['long', 'hidden', { plain: 1, long: 1 }, 0],
    ['long', 'auto', { plain: 1, long: 1 / 8 }, 4],
    ['both', 'hidden', { plain: 1, long: 3 / 1 }, 4],
    ['both', 'auto', { plain: 1, long: 3 / 8 }, 4],
    ['both', 'kl', { plain: 3 / 12, long: 3 / 8 }, 8],
  ] as const)('of %s samples by %s', async (kind, rule, expected, numCalls) => {
    const { engine, calls } = makeEngine();
    const options = { engine, sampleAt: sources[kind], steps, rule, window, supervise: 'predict' as const };
    expect(await measureLossScales(options)).toEqual(expected);
    expect(calls).toHaveLength(numCalls);
  });

  it('are 1 where streaming changes nothing', async () => {
    const { engine } = makeEngine();
    const still: Engine = { ...engine, distill: async (_, gates) => ({ loss: 0, gradient: gates }) };
    const options = { engine: still, sampleAt: sources.both, steps, rule: 'kl' as const, window };
    expect(await measureLossScales({ ...options, supervise: 'predict' })).toEqual({ plain: 1, long: 1 });
  });
});
