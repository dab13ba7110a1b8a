// quadratic-state in checkpoint.json: sums of the samples measured so far and what earlier measurements found, double precision bit for bit,
// so that a resumed measurement ends in the same bytes as an uninterrupted one.
import { existsSync } from 'node:fs';
import { z } from 'zod';
import { FormatError } from '../../src/errors/errors.ts';
import { stableJson, writeFileAtomic } from '../../src/formats/atomic-file.ts';
import {
  checkSchemaName,
  type LambdaPath,
  MAX_GATES_FILE_BYTES,
  MAX_HEADS,
  MAX_LAYERS,
  pathSchema,
} from '../../src/formats/gates.ts';
import {
  checked,
  checkJson,
  exactly,
  finiteNumber,
  integerWithin,
  type JsonRecord,
  jsonRecord,
  readJson,
} from '../../src/formats/read-json.ts';
import type { BalancedSums } from './balanced-sums.ts';
import type { LadderState } from './ladder.ts';
import { countPairs } from './measure-ladder.ts';

const QUADRATIC_SCHEMA = 'duo.quadratic-checkpoint';
const QUADRATIC_VERSION = 4;
const MAX_ROUNDS = 1000;
const MAX_SAMPLES = 2 ** 31;

/** What one round did after its measurement. */
export interface RoundRecord {
  /** true distillation loss at the gates it was measured at */
  readonly loss: number;
  /** true distillation loss at the gates it ended at; null for a single round, whose solution is taken as it is */
  readonly lossAfter: number | null;
  /** share of the way to the quadratic's minimum that was taken: 1, ½, ¼, ⅛, or 0 = no step lowered the true objective */
  readonly stepTaken: number;
  /** heads with a gate below one half after it */
  readonly streamingHeads: number;
}

export interface QuadraticState {
  /** rounds that ended */
  readonly rounds: readonly RoundRecord[];
  /** λ path of the first round; null until it ended */
  readonly path: LambdaPath | null;
  /** what closing each head alone does by the first round's measurement, `[N]` fp64; null until it ended */
  readonly effects: Float64Array | null;
  /** heads closed by elimination, in order; half of them by the first round's measurement, none until it ended */
  readonly closed: readonly number[];
  /** gates that the rounds ended at, `[N]` fp64; null until they have ended; elimination starts then */
  readonly solution: Float64Array | null;
  /** gates that the measurement under way is made around, `[N]` fp64 */
  readonly gates: Float64Array;
  /** inner products of its samples, `[N+1, N+1]` fp64 */
  readonly measured: BalancedSums;
  /** weight of long-range samples relative to others, from the first round's measurement; null until it ended */
  readonly balance: number | null;
  /** the ladder's samples so far; null where no windows were asked for */
  readonly ladder: LadderState | null;
}

const base64 = checked<string>(
  (value) => typeof value === 'string' && /^[A-Za-z0-9+/]*={0,2}$/.test(value) && value.length <= MAX_GATES_FILE_BYTES,
  'base64 of float64 values',
);
const roundSchema: z.ZodType<RoundRecord> = z.strictObject({
  loss: finiteNumber,
  lossAfter: z.union([z.null(), finiteNumber]),
  stepTaken: finiteNumber,
  streamingHeads: integerWithin(0, MAX_SAMPLES),
});
const sumsSchema = z.strictObject({ samples: integerWithin(0, MAX_SAMPLES), sums: base64 });
const measuredSchema = sumsSchema.extend({ long: sumsSchema.nullable() });
const ladderSchema = z.strictObject({ tokens: integerWithin(0, MAX_SAMPLES), measured: measuredSchema });
const schema = z.strictObject({
  schema: exactly(QUADRATIC_SCHEMA),
  version: exactly(QUADRATIC_VERSION),
  identity: jsonRecord,
  rounds: z.array(roundSchema).max(MAX_ROUNDS),
  path: z.union([z.null(), pathSchema]),
  effects: z.union([z.null(), base64]),
  closed: z.array(integerWithin(0, MAX_LAYERS * MAX_HEADS)).max(MAX_LAYERS * MAX_HEADS),
  solution: z.union([z.null(), base64]),
  gates: base64,
  measured: measuredSchema,
  balance: z.union([z.null(), finiteNumber]),
  ladder: ladderSchema.optional(),
});

