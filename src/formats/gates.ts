// gates.json: what a method of scoring heads found, one value in [0,1] per KV head, with the model it belongs to and its provenance.
// Holds no time, path, host or thread count, so equal inputs give equal bytes. Cutting it into a mask is the export room's work.
import { z } from 'zod';
import type { Architecture, GateGrid, ModelShape, Window } from '../core/shapes.ts';
import { FormatError } from '../errors/errors.ts';
import { stableJson, writeFileAtomic } from './atomic-file.ts';
import { checkLadder, type LadderEffects, ladderSchema } from './ladder-effects.ts';
import {
  checked,
  checkJson,
  exactly,
  integerWithin,
  type JsonRecord,
  jsonRecord,
  readJson,
  textUpTo,
  unitNumber,
} from './read-json.ts';

export { type LadderEffects, makeLadderEffects } from './ladder-effects.ts';

export const GATES_SCHEMA = 'duo.gates';
export const GATES_VERSION = 1;

/** Far above any published model; they bound what a hostile file makes us walk. */
export const MAX_LAYERS = 1024;
export const MAX_HEADS = 4096;
export const MAX_HEAD_DIM = 8192;
/** A 1024-layer grid with provenance is under 32 MiB. */
export const MAX_GRID_FILE_BYTES = 64 * 2 ** 20;

/** With a ladder of the most options: its triangle has 8 million numbers. */
export const MAX_GATES_FILE_BYTES = 192 * 2 ** 20;

/** A path has about a hundred. */
export const MAX_PATH_POINTS = 4096;

const ARCHITECTURES: readonly Architecture[] = ['llama', 'mistral', 'qwen2', 'qwen3'];

/** The model that gates or a mask belong to. */
export interface ModelTag {
  readonly architecture: Architecture;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** "sha256:…" of shape, headers and data ends of the weights; null where only config.json was at hand */
  readonly fingerprint: string | null;
}

/** Gates over λ, the weight of the mean gate: the larger, the more heads stream. */
export interface LambdaPath {
  /** > 0, strictly ascending */
  readonly lambdas: readonly number[];
  /** of each λ, `[layers][kvHeads]`, 0..1 */
  readonly gates: readonly GateGrid[];
  /** `[layers][kvHeads]`, 0..1: heads of a lower value stream first, where the method says more on their order than the path does */
  readonly ranking?: GateGrid | undefined;
}

export interface GatesFile {
  readonly schema: typeof GATES_SCHEMA;
  readonly version: typeof GATES_VERSION;
  readonly model: ModelTag;
  /** `[layers][kvHeads]`, 0..1 */
  readonly gates: GateGrid;
  /** gates of other λ from the same measurement, where the method gives them; `duo export --lambda` cuts there */
  readonly path?: LambdaPath | undefined;
  /** effects of windows of several sizes, where they were measured; `duo export --kv-share` cuts there */
  readonly ladder?: LadderEffects | undefined;
  /** how they were found: tool, method, sink, recent, config, seed, samples by hash, and what the method itself adds */
  readonly provenance: JsonRecord;
}

export const modelTagSchema: z.ZodType<ModelTag> = z.strictObject({
  architecture: checked<Architecture>(
    (value) => ARCHITECTURES.includes(value as Architecture),
    `one of ${ARCHITECTURES.join(', ')}`,
  ),
  layers: integerWithin(1, MAX_LAYERS),
  heads: integerWithin(1, MAX_HEADS),
  kvHeads: integerWithin(1, MAX_HEADS),
  headDim: integerWithin(1, MAX_HEAD_DIM),
  fingerprint: z.union([z.null(), textUpTo(200)], { error: 'a text of at most 200 characters or null' }),
});

const positiveNumber = checked<number>(
  (value) => Number.isFinite(value) && (value as number) > 0,
  'a finite number above 0',
);

/** Leaf schema of an array of rows; `checkGrid` checks their lengths against the model. */
export const gateRows = z.array(z.array(unitNumber).max(MAX_HEADS)).max(MAX_LAYERS);

/** Leaf schema of a path; `checkGates` checks it against the model. */
export const pathSchema: z.ZodType<LambdaPath> = z.strictObject({
  lambdas: z.array(positiveNumber).min(1).max(MAX_PATH_POINTS),
  gates: z.array(gateRows).min(1).max(MAX_PATH_POINTS),
  ranking: gateRows.optional(),
});

const schema: z.ZodType<GatesFile> = z.strictObject({
  schema: exactly(GATES_SCHEMA),
  version: exactly(GATES_VERSION),
  model: modelTagSchema,
  gates: gateRows,
  path: pathSchema.optional(),
  ladder: ladderSchema.optional(),
  provenance: jsonRecord,
});

