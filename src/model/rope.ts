// Rotary position embedding as transformers computes it (modeling_rope_utils): every tensor operation in float32, plain numbers in float64.
// Pairs are dimension i with i + D/2 ("rotate half"). Applying the tables is the engines' business.
import { EngineError } from '../errors/errors.ts';
import type { ModelConfig } from './config.ts';
import type { RopeScaling } from './rope-scaling.ts';

const { fround } = Math;

/** Inverse frequencies and the factor on cos and sin.
 * @param maxTokens most tokens of this session or sample; only dynamic scaling reads it, whose base is fixed from it (docs/semantics.md, 6).
 * @returns inverseFrequencies [D/2] float32, radians per position; attentionScale 1 except for yarn.
 * @throws {EngineError} maxTokens is not an integer of at least 1. */
export function computeRope(
  config: ModelConfig,
  maxTokens: number,
): { inverseFrequencies: Float32Array; attentionScale: number } {
  if (!Number.isInteger(maxTokens) || maxTokens < 1) {
    throw new EngineError(`Expected \`maxTokens\` to be an integer of at least 1, got \`${maxTokens}\`.`);
  }
  const { ropeScaling: scaling, ropeTheta: theta } = config;
  const { headDim } = config.shape;
  switch (scaling.type) {
    case 'none':
      return { inverseFrequencies: invert(computePeriods(theta, headDim)), attentionScale: 1 };
    case 'linear': {
      const factor = fround(scaling.factor);
      return { inverseFrequencies: invert(computePeriods(theta, headDim)).map((f) => f / factor), attentionScale: 1 };
    }
    case 'factors': {
      const plain = invert(computePeriods(theta, headDim));
      return { inverseFrequencies: plain.map((f, pair) => f / scaling.factors[pair]!), attentionScale: 1 };
    }
    case 'dynamic': {
      const stretch =
        (scaling.factor * Math.max(maxTokens, scaling.originalMaxPositions)) / scaling.originalMaxPositions;
      const base = theta * (stretch - (scaling.factor - 1)) ** (headDim / (headDim - 2));
      return { inverseFrequencies: invert(computePeriods(base, headDim)), attentionScale: 1 };
    }
    case 'llama3':
      return { inverseFrequencies: scaleLlama3(invert(computePeriods(theta, headDim)), scaling), attentionScale: 1 };
    case 'yarn':
      return {
        inverseFrequencies: scaleYarn({ periods: computePeriods(theta, headDim), theta, scaling }),
        attentionScale: scaling.attentionFactor,
      };
  }
}

/** cos and sin of the angles of `count` positions from `start` on, times the attention scale.
 * Angles are float32 products of position and inverse frequency, as in transformers.
 * @returns cos, sin [count, D/2] float32. */
export function computeRotaryTables(
  config: ModelConfig,
  options: { start: number; count: number; maxTokens: number },
): { cos: Float32Array; sin: Float32Array } {
  const { start, count, maxTokens } = options;
  const { inverseFrequencies, attentionScale } = computeRope(config, maxTokens);
  const pairs = inverseFrequencies.length;
  const scale = fround(attentionScale);
  const cos = new Float32Array(count * pairs);
  const sin = new Float32Array(count * pairs);
  for (let row = 0, at = 0; row < count; row++) {
    const position = fround(start + row);
    for (let pair = 0; pair < pairs; pair++, at++) {
      const angle = fround(position * inverseFrequencies[pair]!);
      cos[at] = fround(Math.cos(angle)) * scale;
      sin[at] = fround(Math.sin(angle)) * scale;
    }
  }
  return { cos, sin };
}

/** base^(2i/D), [D/2] float32. */
function computePeriods(base: number, headDim: number): Float32Array {
  return Float32Array.from({ length: headDim / 2 }, (_, pair) => fround(base) ** fround((2 * pair) / headDim));
}

function invert(periods: Float32Array): Float32Array {
  return periods.map((period) => 1 / period);
}

/** Llama 3.1: long waves are slowed by the factor, short ones kept, those between mixed. */
function scaleLlama3(frequencies: Float32Array, scaling: RopeScaling & { type: 'llama3' }): Float32Array {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = scaling;
  const longest = fround(originalMaxPositions / lowFreqFactor);
  const shortest = fround(originalMaxPositions / highFreqFactor);
  return frequencies.map((frequency) => {
    // A number divided by a tensor is reciprocal times number in PyTorch.
    const wavelength = fround(fround(1 / frequency) * fround(2 * Math.PI));
    if (wavelength > longest) return frequency / fround(factor);
    if (wavelength < shortest) return frequency;
    const rotations = fround(fround(1 / wavelength) * originalMaxPositions);
    const smooth = fround(fround(rotations - fround(lowFreqFactor)) / fround(highFreqFactor - lowFreqFactor));
    const slowed = fround(fround(fround(1 - smooth) * frequency) / fround(factor));
    return slowed + fround(smooth * frequency);
  });
}

/** YaRN (arXiv 2309.00071): a linear ramp over the dimensions from kept frequencies to interpolated ones. */
function scaleYarn(options: {
  periods: Float32Array;
  theta: number;
  scaling: RopeScaling & { type: 'yarn' };
}): Float32Array {
  const { periods, theta, scaling } = options;
  const headDim = periods.length * 2;
  const dimensionOf = (rotations: number): number =>
    (headDim * Math.log(scaling.originalMaxPositions / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const first = dimensionOf(scaling.betaFast);
  const last = dimensionOf(scaling.betaSlow);
  const low = Math.max(scaling.truncate ? Math.floor(first) : first, 0);
  const end = Math.min(scaling.truncate ? Math.ceil(last) : last, headDim - 1);
  // Equal bounds would divide by 0; transformers widens them by the same amount.
  const high = low === end ? end + 0.001 : end;
  return periods.map((period, pair) => {
    const ramp = Math.min(Math.max(fround(fround(pair - fround(low)) / fround(high - low)), 0), 1);
    const kept = fround(1 - ramp);
    const interpolated = fround(1 / fround(fround(scaling.factor) * period));
    return fround(interpolated * fround(1 - kept)) + fround(fround(1 / period) * kept);
  });
}