/** Write the state whole or not at all, durable when it returns. @throws {FileError} disk full, read-only. */
export function writeQuadraticState(path: string, identity: JsonRecord, state: QuadraticState): void {
  const value: z.infer<typeof schema> = {
    schema: QUADRATIC_SCHEMA,
    version: QUADRATIC_VERSION,
    identity,
    rounds: [...state.rounds],
    path: state.path,
    effects: state.effects && encodeDoubles(state.effects),
    closed: [...state.closed],
    solution: state.solution && encodeDoubles(state.solution),
    gates: encodeDoubles(state.gates),
    measured: encodeMeasured(state.measured),
    balance: state.balance,
    ...(state.ladder
      ? { ladder: { tokens: state.ladder.tokens, measured: encodeMeasured(state.ladder.measured) } }
      : {}),
  };
  writeFileAtomic(path, stableJson(value));
}

/** Read the state, or null where none was written yet.
 * @param sizes.heads N, and @param sizes.numOptions of the ladder, 0 = none, that its arrays must fit.
 * @throws {FormatError} malformed, of another method or another number of heads. */
export function findQuadraticState(
  path: string,
  { heads: numHeads, numOptions }: { heads: number; numOptions: number },
): { identity: JsonRecord; state: QuadraticState } | null {
  if (!existsSync(path)) return null;
  const value = readJson(path, MAX_GATES_FILE_BYTES);
  checkSchemaName(value, { expected: QUADRATIC_SCHEMA, path });
  const file = checkJson(schema, { value, path });
  const decode = (name: string, text: string, length: number): Float64Array => {
    const doubles = decodeDoubles(text);
    if (doubles.length === length && doubles.every(Number.isFinite)) return doubles;
    throw new FormatError(
      `Expected \`${name}\` in ${path} to be ${length} finite values, got \`${doubles.length}\` of which ${doubles.filter(Number.isFinite).length} are finite; run again with --overwrite.`,
    );
  };
  const decodeMeasured = (
    name: string,
    { samples, sums, long }: z.infer<typeof measuredSchema>,
    length: number,
  ): BalancedSums => ({
    samples,
    sums: decode(`${name}.sums`, sums, length),
    long: long && { samples: long.samples, sums: decode(`${name}.long.sums`, long.sums, length) },
  });
  const { rounds, path: lambdaPath, closed, balance } = file;
  if (new Set(closed).size !== closed.length || closed.some((head) => head >= numHeads)) {
    throw new FormatError(
      `Expected \`closed\` in ${path} to be different heads below ${numHeads}, got others; run again with --overwrite.`,
    );
  }
  const gates = decode('gates', file.gates, numHeads);
  const solution = file.solution === null ? null : decode('solution', file.solution, numHeads);
  const effects = file.effects === null ? null : decode('effects', file.effects, numHeads);
  const measured = decodeMeasured('measured', file.measured, (numHeads + 1) ** 2);
  const ladder = file.ladder
    ? {
        tokens: file.ladder.tokens,
        measured: decodeMeasured('ladder.measured', file.ladder.measured, countPairs(numOptions)),
      }
    : null;
  return {
    identity: file.identity,
    state: { rounds, path: lambdaPath, effects, closed, solution, gates, measured, balance, ladder },
  };
}

function encodeMeasured({ samples, sums, long }: BalancedSums): z.infer<typeof measuredSchema> {
  const encodedLong = long && { samples: long.samples, sums: encodeDoubles(long.sums) };
  return { samples, sums: encodeDoubles(sums), long: encodedLong };
}

/** Little-endian float64, whatever the machine's own order. */
function encodeDoubles(values: Float64Array): string {
  const bytes = Buffer.alloc(values.length * 8);
  values.forEach((value, index) => {
    bytes.writeDoubleLE(value, index * 8);
  });
  return bytes.toString('base64');
}

function decodeDoubles(text: string): Float64Array {
  const bytes = Buffer.from(text, 'base64');
  return Float64Array.from({ length: Math.floor(bytes.length / 8) }, (_, index) => bytes.readDoubleLE(index * 8));
}
