// Several devices for one identification: `cuda:0,cuda:1`. The first computes everything; the others, of the same kind, share the samples of the
// quadratic method's measurements, with the same bytes as a result.
import type { Engine } from '../src/engine/engine.ts';
import { openEngine } from '../src/engine/open-engine.ts';
import { ConfigError } from '../src/errors/errors.ts';
import type { ModelFolder } from '../src/model/folder.ts';
import type { NextPass } from '../src/native/model.ts';
import type { HeadMethod } from '../train/methods/method.ts';
import type { IdentifyOptions } from './options.ts';

const nameInBackticks = (name: string): string => `\`${name}\``;

/** The devices that `device` names, the first of them apart.
 * @throws {ConfigError} several that are not different CUDA devices, or for a method that cannot share its work. */
export function splitDevices(
  device: string | undefined,
  options: { method: HeadMethod; nameOption?: IdentifyOptions['nameOption'] },
): { device: string | undefined; helpers: readonly string[] } {
  const { method, nameOption: named = nameInBackticks } = options;
  const [first, ...helpers] = device?.split(',') ?? [];
  if (helpers.length === 0) return { device, helpers };
  const all = [first as string, ...helpers];
  if (!all.every((name) => /^cuda:\d+$/.test(name)) || new Set(all).size < all.length) {
    throw new ConfigError(
      `Expected ${named('device')} to be one device, or different CUDA devices such as cuda:0,cuda:1, got \`${device}\`.`,
    );
  }
  if (!method.sharesSamples) {
    throw new ConfigError(
      `Expected ${named('device')} to be one device for method ${method.name}, which cannot share its samples, got \`${device}\`.`,
    );
  }
  return { device: first, helpers };
}

/** Open the other devices, one after another, as each reads all weights; each that streams them has its own copy in pinned host memory.
 * @param options.engine the first.  @throws {ConfigError} one is of another kind; as `openEngine`. */
export async function openHelperEngines(
  folder: ModelFolder,
  options: {
    readonly helpers: readonly string[];
    readonly engine: Engine;
    readonly next: NextPass;
    readonly weightsOn?: IdentifyOptions['weightsOn'];
    readonly nameOption?: IdentifyOptions['nameOption'];
  },
): Promise<Engine[]> {
  const { helpers, engine, next, weightsOn, nameOption: named = nameInBackticks } = options;
  const opened: Engine[] = [];
  try {
    for (const device of helpers) {
      const helper = await openEngine(folder, { engine: 'native', device, widensBlocks: true, weightsOn, next });
      opened.push(helper);
      const [kind, own] = [helper, engine].map((each) => each.device.replace(/^\S+ /, ''));
      if (kind === own) continue;
      throw new ConfigError(
        `Expected the devices of ${named('device')} to be of one kind, so that the result does not depend on them, got \`${engine.device}\` and \`${helper.device}\`.`,
      );
    }
    return opened;
  } catch (error) {
    for (const helper of opened) await helper.close();
    throw error;
  }
}
