// mask.json: which KV heads keep the whole context (1) and which keep sinks and recent tokens only (0), with window, gates and provenance.
// Holds no time, path, host or thread count. Choosing the mask is the export room's work; this module reads, checks and writes it.

import { z } from 'zod';
import { makeHeadMask } from '../core/head-mask.ts';
import type { GateGrid, HeadMask, MaskGrid, ModelShape, Window } from '../core/shapes.ts';
import { FormatError } from '../errors/errors.ts';
import { stableJson, writeFileAtomic } from './atomic-file.ts';
import {
  checkGrid,
  checkSchemaName,
  gateRows,
  MAX_GRID_FILE_BYTES,
  MAX_HEADS,
  MAX_LAYERS,
  type ModelTag,
  modelTagSchema,
} from './gates.ts';
import { MAX_WINDOW_TOKENS } from './ladder-effects.ts';
import {
  checked,
  checkJson,
  exactly,
  integerWithin,
  type JsonRecord,
  jsonRecord,
  readJson,
  unitNumber,
} from './read-json.ts';

export const MASK_SCHEMA = 'duo.head-mask';
export const MASK_VERSION = 1;

export { MAX_WINDOW_TOKENS };

export interface MaskFile {
  readonly schema: typeof MASK_SCHEMA;
  readonly version: typeof MASK_VERSION;
  readonly model: ModelTag;
  /** S, tokens, ≥ 0 */
  readonly sink: number;
  /** R, tokens, ≥ 1 */
  readonly recent: number;
  /** share of KV heads asked to stream; null where a threshold was given */
  readonly streamingFraction: number | null;
  /** retrieval iff gate ≥ threshold; null where a fraction was given */
  readonly threshold: number | null;
  /** `[layers][kvHeads]`, 1 = retrieval */
  readonly mask: MaskGrid;
  /** `[layers][kvHeads]`, 0..1: what the mask was cut from */
  readonly gates: GateGrid;
  readonly provenance: JsonRecord;
}

const maskBit = checked<number>((value) => value === 0 || value === 1, '0 or 1');
const unitOrNull = z.union([z.null(), unitNumber], { error: 'a number from 0 to 1 or null' });

const schema: z.ZodType<MaskFile> = z.strictObject({
  schema: exactly(MASK_SCHEMA),
  version: exactly(MASK_VERSION),
  model: modelTagSchema,
  sink: integerWithin(0, MAX_WINDOW_TOKENS),
  recent: integerWithin(1, MAX_WINDOW_TOKENS),
  streamingFraction: unitOrNull,
  threshold: unitOrNull,
  mask: z.array(z.array(maskBit).max(MAX_HEADS)).max(MAX_LAYERS),
  gates: gateRows,
  provenance: jsonRecord,
});

/** Check an unknown value as a mask. @param path named in errors. @throws {FormatError} the first difference. */
export function checkMask(value: unknown, path: string): MaskFile {
  checkSchemaName(value, { expected: MASK_SCHEMA, path });
  const mask = checkJson(schema, { value, path });
  checkGrid(mask.mask, { name: 'mask', model: mask.model, path });
  checkGrid(mask.gates, { name: 'gates', model: mask.model, path });
  if (mask.streamingFraction !== null && mask.threshold !== null) {
    throw new FormatError(
      `Expected \`threshold\` in ${path} to be null where \`streamingFraction\` is given, got \`${mask.threshold}\`.`,
    );
  }
  return mask;
}

/** Read mask.json. @throws {FileError} absent; {FormatError} malformed, with file and place. */
export function readMask(path: string): MaskFile {
  return checkMask(readJson(path, MAX_GRID_FILE_BYTES), path);
}

/** The bytes of mask.json: equal values, equal bytes. @throws {FormatError} the value itself is malformed (NaN, ragged). */
export function formatMask(mask: MaskFile, path = 'mask.json'): string {
  return stableJson(checkMask(mask, path));
}

/** Write mask.json whole or not at all. @throws {FormatError} malformed value; {FileError}. */
export function writeMask(path: string, mask: MaskFile): void {
  writeFileAtomic(path, formatMask(mask, path));
}

/** The window a mask was made for. */
export function windowOfMask(mask: MaskFile): Window {
  return { sinkTokens: mask.sink, recentTokens: mask.recent };
}

/** A mask file as engines and the runtime take it. */
export function toHeadMask(mask: MaskFile): HeadMask {
  return makeHeadMask(mask.mask, windowOfMask(mask));
}

/** Refuse a mask made for another model (DESIGN, Model folders).
 * @param model shape and fingerprints of the model at hand, of which either may be the mask's; a null fingerprint on either side leaves the shapes to decide.
 * @param allowOther accept another fingerprint where the shapes agree.
 * @throws {FormatError} shapes or fingerprints differ; names both. */
export function checkMaskFits(
  mask: MaskFile,
  model: { shape: ModelShape; fingerprint: string | null; olderFingerprint?: string | null },
  options: { path: string; allowOther?: boolean },
): void {
  for (const key of ['layers', 'heads', 'kvHeads', 'headDim'] as const) {
    if (mask.model[key] !== model.shape[key]) {
      throw new FormatError(
        `Expected \`model.${key}\` in ${options.path} to be the model's \`${model.shape[key]}\`, got \`${mask.model[key]}\`; the mask belongs to a model of another shape.`,
      );
    }
  }
  if (options.allowOther || mask.model.fingerprint === null || model.fingerprint === null) return;
  if (mask.model.fingerprint !== model.fingerprint && mask.model.fingerprint !== (model.olderFingerprint ?? null)) {
    throw new FormatError(
      `Expected \`model.fingerprint\` in ${options.path} to be the model's \`${model.fingerprint}\`, got \`${mask.model.fingerprint}\`; pass --allow-other-model to use the mask of another model of the same shape.`,
    );
  }
}
