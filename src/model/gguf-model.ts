// A GGUF file, or the parts of a split one (name-00001-of-00003.gguf), as a model: head, config, weights, name, fingerprint.
import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { FormatError, ModelError } from '../errors/errors.ts';
import { type GgufHead, readGgufHead } from '../formats/gguf.ts';
import type { ModelConfig } from './config.ts';
import { GgufFields, parseGgufConfig } from './gguf-config.ts';
import { ROPE_FACTORS } from './gguf-names.ts';
import { openGgufWeights } from './gguf-weights.ts';
import type { WeightStore } from './weights.ts';

const SPLIT = /^(?<stem>.+)-(?<part>\d{5})-of-(?<count>\d{5})\.gguf$/i;

/** The parts of a split model in order, given any of them; the path alone where its name is not that of a part. @throws {ModelError} a part is missing. */
export function listGgufFiles(path: string): string[] {
  const found = SPLIT.exec(basename(path))?.groups;
  if (found === undefined) return [path];
  const count = Number(found.count);
  const files = Array.from({ length: count }, (_, index) =>
    join(dirname(path), `${found.stem}-${String(index + 1).padStart(5, '0')}-of-${found.count}.gguf`),
  );
  const missing = files.filter((file) => !existsSync(file));
  if (count === 0 || missing.length > 0) {
    throw new ModelError(
      `Expected ${count} parts next to ${path}, found no ${missing[0] ?? path} (${missing.length} missing); download the missing files.`,
    );
  }
  return files;
}

/** The file's name without its ending and its part number. */
export function nameGgufModel(path: string): string {
  const name = basename(path);
  return SPLIT.exec(name)?.groups?.stem ?? name.replace(/\.gguf$/i, '');
}

/** Open a GGUF model; tensors' values are not read yet, except `rope_freqs.weight`.
 * @throws {ModelError} a part is missing, an architecture, tensor or type that duo does not compute; {FormatError} a malformed file; {FileError}. */
export function openGgufModel(path: string): { config: ModelConfig; weights: WeightStore } {
  const files = listGgufFiles(path);
  const heads = files.map(readGgufHead);
  heads.forEach((head, index) => {
    checkPart(head, { index, count: files.length });
  });
  const head = heads[0]!;
  const fields = new GgufFields(head);
  const headDim = fields.ownCount(
    'attention.key_length',
    fields.ownCount('embedding_length') / fields.ownCount('attention.head_count'),
  );
  const weights = openGgufWeights(heads, { architecture: fields.architecture, headDim });
  try {
    const shapeOf = (name: string): readonly number[] | null => (weights.has(name) ? weights.info(name).shape : null);
    const ropeFactors = weights.has(ROPE_FACTORS) ? weights.readF32(ROPE_FACTORS) : null;
    return { config: parseGgufConfig(head, { shapeOf, ropeFactors }), weights };
  } catch (cause) {
    weights.close();
    throw cause;
  }
}

/** The parts say themselves which they are. */
function checkPart(head: GgufHead, place: { index: number; count: number }): void {
  const { index, count } = place;
  const number = head.metadata.get('split.no') ?? 0;
  const parts = head.metadata.get('split.count') ?? 1;
  // A file that says 0 parts was never split.
  if (number === index && (parts === count || (parts === 0 && count === 1))) return;
  const cure = count === 1 ? 'give its parts their names name-00001-of-0000n.gguf again' : 'download the parts again';
  throw new FormatError(
    `Expected ${head.path} to be part ${index + 1} of ${count}, got part ${Number(number) + 1} of ${String(parts)}; ${cure}.`,
  );
}
