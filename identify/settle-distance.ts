// Which distance an identification measures by, of what was asked for and what method and engine can.
import type { Config } from '../src/config/config.ts';
import type { Engine } from '../src/engine/engine.ts';
import { ConfigError } from '../src/errors/errors.ts';
import { requireKl } from '../train/distance.ts';
import type { HeadMethod } from '../train/methods/method.ts';
import type { IdentifyOptions } from './options.ts';

/** The distance in force: as asked, but that `auto` is hidden with an engine that has no KL divergences, said where long-range samples would be
 * measured by them.
 * @param options.given keys the person set. @throws {ConfigError} KL of an engine without, or any distance for a method that measures none. */
export function settleDistance(
  { distance, objective }: Pick<Config, 'distance' | 'objective'>,
  options: {
    readonly given: ReadonlySet<string>;
    readonly method: HeadMethod;
    readonly engine: Engine;
    readonly onMessage: IdentifyOptions['onMessage'];
  },
): Config['distance'] {
  const { given, method, engine, onMessage } = options;
  if (!method.measuresDistance) {
    if (!given.has('distance')) return distance;
    throw new ConfigError(
      `Expected no \`distance\` for method ${method.name}, which measures none, got \`${distance}\`; leave it out.`,
    );
  }
  if (engine.klMetric || distance === 'hidden') return distance;
  if (distance === 'kl') requireKl(engine);
  if (objective !== 'passkey') {
    const text = `long-range samples are measured by hidden states, because engine ${engine.name} has no KL divergences.`;
    onMessage?.({ kind: 'note', text });
  }
  return 'hidden';
}
