// Method and objective where nobody named them: what a preset says, but for settings that only another method has, and for what an engine cannot do.
import type { Config } from '../src/config/config.ts';
import type { Settings } from '../src/config/settings.ts';
import type { Engine } from '../src/engine/engine.ts';
import { findMethod } from '../train/methods/index.ts';
import { canProbe } from '../train/quadratic/measure-sample.ts';

/** The settings with method `gates` where a person set what that method alone has: steps, say. A method that was named stays, and a ladder of windows is
 * measured by no other. */
export function settleMethod(settings: Settings): Settings {
  const { config, asked, given } = settings;
  if (given.has('method') || config.method !== 'quadratic' || config.windows !== null) return settings;
  const measured = new Set<string>(findMethod('quadratic').settings);
  const isOfGates = findMethod('gates').settings.some((key) => given.has(key) && !measured.has(key));
  if (!isOfGates) return settings;
  return { ...settings, config: { ...config, method: 'gates' }, asked: { ...asked, method: 'gates' } };
}

/** The settings as far as the engine can serve them: gates with one that cannot measure heads, passkeys with one that has no log-probabilities by position
 * or where there is one sample alone. What was named stays, and is refused where it cannot be.
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

/** The setting that says how many. */
export function nameSampleKey({ method }: Config): 'quadraticSamples' | 'steps' {
  return findMethod(method).settings.includes('quadraticSamples') ? 'quadraticSamples' : 'steps';
}
