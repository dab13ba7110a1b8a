// mask.json: how much of the context each KV head keeps, with gates and provenance. Version 1: the whole (1) or sinks and recent tokens of
// one window (0), a form that other tools read. Version 2: a window per head. Each is written where it suffices, both are read for ever.
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
import { checkAscending, MAX_LADDER_WINDOWS, MAX_WINDOW_TOKENS } from './ladder-effects.ts';
import {
  checked,
  checkJson,
  exactly,
  finiteNumber,
  formatFound,
  integerWithin,
  type JsonRecord,
  jsonRecord,
  readJson,
  unitNumber,
} from './read-json.ts';

export const MASK_SCHEMA = 'duo.head-mask';
export const MASK_VERSION = 1;
export const WINDOWS_VERSION = 2;

export { MAX_WINDOW_TOKENS };

/** Version 1: all streaming heads have one window. */
export interface BinaryMaskFile {
  readonly schema: typeof MASK_SCHEMA;
  readonly version: typeof MASK_VERSION;
  readonly model: ModelTag;
  /** S, tokens, ≥ 0 */
  readonly sink: number;
  /** R, tokens, ≥ 1 */
  readonly recent: number;
  /** share of KV heads asked to stream; null where something else was asked */
  readonly streamingFraction: number | null;
  /** retrieval iff gate ≥ threshold; null where something else was asked */
  readonly threshold: number | null;
  /** `[layers][kvHeads]`, 1 = retrieval */
  readonly mask: MaskGrid;
  /** `[layers][kvHeads]`, 0..1: what the mask was cut from, unless there are `ranks` */
  readonly gates: GateGrid;
  /** `[layers][kvHeads]`, 0..1: the order in which heads close, lower first, where the mask was cut by that and not by gates */
  readonly ranks?: GateGrid | undefined;
  readonly provenance: JsonRecord;
}

/** Version 2: each head has a window of its own. */
export interface WindowsMaskFile {
  readonly schema: typeof MASK_SCHEMA;
  readonly version: typeof WINDOWS_VERSION;
  readonly model: ModelTag;
  /** S, tokens, ≥ 0; of all heads */
  readonly sink: number;
  /** `[layers][kvHeads]`: null = the whole context, w = the w nearest tokens, the query's own included; one of `ladder` */
  readonly windows: readonly (readonly (number | null)[])[];
  /** the windows to choose from, tokens, strictly ascending */
  readonly ladder: readonly number[];
  /** the budget, entries under the mask over those of a full cache of `atTokens` tokens, 0..1; null where none was asked */
  readonly kvShare: number | null;
  /** context length of the budget, tokens; null with `kvShare` */
  readonly atTokens: number | null;
  /** loss by the measured effects, in their units; null where none were at hand */
  readonly predictedLoss: number | null;
  /** what no mask of that budget falls below, by the same effects; null where it was not computed */
  readonly lossBound: number | null;
  /** `[layers][kvHeads]`, 0..1: the gates of the same measurement; the windows were not cut from them */
  readonly gates: GateGrid;
  readonly provenance: JsonRecord;
}

export type MaskFile = BinaryMaskFile | WindowsMaskFile;

const maskBit = checked<number>((value) => value === 0 || value === 1, '0 or 1');
const unitOrNull = z.union([z.null(), unitNumber], { error: 'a number from 0 to 1 or null' });
const finiteOrNull = z.union([z.null(), finiteNumber], { error: 'a finite number or null' });
const tokens = integerWithin(1, MAX_WINDOW_TOKENS);
const tokensOrNull = z.union([z.null(), tokens], { error: `an integer from 1 to ${MAX_WINDOW_TOKENS} or null` });

const binarySchema: z.ZodType<BinaryMaskFile> = z.strictObject({
  schema: exactly(MASK_SCHEMA),
  version: exactly(MASK_VERSION),
  model: modelTagSchema,
  sink: integerWithin(0, MAX_WINDOW_TOKENS),
  recent: tokens,
  streamingFraction: unitOrNull,
  threshold: unitOrNull,
  mask: z.array(z.array(maskBit).max(MAX_HEADS)).max(MAX_LAYERS),
  gates: gateRows,
  ranks: gateRows.optional(),
  provenance: jsonRecord,
});

