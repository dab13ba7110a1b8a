// Opens what `--model` names: the demo's folder, a model folder, a GGUF file, or a name on the Hub, which is fetched first.
import { existsSync } from 'node:fs';
import { findDemoFolder, isDemoName } from '../core/package.ts';
import type { HubNeed } from '../hub/choose-files.ts';
import { parseHubName } from '../hub/hub-name.ts';
import { type ModelFolder, openModelFolder } from './folder.ts';

export interface OpenModelOptions {
  /** `optional`: config.json alone is enough; default `required` */
  readonly weights?: 'required' | 'optional';
  /** of a Hub name: what is fetched; default all with weights, the tokenizer without */
  readonly need?: HubNeed;
  /** stops a fetch; the next one continues where it was */
  readonly signal?: AbortSignal;
  /** before a fetch: what is fetched, and where to */
  readonly onFetch?: (fetch: { bytes: number; repository: string; folder: string }) => void;
  /** bytes fetched and in all */
  readonly onProgress?: (done: number, total: number) => void;
  /** what the model's files say and duo ignores, what a fetch had to repeat; a clause without a full stop */
  readonly onNote?: (note: string) => void;
}

/** True for the model that ships with duo, however it was named. */
export function isDemoModel(folder: ModelFolder): boolean {
  return isDemoName(folder.path);
}

/** Open `demo`, a folder, a GGUF file, or a name on the Hub (org/name[@revision][:quantisation]), tried in this order; a Hub name is
 * fetched into the cache of the Python tools where it is not there whole.
 * @throws {ModelError} nothing there, or not a model that duo computes; {FormatError}; {FileError} a broken transfer, a full disk. */
export async function openModel(name: string, options: OpenModelOptions = {}): Promise<ModelFolder> {
  const { weights = 'required', need, signal, onFetch, onProgress, onNote } = options;
  const tellNotes = (folder: ModelFolder): ModelFolder => {
    for (const note of folder.config.notes) onNote?.(note);
    return folder;
  };
  if (name === 'demo') return openModelFolder(findDemoFolder(), { weights });
  const hubName = existsSync(name) ? null : parseHubName(name);
  if (hubName === null) return tellNotes(openModelFolder(name, { weights }));
  // The Hub's client is loaded only where a name is one.
  const { fetchModel } = await import('../hub/fetch-model.ts');
  const fetched = await fetchModel(hubName, {
    need: need ?? (weights === 'required' ? 'weights' : 'tokenizer'),
    ...(signal && { signal }),
    onFetch: ({ bytes, folder }) => onFetch?.({ bytes, folder, repository: hubName.repository }),
    onProgress: (done, total) => onProgress?.(done, total),
    onNote: (note) => onNote?.(note.replace(/\.$/, '')),
  });
  return tellNotes({ ...openModelFolder(fetched.path, { weights }), name: fetched.name });
}
