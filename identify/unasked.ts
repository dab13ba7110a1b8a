// Method and objective where the user named none: the preset's, unless a given setting belongs to another method or the engine cannot run it.
import type { Config } from '../src/config/config.ts';
import type { Settings } from '../src/config/settings.ts';
import type { Engine } from '../src/engine/engine.ts';
import { findMethod } from '../train/methods/index.ts';
import { canProbe } from '../train/quadratic/measure-sample.ts';

/** The settings with method `gates` where a person gave a setting that only that method has, such as steps. A method that was named stays, and so does
 * `quadratic` with a ladder of windows, which no other method measures. */
export function settleMethod(settings: Settings): Settings {
  const { config, asked, given } = settings;
  if (given.has('method') || config.method !== 'quadratic' || config.windows !== null) return settings;
  const measured = new Set<string>(findMethod('quadratic').settings);
  const isOfGates = findMethod('gates').settings.some((key) => given.has(key) && !measured.has(key));
  if (!isOfGates) return settings;
  return { ...settings, config: { ...config, method: 'gates' }, asked: { ...asked, method: 'gates' } };
}

/** The settings, changed to what the engine can do: method `gates` if it cannot measure heads, passkeys if it has no log-probabilities by position
 * or if there is only one sample. What was named stays, and is refused later if the engine cannot do it.
 * @param options.given keys the person set. */
export function settleForEngine(config: Config, options: { given: ReadonlySet<string>; engine: Engine }): Config {
  const { given, engine } = options;
  const isMethodOpen = !given.has('method') && config.method === 'quadratic' && !canProbe(engine);
  const method = isMethodOpen ? 'gates' : config.method;
  const isSingle = countSamples({ ...config, method }) === 1;
  const isObjectiveOpen = !given.has('objective') && config.objective === 'both';
  const objective = isObjectiveOpen && (isSingle || engine.scoreTokens === undefined) ? 'passkey' : config.objective;
  return { ...config, method, objective };
}

/** Samples that the heads are scored by, each as often as it is taken. */
export function countSamples(config: Config): number {
  return config[nameSampleKey(config)];
}

/** The setting that gives their number. */
export function nameSampleKey({ method }: Config): 'quadraticSamples' | 'steps' {
  return findMethod(method).settings.includes('quadraticSamples') ? 'quadraticSamples' : 'steps';
}
