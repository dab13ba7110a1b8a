// Chooses the distance that an identification measures by, from what was asked for and what method and engine support.
import type { Config } from '../src/config/config.ts';
import type { Engine } from '../src/engine/engine.ts';
import { requireKl } from '../train/distance.ts';
import type { HeadMethod } from '../train/methods/method.ts';
import type { IdentifyOptions } from './options.ts';

/** The resulting distance: as asked, except that `auto` becomes `hidden` with an engine that has no KL divergences; a message says so where
 * long-range samples would have been measured by them.
 * @throws {ConfigError} `kl` was asked of an engine that does not have it. */
export function settleDistance(
  { distance, objective }: Pick<Config, 'distance' | 'objective'>,
  options: {
    readonly method: HeadMethod;
    readonly engine: Engine;
    readonly onMessage: IdentifyOptions['onMessage'];
  },
): Config['distance'] {
  const { method, engine, onMessage } = options;
  if (!method.settings.includes('distance')) return distance;
  if (engine.klMetric || distance === 'hidden') return distance;
  if (distance === 'kl') requireKl(engine);
  if (objective !== 'passkey') {
    const text = `long-range samples are measured by hidden states, because engine ${engine.name} has no KL divergences.`;
    onMessage?.({ kind: 'note', text });
  }
  return 'hidden';
}
