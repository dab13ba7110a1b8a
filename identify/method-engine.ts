// The engine of an identification: an opened one, or what was asked for, as far as the method runs on it.

import type { Engine } from '../src/engine/engine.ts';
import { type EngineChoice, openEngine } from '../src/engine/open-engine.ts';
import { ConfigError } from '../src/errors/errors.ts';
import type { ModelFolder } from '../src/model/folder.ts';
import type { HeadMethod } from '../train/methods/method.ts';
import type { IdentifyOptions } from './options.ts';

/** The opened engine of the options, or a new one.
 * @param options.distillTokens of the longest step to come.  @throws {ConfigError} it is asked for an engine that the method cannot run on; as `openEngine`. */
export async function openMethodEngine(
  folder: ModelFolder,
  options: IdentifyOptions & { readonly method: HeadMethod; readonly distillTokens: number },
): Promise<Engine> {
  const { engine, device, backend, threads, method, distillTokens, nameOption, onMessage } = options;
  if (typeof engine === 'object') {
    checkOpened(engine, options);
    return engine;
  }
  const onNote = (text: string): void => onMessage?.({ kind: 'note', text: `${text}.` });
  const asked: EngineChoice = { engine, device, backend, threads };
  const chosen = chooseForMethod(asked, { method, nameOption, onNote });
  return openEngine(folder, { ...chosen, distillTokens, nameOption, onNote });
}

function checkOpened(engine: Engine, options: IdentifyOptions & { readonly method: HeadMethod }): void {
  const { method } = options;
  for (const name of ['device', 'backend', 'threads'] as const) {
    if (options[name] === undefined) continue;
    throw new ConfigError(
      `Expected no \`${name}\` beside an opened engine, which has its own, got \`${options[name]}\`.`,
    );
  }
  if (method.onlyEngine !== undefined && method.onlyEngine !== engine.name) {
    throw new ConfigError(
      `Expected the ${method.onlyEngine} engine for method ${method.name}, which no other engine can run, got ${engine.name}.`,
    );
  }
}

/** The choice with what the method asks for. @throws {ConfigError} an engine it cannot run on was asked for. */
function chooseForMethod(
  asked: EngineChoice,
  options: { method: HeadMethod; nameOption: IdentifyOptions['nameOption']; onNote: (note: string) => void },
): EngineChoice {
  const { method, onNote, nameOption: named = (name) => `\`${name}\`` } = options;
  const { name, onlyEngine } = method;
  if (onlyEngine === undefined || onlyEngine === asked.engine) return asked;
  const other = (['engine', 'device', 'threads', 'backend'] as const).find((key) => asked[key] !== undefined);
  if (other !== undefined && other !== 'backend') {
    throw new ConfigError(
      `Expected ${named('engine')} ${onlyEngine} for ${named('method')} ${name}, which no other engine can run, got ${named(other)} \`${asked[other]}\`.`,
    );
  }
  if (other === undefined) {
    onNote(`the ${onlyEngine} engine computes, because ${named('method')} ${name} runs on no other`);
  }
  return { ...asked, engine: onlyEngine };
}
