// Which files of a repository a command needs, and no others: never PyTorch, ONNX or other copies of the same weights.
import { ModelError } from '../errors/errors.ts';

/** A file of a repository as the Hub lists it. */
export interface HubFile {
  readonly path: string;
  /** bytes */
  readonly size: number;
  /** name of its blob in the cache, and the hash of its bytes: SHA-256 where `isLarge` (LFS), else git's SHA-1 of the blob */
  readonly etag: string;
  readonly isLarge: boolean;
}

/** How much of a model is wanted: `config` for inspect, `tokenizer` where no weights are read, `weights` for all. */
export type HubNeed = 'config' | 'tokenizer' | 'weights';

export const INDEX_FILE = 'model.safetensors.index.json';
const TOKENIZER_FILES = [
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  'chat_template.json',
];
const EXTRA_TEMPLATES = /^additional_chat_templates\/[^/]+\.jinja$/;

/** Files of a safetensors model that do not depend on its index. */
export function chooseTextFiles(files: readonly HubFile[], need: HubNeed): HubFile[] {
  const names = new Set(['config.json', ...(need === 'config' ? [] : TOKENIZER_FILES)]);
  const isWanted = ({ path }: HubFile): boolean => names.has(path) || (need !== 'config' && EXTRA_TEMPLATES.test(path));
  return files.filter(isWanted);
}

/** Weight files. @param shards file names of the index's weight_map; null where the repository has no index.
 * @throws {ModelError} none, or one that the index names is absent. */
export function chooseShards(
  files: readonly HubFile[],
  shards: readonly string[] | null,
  repository: string,
): HubFile[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  if (shards !== null) {
    return [...new Set(shards)].sort().map((shard) => {
      const file = byPath.get(shard);
      if (file) return file;
      throw new ModelError(
        `Expected ${shard}, which ${INDEX_FILE} of ${repository} names, in the repository, found none; report it to its owner, or name another revision.`,
      );
    });
  }
  const single = byPath.get('model.safetensors');
  if (single) return [single];
  const others = files.filter(
    ({ path }) => /^[^/]+\.safetensors$/.test(path) && !path.startsWith('consolidated') && !path.startsWith('adapter'),
  );
  if (others.length > 0) return others;
  throw noWeights(files, repository);
}

function noWeights(files: readonly HubFile[], repository: string): ModelError {
  const quantisations = listQuantisations(files);
  const pickle = files.find(({ path }) => /^[^/]+\.(?:bin|pth|pt)$/.test(path));
  const cure =
    quantisations.length > 0
      ? `it has GGUF files: name one, as ${repository}:${quantisations[0]} (${quantisations.join(', ')})`
      : pickle
        ? `it has PyTorch files (${pickle.path}), which duo does not read: convert the model to safetensors`
        : 'name another model';
  return new ModelError(`Expected *.safetensors weights in ${repository}, found none; ${cure}.`);
}

const SPLIT = /-(\d{5})-of-(\d{5})\.gguf$/i;
const isModelFile = (path: string): boolean => /\.gguf$/i.test(path) && !/(?:^|\/)mmproj/i.test(path);

/** The GGUF file of a quantisation, all parts of a split one in order. Upper and lower case are the same.
 * @throws {ModelError} none, or several; names what there is. */
export function chooseGguf(files: readonly HubFile[], quantisation: string, repository: string): HubFile[] {
  const escaped = quantisation.replace(/[.\\^$*+?()[\]{}|]/g, '\\$&');
  const pattern = new RegExp(`(?:^|[-._/])${escaped}(?:-\\d{5}-of-\\d{5})?\\.gguf$`, 'i');
  const found = files
    .filter(({ path }) => isModelFile(path) && pattern.test(path))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
  const models = new Set(found.map(({ path }) => path.replace(SPLIT, '')));
  if (models.size === 1) {
    const parts = SPLIT.exec((found[0] as HubFile).path);
    const expected = parts ? Number(parts[2]) : 1;
    if (found.length === expected) return found;
    throw new ModelError(
      `Expected all ${expected} parts of ${quantisation} in ${repository}, found ${found.length}; report it to its owner, or name another file.`,
    );
  }
  if (models.size > 1) {
    throw new ModelError(
      `Expected one GGUF file of ${quantisation} in ${repository}, found ${found.map(({ path }) => path).join(', ')}; download one and pass its path.`,
    );
  }
  const there = listQuantisations(files);
  throw new ModelError(
    `Expected a GGUF file of ${quantisation} in ${repository}, found ${there.length > 0 ? `${there.join(', ')}; name one of those` : 'no GGUF files; leave out the colon and what follows it'}.`,
  );
}

function listQuantisations(files: readonly HubFile[]): string[] {
  const names = files.flatMap(({ path }) => {
    if (!isModelFile(path)) return [];
    const stem = path.replace(SPLIT, '').replace(/\.gguf$/i, '');
    return [/[-._/]((?:[A-Za-z]+-)?(?:I?Q\d\w*|B?F16|F32|TQ\d\w*|MXFP4\w*))$/i.exec(stem)?.[1] ?? stem];
  });
  return [...new Set(names)].sort();
}
