// Fits the number of samples of the quadratic method, unless the user gave it, to a device and to samples whose lengths are settled: as many as some
// minutes allow. On a CPU generated samples are shortened too (cpu-budget.ts).
import type { Config } from '../src/config/config.ts';
import type { ModelConfig } from '../src/model/config.ts';
import { countQuadratic, halveSamples } from './budget.ts';
import { MAX_CPU_OPERATIONS } from './cpu-budget.ts';

/** One H200 did 4.8e14 of these a second (llama-3-8b shape, two samples of 8192 tokens with elimination in 2.6 minutes): about seven minutes. */
const MAX_GPU_OPERATIONS = 2e17;
/** Of a large model with long samples. */
const MIN_SAMPLES = 2;

/** Settings for a GPU: the samples of method `quadratic` halved while they are above the budget, down to two. What the person set stays.
 * @param options.given keys the person set. */
export function fitToGpu(config: Config, options: { model: ModelConfig; given: ReadonlySet<string> }): Config {
  // Samples are drawn between both lengths; what grows with the square of it is underrated a little.
  const tokens = (config.minTokens + config.maxTokens) / 2;
  return fitCount(config, { ...options, tokens, mostOperations: MAX_GPU_OPERATIONS });
}

/** Settings for samples that the user gives: each is used at most once, and as many are used as the device's budget allows, at least two.
 * @param options.samples how many there are, and the tokens of the longest. */
export function fitToSamples(
  config: Config,
  options: {
    model: ModelConfig;
    given: ReadonlySet<string>;
    samples: { readonly count: number; readonly longest: number };
    isGpu: boolean;
  },
): Config {
  const { model, given, samples, isGpu } = options;
  if (config.method === 'gates' || given.has('quadraticSamples')) return config;
  const once = { ...config, quadraticSamples: Math.min(config.quadraticSamples, samples.count) };
  const mostOperations = isGpu ? MAX_GPU_OPERATIONS : MAX_CPU_OPERATIONS;
  return fitCount(once, { model, given, tokens: samples.longest, mostOperations });
}

function fitCount(
  config: Config,
  options: { model: ModelConfig; given: ReadonlySet<string>; tokens: number; mostOperations: number },
): Config {
  const { model, given, tokens, mostOperations } = options;
  if (config.method !== 'quadratic' || given.has('quadraticSamples')) return config;
  const { operationsOf } = countQuadratic(config, model);
  const isWithin = (samples: number): boolean => operationsOf(samples, tokens) <= mostOperations;
  const least = Math.min(config.quadraticSamples, MIN_SAMPLES);
  return { ...config, quadraticSamples: halveSamples(config.quadraticSamples, { least, isWithin }) };
}