/** Check a grid against `[layers][kvHeads]` of its model. @throws {FormatError} number of rows, or the first row of another length. */
export function checkGrid(
  grid: readonly (readonly unknown[])[],
  options: { name: string; model: ModelTag; path: string },
): void {
  const { name, model, path } = options;
  if (model.heads % model.kvHeads !== 0) {
    throw new FormatError(
      `Expected \`model.kvHeads\` in ${path} to divide the ${model.heads} heads, got \`${model.kvHeads}\`.`,
    );
  }
  if (grid.length !== model.layers) {
    throw new FormatError(
      `Expected \`${name}\` in ${path} to have ${model.layers} rows, one per layer, got \`${grid.length}\`.`,
    );
  }
  const ragged = grid.findIndex((row) => row.length !== model.kvHeads);
  if (ragged >= 0) {
    const found = (grid[ragged] as readonly unknown[]).length;
    throw new FormatError(
      `Expected \`${name}[${ragged}]\` in ${path} to have ${model.kvHeads} values, one per KV head, got \`${found}\`.`,
    );
  }
}

/** The tag of a model with a given fingerprint. */
export function tagModel(model: ModelShape, fingerprint: string | null): ModelTag {
  const { architecture, layers, heads, kvHeads, headDim } = model;
  return { architecture, layers, heads, kvHeads, headDim, fingerprint };
}

/** Check an unknown value as gates. @param path named in errors. @throws {FormatError} the first difference. */
export function checkGates(value: unknown, path: string): GatesFile {
  checkSchemaName(value, { expected: GATES_SCHEMA, path });
  const gates = checkJson(schema, { value, path });
  checkGrid(gates.gates, { name: 'gates', model: gates.model, path });
  if (gates.path) checkPath(gates.path, { model: gates.model, path });
  if (gates.ladder) checkLadder(gates.ladder, { heads: gates.model.layers * gates.model.kvHeads, path });
  return gates;
}

/** @throws {FormatError} λ not ascending, grids of another number or shape. */
function checkPath(lambdaPath: LambdaPath, options: { model: ModelTag; path: string }): void {
  const { lambdas, gates, ranking } = lambdaPath;
  if (ranking) checkGrid(ranking, { ...options, name: 'path.ranking' });
  if (gates.length !== lambdas.length) {
    throw new FormatError(
      `Expected \`path.gates\` in ${options.path} to have ${lambdas.length} grids, one a λ, got \`${gates.length}\`.`,
    );
  }
  const unordered = lambdas.findIndex((lambda, index) => index > 0 && lambda <= (lambdas[index - 1] as number));
  if (unordered >= 0) {
    throw new FormatError(
      `Expected \`path.lambdas\` in ${options.path} to ascend, got \`${lambdas[unordered]}\` at \`lambdas[${unordered}]\` after \`${lambdas[unordered - 1]}\`.`,
    );
  }
  for (const [index, grid] of gates.entries()) checkGrid(grid, { ...options, name: `path.gates[${index}]` });
}

/** Refuse another kind of file or a version of the future before its details are looked at. @throws {FormatError}. */
export function checkSchemaName(value: unknown, options: { expected: string; path: string }): void {
  const name = (value as { schema?: unknown } | null)?.schema;
  if (typeof name === 'string' && name !== options.expected) {
    throw new FormatError(`Expected \`schema\` in ${options.path} to be \`${options.expected}\`, got \`${name}\`.`);
  }
}

/** Read gates.json. @throws {FileError} absent; {FormatError} malformed, with file and place. */
export function readGates(path: string): GatesFile {
  return checkGates(readJson(path, MAX_GATES_FILE_BYTES), path);
}

/** The bytes of gates.json: equal values, equal bytes. @throws {FormatError} the value itself is malformed (NaN, ragged). */
export function formatGates(gates: GatesFile, path = 'gates.json'): string {
  return stableJson(checkGates(gates, path));
}

/** Write gates.json whole or not at all. @throws {FormatError} malformed value; {FileError}. */
export function writeGates(path: string, gates: GatesFile): void {
  writeFileAtomic(path, formatGates(gates, path));
}

/** The window the gates were found with, where their provenance has it; null in a file of another tool. */
export function findWindow(gates: GatesFile): Window | null {
  const { sink, recent } = gates.provenance;
  if (!Number.isInteger(sink) || !Number.isInteger(recent)) return null;
  if ((sink as number) < 0 || (recent as number) < 1) return null;
  return { sinkTokens: sink as number, recentTokens: recent as number };
}
