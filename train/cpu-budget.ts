// Fits an identification without settings of the user's to a CPU: fewer and shorter samples, so that two cores need minutes and not days.
// The budget counts operations, never seconds, so that a resumed run and another machine without a GPU get the same settings.
import type { Config } from '../src/config/config.ts';
import type { ModelConfig } from '../src/model/config.ts';
import { countForward, countQuadratic, halveSamples } from './budget.ts';
import { countOptimizerForwards } from './quadratic/cost.ts';

/** Two cores with AVX-512 do 174e9 of these a second (SmolLM2-135M, one quadratic sample of 2500 tokens in 408 s): about five minutes. */
export const MAX_CPU_OPERATIONS = 5e13;
/** Of the closing table; its prefills run at the same rate: about one minute. */
const MAX_TABLE_OPERATIONS = 1e13;
/** Shorter samples hardly leave the window of a streaming head. */
const SHORTEST_TOKENS = 1024;
const LENGTH_STEP = 128;
/** full, given, streaming, three random, inverted */
const TABLE_MASKS = 7;

/** Settings for a CPU: method `quadratic` instead of a gate optimisation beyond the budget, passkeys alone where all samples are beyond it, which are shortened
 * to 1024 tokens, and halved in number while that is not enough, down to one (of each objective), the closing table cut to fit. A run within the budget, and every key the person set, stays as it is.
 * @param options.given keys the person set; those of the optimiser choose the method too.
 * @param options.canProbe whether the engine can run method quadratic. */
export function fitToCpu(
  config: Config,
  options: { model: ModelConfig; given: ReadonlySet<string>; canProbe: boolean },
): Config {
  const { model, given, canProbe } = options;
  const forward = (tokens: number): number => countForward(model, tokens);
  const isMethodGiven = ['method', 'steps', 'lr', 'earlyStopSteps'].some((key) => given.has(key));
  const meanTokens = (config.minTokens + config.maxTokens) / 2;
  let fitted = config;
  if (config.method === 'gates') {
    const isWithin = countOptimizerForwards(config.steps) * forward(meanTokens) <= MAX_CPU_OPERATIONS;
    if (isWithin || isMethodGiven || !canProbe) return config;
    fitted = { ...config, method: 'quadratic' };
  }
  if (fitted.method !== 'quadratic') return config;
  const { operationsOf } = countQuadratic(fitted, model);
  const isWithin = (samples: number, tokens: number): boolean => operationsOf(samples, tokens) <= MAX_CPU_OPERATIONS;
  // The short samples that are left hold hardly a token that needs more than a streaming head's window: 1 of 1023 with SmolLM2 and windows of 256.
  const isObjectiveOpen = fitted.objective === 'both' && !given.has('objective');
  if (isObjectiveOpen && !isWithin(fitted.quadraticSamples, fitted.maxTokens))
    fitted = { ...fitted, objective: 'passkey' };
  // Two objectives take turns.
  const leastSamples = Math.min(fitted.quadraticSamples, fitted.objective === 'both' ? 2 : 1);
  if (!isWithin(fitted.quadraticSamples, fitted.maxTokens)) {
    const shortest = Math.min(SHORTEST_TOKENS, fitted.maxTokens);
    const samples = given.has('quadraticSamples')
      ? fitted.quadraticSamples
      : halveSamples(fitted.quadraticSamples, { least: leastSamples, isWithin: (some) => isWithin(some, shortest) });
    let tokens = fitted.maxTokens;
    if (!given.has('minTokens') && !given.has('maxTokens')) {
      while (tokens > shortest && !isWithin(samples, tokens)) {
        tokens = Math.max(shortest, LENGTH_STEP * Math.ceil(tokens / LENGTH_STEP - 1));
      }
      fitted = { ...fitted, minTokens: Math.min(fitted.minTokens, tokens), maxTokens: tokens };
    }
    fitted = { ...fitted, quadraticSamples: samples };
  }
  return fitTable(fitted, { given, forward });
}

/** Fewer and shorter held-out samples, two at least where the preset has a table at all. */
function fitTable(
  config: Config,
  options: { given: ReadonlySet<string>; forward: (tokens: number) => number },
): Config {
  const { given, forward } = options;
  const isWithin = ({ heldOutSamples, heldOutLengthFactor, maxTokens }: Config): boolean =>
    TABLE_MASKS * heldOutSamples * forward((maxTokens * (1 + heldOutLengthFactor)) / 2) <= MAX_TABLE_OPERATIONS;
  let fitted = config;
  if (!given.has('heldOutLengthFactor') && !isWithin(fitted)) fitted = { ...fitted, heldOutLengthFactor: 1 };
  while (!given.has('heldOutSamples') && fitted.heldOutSamples > 2 && !isWithin(fitted)) {
    fitted = { ...fitted, heldOutSamples: fitted.heldOutSamples - 1 };
  }
  return fitted;
}
