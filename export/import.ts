// Turns a published pattern folder (full_attention_heads.tsv and config.json) into gates in duo's form, checked against a model's shape.
import { join } from 'node:path';
import type { ModelShape, Window } from '../src/core/shapes.ts';
import { FormatError } from '../src/errors/errors.ts';
import { GATES_SCHEMA, GATES_VERSION, type GatesFile, tagModel } from '../src/formats/gates.ts';
import type { JsonRecord } from '../src/formats/read-json.ts';
import { readReferenceConfig } from './reference-config.ts';
import { clipGates, readTsv } from './tsv.ts';

export const PATTERN_FILE = 'full_attention_heads.tsv';
export const PATTERN_CONFIG = 'config.json';

export interface ImportedPattern {
  readonly gates: GatesFile;
  readonly window: Window;
  /** share of heads that stream, where the folder states one */
  readonly sparsity: number | null;
  /** values outside [0,1] in the file, clipped on the way in */
  readonly clipped: number;
}

/** Read a pattern folder.
 * @param model the shape that the rows and columns must have, from the model's config.json.
 * @param fingerprint of the model's weights, null where only config.json is at hand.
 * @throws {FileError} a file is absent; {FormatError} malformed, or another shape than the model's (both are named). */
export function importPattern(options: {
  folder: string;
  model: ModelShape;
  fingerprint: string | null;
  provenance: JsonRecord;
}): ImportedPattern {
  const { folder, model, fingerprint, provenance } = options;
  const path = join(folder, PATTERN_FILE);
  const raw = readTsv(path);
  const columns = raw[0]?.length ?? 0;
  if (raw.length !== model.layers || columns !== model.kvHeads) {
    throw new FormatError(
      `Expected ${path} to have the model's ${model.layers} layers × ${model.kvHeads} KV heads, got \`${raw.length} × ${columns}\`; the pattern belongs to another model.`,
    );
  }
  const { window, sparsity } = readReferenceConfig(join(folder, PATTERN_CONFIG));
  const gates: GatesFile = {
    schema: GATES_SCHEMA,
    version: GATES_VERSION,
    model: tagModel(model, fingerprint),
    gates: clipGates(raw),
    provenance: { ...provenance, method: 'import', sink: window.sinkTokens, recent: window.recentTokens },
  };
  return { gates, window, sparsity, clipped: raw.flat().filter((gate) => gate < 0 || gate > 1).length };
}
