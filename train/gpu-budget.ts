// Fits an identification that nobody gave settings for to a GPU: as many samples of the quadratic method as some minutes allow.
import type { Config } from '../src/config/config.ts';
import type { ModelConfig } from '../src/model/config.ts';
import { countQuadratic, halveSamples } from './budget.ts';

/** One H200 did 4.8e14 of these a second (llama-3-8b shape, two samples of 8192 tokens with elimination in 2.6 minutes): about seven minutes. */
const MOST_OPERATIONS = 2e17;
/** Of a large model with long samples. */
const LEAST_SAMPLES = 2;

/** Settings for a GPU: the samples of method `quadratic` halved while they are above the budget, down to two. What the person set stays.
 * @param options.given keys the person set. */
export function fitToGpu(config: Config, options: { model: ModelConfig; given: ReadonlySet<string> }): Config {
  const { model, given } = options;
  if (config.method !== 'quadratic' || given.has('quadraticSamples')) return config;
  const { operationsOf } = countQuadratic(config, model);
  // Samples are drawn between both lengths; what grows with the square of it is underrated a little.
  const tokens = (config.minTokens + config.maxTokens) / 2;
  const isWithin = (samples: number): boolean => operationsOf(samples, tokens) <= MOST_OPERATIONS;
  const least = Math.min(config.quadraticSamples, LEAST_SAMPLES);
  return { ...config, quadraticSamples: halveSamples(config.quadraticSamples, { least, isWithin }) };
}
