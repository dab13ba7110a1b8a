// The distance that a sample is measured by: how far hidden states move, or the KL divergence of next-token distributions. The distance and the weight
// of a sample may depend on its objective: samples of both objectives are brought to one scale before they are summed.
import type { Sample } from '../src/core/shapes.ts';
import type { Distance, Engine } from '../src/engine/engine.ts';
import { ConfigError } from '../src/errors/errors.ts';

/** `auto`: KL for long-range samples, hidden states for all others. */
export type DistanceRule = Distance | 'auto';

/** True for a sample whose answers are the tokens that only long context predicts. */
export function isLongRangeSample(sample: Sample): boolean {
  return sample.objective === 'long-range';
}

/** The distance that a sample is measured by. */
export function chooseDistance(sample: Sample, rule: DistanceRule): Distance {
  if (rule !== 'auto') return rule;
  return isLongRangeSample(sample) ? 'kl' : 'hidden';
}

/** An engine that can measure by KL divergence. */
export type KlEngine = Required<Pick<Engine, 'klMetric'>>;

/** The engine, where it can measure by KL divergence. @throws {ConfigError} it cannot. */
export function requireKl<Given extends Engine>(engine: Given): Given & KlEngine {
  if (engine.klMetric) return engine as Given & KlEngine;
  throw new ConfigError(
    `Expected an engine that measures KL divergences for \`distance\` kl, got \`${engine.name}\`, which does not; use \`distance\` hidden or engine native.`,
  );
}
