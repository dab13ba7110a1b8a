// The ladder of windows that an identification measures: what it requires of the other settings, and its default rungs.
import type { WindowRule } from '../core/window-rule.ts';
import { ConfigError } from '../errors/errors.ts';
import { MAX_LADDER_OPTIONS, MAX_LADDER_WINDOWS } from '../formats/ladder-effects.ts';
import type { Config } from './config.ts';

/** A window wider than this share of a sample hides little of it, so that little is measured. */
const LARGEST_SHARE = 1 / 4;

/** The settings with what a ladder needs: method `quadratic`, the only one that measures a ladder; and, for a cut by KV share or by a promise, the ladder itself,
 * with a single window if the person gave a window by its size. Unless the person set a minimum length, all its samples have the maximum length: a window that
 * covers a whole shorter sample hides nothing there and would look harmless. Windows proportional to the length avoid this, so samples of every length can be used.
 * @param options.given keys the person set, as `resolveConfig` takes them.  @param options.nameKey how errors name a key.
 * @throws {ConfigError} the person asked for another method, or set a key that has no ladder or promise to act on. */
export function fitLadder(
  config: Config,
  options: { given: ReadonlySet<string>; nameKey: (key: string) => string },
): Config {
  const { given, nameKey } = options;
  const fitted = chooseLadder(config, options);
  const ofLadder = (['windowRule', 'ladderVectors'] as const).find((key) => given.has(key));
  const idle =
    ofLadder !== undefined && fitted.windows === null
      ? ([ofLadder, 'windows'] as const)
      : given.has('keepOf') && fitted.keep === null
        ? (['keepOf', 'keep'] as const)
        : null;
  if (idle === null) return fitted;
  throw new ConfigError(
    `Expected \`${nameKey(idle[1])}\` together with \`${nameKey(idle[0])}\`, which does nothing without it, got none.`,
  );
}

function chooseLadder(
  config: Config,
  { given, nameKey }: { given: ReadonlySet<string>; nameKey: (key: string) => string },
): Config {
  const isOtherMethod = config.method !== 'quadratic' && given.has('method');
  const isOneWindow = given.has('recent') || given.has('recentTokens');
  // A promise can also be kept with one window, by any method; windows differ by head unless another setting excludes that.
  if (config.keep !== null && config.windows === null && (isOtherMethod || isOneWindow)) return config;
  const asking = (['windows', 'kvShare', 'keep'] as const).find((key) => config[key] !== null);
  if (asking === undefined) return config;
  if (isOtherMethod) {
    throw new ConfigError(
      `Expected \`${nameKey('method')}\` to be quadratic together with \`${nameKey(asking)}\`, because no other measures windows, got \`${config.method}\`.`,
    );
  }
  const windows = config.windows ?? (isOneWindow ? [config.recentTokens] : 'auto');
  const serveAll = given.has('minTokens') || config.windowRule === 'proportional';
  const minTokens = serveAll ? config.minTokens : config.maxTokens;
  return { ...config, method: 'quadratic', windows, minTokens };
}

/** Rungs of the settings' ladder, ascending; none where they have none.
 * @param options.longestTokens of the samples that are measured.  @param options.heads N, KV heads of the model. */
export function resolveWindows(
  { windows, recentTokens }: Pick<Config, 'windows' | 'recentTokens'>,
  options: { longestTokens: number; heads: number },
): number[] {
  if (windows === null) return [];
  return windows === 'auto' ? listRungs({ ...options, recentTokens }) : [...windows];
}

/** The rule that the settings' windows follow; null = the same windows in every sample. */
export function resolveWindowRule(
  { windows, windowRule }: Pick<Config, 'windows' | 'windowRule'>,
  longestTokens: number,
): WindowRule | null {
  return windows !== null && windowRule === 'proportional' ? { name: 'proportional', namedAt: longestTokens } : null;
}

/** recentTokens times powers of two up to a quarter of the longest sample, at least itself; of four, eight … where the model has so many heads
 * that the matrix of all pairs would not fit its file. */
function listRungs(options: { recentTokens: number; longestTokens: number; heads: number }): number[] {
  const { recentTokens, longestTokens, heads } = options;
  const most = Math.max(1, Math.min(MAX_LADDER_WINDOWS, Math.floor(MAX_LADDER_OPTIONS / heads)));
  for (let factor = 2; ; factor *= 2) {
    const rungs = [recentTokens];
    for (let next = recentTokens * factor; next <= LARGEST_SHARE * longestTokens; next *= factor) rungs.push(next);
    if (rungs.length <= most) return rungs;
  }
}
