// The engine of an identification: an opened one, or what was asked for.
import type { Engine } from '../src/engine/engine.ts';
import { openEngine } from '../src/engine/open-engine.ts';
import { ConfigError } from '../src/errors/errors.ts';
import type { ModelFolder } from '../src/model/folder.ts';
import type { NextPass } from '../src/native/model.ts';
import type { IdentifyOptions } from './options.ts';

/** The opened engine of the options, or a new one.
 * @param options.distillTokens of the longest step to come.  @param options.next what a GPU must hold in addition to the weights.  @throws {ConfigError} a device, backend or threads together with an opened engine; as `openEngine`. */
export async function openChosenEngine(
  folder: ModelFolder,
  options: IdentifyOptions & { readonly distillTokens: number; readonly next: NextPass },
): Promise<Engine> {
  const { engine, device, backend, threads, weightsOn, distillTokens, next, nameOption, onMessage } = options;
  if (typeof engine === 'object') {
    checkOpened(options);
    return engine;
  }
  const onNote = (text: string): void => onMessage?.({ kind: 'note', text: `${text}.` });
  return openEngine(folder, {
    engine,
    device,
    backend,
    threads,
    weightsOn,
    distillTokens,
    next,
    widensBlocks: true,
    nameOption,
    onNote,
  });
}

function checkOpened(options: IdentifyOptions): void {
  for (const name of ['device', 'backend', 'threads', 'weightsOn'] as const) {
    if (options[name] === undefined) continue;
    throw new ConfigError(
      `Expected no \`${name}\` together with an opened engine, which has its own, got \`${options[name]}\`.`,
    );
  }
}
