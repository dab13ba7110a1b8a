// From the path that a person gives to the folder that holds config.json: the Hub's cache keeps it under snapshots/<commit>.
// What is no model folder is refused with what to do instead.
import { existsSync, readdirSync, readFileSync, type Stats, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { ModelError } from '../errors/errors.ts';
import { ADAPTER_FILE, adapterError } from '../formats/adapter.ts';
import { fileErrorOf } from '../formats/file-errors.ts';

const CACHE_FOLDER = /^models--(?:.+--)?(?<name>.+?)$/;

/** @returns the folder that holds the model's files, and its name: the last part of the path, or of the repository's name.
 * @throws {ModelError} no folder, a hub name, a LoRA adapter, a cache without a snapshot to choose; {FileError} not readable. */
export function locateModelFolder(given: string): { path: string; name: string } {
  refuseOtherPaths(given);
  const path = findSnapshot(given) ?? given;
  refuseAdapter(path);
  const parts = resolve(path).split(/[/\\]/);
  const repository = parts.at(-2) === 'snapshots' ? CACHE_FOLDER.exec(parts.at(-3) ?? '')?.groups?.name : undefined;
  return { path, name: repository ?? basename(resolve(path)) };
}

function refuseOtherPaths(path: string): void {
  let stats: Stats | undefined;
  try {
    stats = statSync(path, { throwIfNoEntry: false });
  } catch {
    // A part of the path is a file, or may not be entered: as good as absent.
  }
  if (stats?.isDirectory()) {
    try {
      readdirSync(path);
    } catch (cause) {
      throw fileErrorOf('read', path, cause);
    }
    return;
  }
  if (stats !== undefined) {
    throw new ModelError(
      `Expected a model folder or a GGUF file, got the file ${path}; pass the folder that holds config.json.`,
    );
  }
  if (/^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/.test(path)) {
    throw new ModelError(
      `Expected a model folder, got \`${path}\`, which looks like a name on the Hugging Face hub: download it first, for example with \`hf download ${path} --local-dir ${basename(path)}\`, and pass that folder.`,
    );
  }
  throw new ModelError(`Expected a model folder at ${path}, found nothing there; check the path.`);
}

/** Words for the end of an error where a folder holds no config.json, without full stop. */
export function adviseOnFolder(path: string): string {
  const names = readdirSync(path).sort();
  const inner = names.find((name) => existsSync(join(path, name, 'config.json')));
  const cached = names.find((name) => name.startsWith('models--'));
  if (existsSync(join(path, 'params.json'))) {
    return "params.json is its maker's own form: pass the model in the form that transformers reads";
  }
  if (inner !== undefined) return `pass the folder inside that has one, ${join(path, inner)}`;
  if (cached !== undefined) return `it is the Hub's cache: pass one of its models, for example ${join(path, cached)}`;
  return 'pass a Hugging Face model folder as downloaded';
}

/** The snapshot that `main` means in a folder of the Hub's cache (or in its snapshots/), or its only one; null for another folder. */
function findSnapshot(given: string): string | null {
  const path = basename(resolve(given)) === 'snapshots' ? dirname(resolve(given)) : given;
  const folder = join(path, 'snapshots');
  const isCache = basename(resolve(path)).startsWith('models--') || existsSync(join(path, 'refs'));
  const hasSnapshots = statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
  if (existsSync(join(given, 'config.json')) || !isCache || !hasSnapshots) return null;
  const snapshots = readdirSync(folder).sort();
  const ref = join(path, 'refs', 'main');
  const commit = existsSync(ref) ? readFileSync(ref, 'utf8').trim() : snapshots.length === 1 ? snapshots[0]! : '';
  if (snapshots.includes(commit)) return join(folder, commit);
  const found = snapshots.length === 0 ? 'none' : snapshots.join(', ');
  throw new ModelError(
    `Expected the snapshot of \`main\` in ${folder}, a folder of the Hub's cache, found ${found}; ${snapshots.length === 0 ? 'download the model again' : 'pass the one to be used'}.`,
  );
}

/** The base model of an adapter is a different model: a mask of one does not fit the other. */
function refuseAdapter(path: string): void {
  if (!existsSync(join(path, ADAPTER_FILE))) return;
  const isAlone = !existsSync(join(path, 'config.json'));
  throw adapterError(join(path, ADAPTER_FILE), { place: path, isAlone });
}