const windowsSchema: z.ZodType<WindowsMaskFile> = z.strictObject({
  schema: exactly(MASK_SCHEMA),
  version: exactly(WINDOWS_VERSION),
  model: modelTagSchema,
  sink: integerWithin(0, MAX_WINDOW_TOKENS),
  windows: z.array(z.array(tokensOrNull).max(MAX_HEADS)).max(MAX_LAYERS),
  ladder: z.array(tokens).min(1).max(MAX_LADDER_WINDOWS),
  kvShare: unitOrNull,
  atTokens: tokensOrNull,
  predictedLoss: finiteOrNull,
  lossBound: finiteOrNull,
  gates: gateRows,
  provenance: jsonRecord,
});

/** Check an unknown value as a mask. @param path named in errors. @throws {FormatError} the first difference. */
export function checkMask(value: unknown, path: string): MaskFile {
  checkSchemaName(value, { expected: MASK_SCHEMA, path });
  const version = (value as { version?: unknown } | null)?.version;
  if (version === WINDOWS_VERSION) return checkWindowsMask(value, path);
  if (version !== undefined && version !== MASK_VERSION) {
    throw new FormatError(
      `Expected \`version\` in ${path} to be \`1\` or \`2\`, got \`${formatFound(version)}\`; a newer duo may read it.`,
    );
  }
  const mask = checkJson(binarySchema, { value, path });
  checkGrid(mask.mask, { name: 'mask', model: mask.model, path });
  checkGrid(mask.gates, { name: 'gates', model: mask.model, path });
  if (mask.ranks) checkGrid(mask.ranks, { name: 'ranks', model: mask.model, path });
  if (mask.streamingFraction !== null && mask.threshold !== null) {
    throw new FormatError(
      `Expected \`threshold\` in ${path} to be null where \`streamingFraction\` is given, got \`${mask.threshold}\`.`,
    );
  }
  return mask;
}

function checkWindowsMask(value: unknown, path: string): WindowsMaskFile {
  const mask = checkJson(windowsSchema, { value, path });
  const { windows, ladder, kvShare, atTokens } = mask;
  checkGrid(windows, { name: 'windows', model: mask.model, path });
  checkGrid(mask.gates, { name: 'gates', model: mask.model, path });
  checkAscending(ladder, { name: 'ladder', path });
  for (const [layer, row] of windows.entries()) {
    const head = row.findIndex((window) => window !== null && !ladder.includes(window));
    if (head < 0) continue;
    throw new FormatError(
      `Expected \`windows[${layer}][${head}]\` in ${path} to be null or one of the ladder's ${ladder.join(', ')}, got \`${row[head]}\`.`,
    );
  }
  if ((kvShare === null) !== (atTokens === null)) {
    throw new FormatError(
      `Expected \`kvShare\` and \`atTokens\` in ${path} to be both numbers or both null, got \`${kvShare}\` and \`${atTokens}\`.`,
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

/** The window of streaming heads that a mask is compared with: its own, or of several the ladder's smallest. */
export function windowOfMask(mask: MaskFile): Window {
  const recentTokens = mask.version === MASK_VERSION ? mask.recent : (mask.ladder[0] as number);
  return { sinkTokens: mask.sink, recentTokens };
}

/** The values that rank the heads of a mask, `[layers][kvHeads]`, 0..1, higher = more in need of the context: ranks where it was cut by them, else gates. */
export function scoresOfMask(mask: MaskFile): GateGrid {
  return (mask.version === MASK_VERSION && mask.ranks) || mask.gates;
}

/** A mask file as engines and the runtime take it. */
export function toHeadMask(mask: MaskFile): HeadMask {
  if (mask.version === MASK_VERSION) return makeHeadMask(mask.mask, windowOfMask(mask));
  return { sinkTokens: mask.sink, windows: mask.windows.map((row) => [...row]) };
}

/** Refuse a mask made for another model (docs/semantics.md, Model fingerprints).
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
