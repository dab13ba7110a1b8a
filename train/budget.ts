// What an identification costs in operations. Settings that the user did not give are fitted to a device by it, never by seconds, so that a resumed run
// and another machine of its kind get the same settings.
import type { Config } from '../src/config/config.ts';
import { resolveWindowRule, resolveWindows } from '../src/config/ladder.ts';
import type { ModelConfig } from '../src/model/config.ts';
import { countPrefillOperations } from '../src/runtime/operations.ts';
import { countQuadraticForwards } from './quadratic/cost.ts';
import { isFirstSpared } from './quadratic/quadratic-settings.ts';

/** Operations of a forward pass of full attention. */
export function countForward(model: ModelConfig, tokens: number): number {
  const { linear, attention } = countPrefillOperations({ config: model, mask: 'full', tokens });
  return linear + attention;
}

/** Operations of method quadratic with these settings, by samples and tokens of each. */
export function countQuadratic(
  config: Config,
  model: ModelConfig,
): { operationsOf: (samples: number, tokens: number) => number } {
  const { layers, kvHeads } = model.shape;
  const { quadraticRounds: rounds, quadraticStep: step, recentTokens, ladderVectors, quadraticVectors } = config;
  const operationsOf = (samples: number, tokens: number): number => {
    const windows = resolveWindows(config, { longestTokens: tokens, heads: layers * kvHeads });
    const ladder = {
      windows: windows.length,
      vectors: ladderVectors,
      isFirstSpared: isFirstSpared(
        { windows, step, ladderVectors, windowRule: resolveWindowRule(config, tokens) ?? undefined },
        recentTokens,
      ),
      sketchVectors: quadraticVectors,
    };
    const forwards = countQuadraticForwards({ layers, kvHeads, callsPerSample: 1, samples, rounds, ...ladder });
    return forwards * countForward(model, tokens);
  };
  return { operationsOf };
}

/** The greatest of `most`, half of it and so on that is within a budget; `least` where none above it is. */
export function halveSamples(
  most: number,
  { least, isWithin }: { least: number; isWithin: (samples: number) => boolean },
): number {
  let samples = most;
  while (samples > least && !isWithin(samples)) samples = Math.max(least, Math.floor(samples / 2));
  return samples;
}
