// checkpoint.json: everything the next step of an optimisation depends on, float32 bit for bit, so that a resumed run ends in the
// same bytes as an uninterrupted one. Written to a temporary file, fsynced and renamed; the steps it counts are in metrics.jsonl first.
import { existsSync } from 'node:fs';
import { z } from 'zod';
import type { MaskGrid } from '../src/core/shapes.ts';
import { FormatError } from '../src/errors/errors.ts';
import { stableJson, writeFileAtomic } from '../src/formats/atomic-file.ts';
import { checkSchemaName, MAX_GRID_FILE_BYTES, MAX_HEADS, MAX_LAYERS } from '../src/formats/gates.ts';
import {
  checked,
  checkJson,
  exactly,
  integerWithin,
  type JsonRecord,
  jsonRecord,
  readJson,
} from '../src/formats/read-json.ts';
import type { GateOptimizerState } from './gate-state.ts';

const CHECKPOINT_SCHEMA = 'duo.checkpoint';
const CHECKPOINT_VERSION = 1;
const MAX_STEPS = 2 ** 31;

/** How long the mask has been unchanged, for the early stop. */
export interface MaskStability {
  /** mask after the last step; null before the first */
  readonly mask: MaskGrid | null;
  /** steps since the mask last changed or was undecided */
  readonly unchangedSteps: number;
}

export interface Checkpoint {
  readonly identity: JsonRecord;
  readonly state: GateOptimizerState;
  readonly stability: MaskStability;
}

const base64 = checked<string>(
  (value) => typeof value === 'string' && /^[A-Za-z0-9+/]*={0,2}$/.test(value) && value.length <= MAX_GRID_FILE_BYTES,
  'base64 of float32 values',
);

const schema = z.strictObject({
  schema: exactly(CHECKPOINT_SCHEMA),
  version: exactly(CHECKPOINT_VERSION),
  identity: jsonRecord,
  steps: integerWithin(0, MAX_STEPS),
  gates: base64,
  firstMoment: base64,
  secondMoment: base64,
  betaPowers: base64,
  stability: z.strictObject({
    mask: z.union([z.null(), z.array(z.array(integerWithin(0, 1)).max(MAX_HEADS)).max(MAX_LAYERS)]),
    unchangedSteps: integerWithin(0, MAX_STEPS),
  }),
});

/** Write the checkpoint whole or not at all, durable when it returns. @throws {FileError} disk full, read-only. */
export function writeCheckpoint(path: string, checkpoint: Checkpoint): void {
  const { identity, state, stability } = checkpoint;
  const value: z.infer<typeof schema> = {
    schema: CHECKPOINT_SCHEMA,
    version: CHECKPOINT_VERSION,
    identity,
    steps: state.steps,
    gates: encodeFloats(state.gates),
    firstMoment: encodeFloats(state.firstMoment),
    secondMoment: encodeFloats(state.secondMoment),
    betaPowers: encodeFloats(state.betaPowers),
    stability: { mask: stability.mask, unchangedSteps: stability.unchangedSteps },
  };
  writeFileAtomic(path, stableJson(value));
}

/** Read a checkpoint, or null where none was written yet.
 * @param numGates L·G that its arrays must have.
 * @throws {FormatError} malformed or of another number of gates. */
export function findCheckpoint(path: string, numGates: number): Checkpoint | null {
  if (!existsSync(path)) return null;
  const value = readJson(path, MAX_GRID_FILE_BYTES);
  checkSchemaName(value, { expected: CHECKPOINT_SCHEMA, path });
  const file = checkJson(schema, { value, path });
  const decode = (name: 'gates' | 'firstMoment' | 'secondMoment' | 'betaPowers', length: number): Float32Array => {
    const floats = decodeFloats(file[name]);
    if (floats.length === length && floats.every(Number.isFinite)) return floats;
    throw new FormatError(
      `Expected \`${name}\` in ${path} to be ${length} finite values, got \`${floats.length}\` of which ${floats.filter(Number.isFinite).length} are finite; run again with --overwrite.`,
    );
  };
  return {
    identity: file.identity,
    state: {
      steps: file.steps,
      gates: decode('gates', numGates),
      firstMoment: decode('firstMoment', numGates),
      secondMoment: decode('secondMoment', numGates),
      betaPowers: decode('betaPowers', 2),
    },
    stability: file.stability,
  };
}

/** Little-endian float32, whatever the machine's own order. */
function encodeFloats(values: Float32Array): string {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => {
    bytes.writeFloatLE(value, index * 4);
  });
  return bytes.toString('base64');
}

function decodeFloats(text: string): Float32Array {
  const bytes = Buffer.from(text, 'base64');
  return Float32Array.from({ length: Math.floor(bytes.length / 4) }, (_, index) => bytes.readFloatLE(index * 4));
}
