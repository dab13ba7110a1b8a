// The field `results.keptCurve` of run.json: how much of full attention the masks measured for a promise keep, by their place on the
// path of budgets. From it `duo export --keep` cuts without a model. Making the path is the export room's work.
import { z } from 'zod';
import { MAX_WINDOW_TOKENS } from './ladder-effects.ts';
import { checkJson, finiteNumber, integerWithin, textUpTo, unitNumber } from './read-json.ts';
import type { RunFile } from './run.ts';

/** A path of label cuts has a step per head. */
const MAX_STEPS = 2 ** 22;

export interface KeptCurve {
  /** recall, gain or a task */
  readonly keepOf: string;
  /** length at which budgets are counted */
  readonly atTokens: number;
  /** held-out samples, texts or prompts */
  readonly samples: number;
  /** in order of looking */
  readonly walked: readonly KeptPoint[];
}

export interface KeptPoint {
  /** place on the path */
  readonly index: number;
  /** share of a full KV cache at `atTokens`, 0..1 */
  readonly kvShare: number;
  readonly kept: number;
  /** 95 % */
  readonly interval: readonly [low: number, high: number];
}

const schema: z.ZodType<KeptCurve> = z.strictObject({
  keepOf: textUpTo(200),
  atTokens: integerWithin(1, MAX_WINDOW_TOKENS),
  samples: integerWithin(0, MAX_STEPS),
  walked: z
    .array(
      z.strictObject({
        index: integerWithin(0, MAX_STEPS),
        kvShare: unitNumber,
        kept: finiteNumber,
        interval: z.tuple([finiteNumber, finiteNumber]),
      }),
    )
    .max(MAX_STEPS),
});

/** The curve of a run; null where it measured none. @throws {FormatError} a malformed one. */
export function findKeptCurve({ results }: RunFile, path: string): KeptCurve | null {
  const value = (results as { keptCurve?: unknown } | null)?.keptCurve;
  return value === undefined ? null : checkJson(schema, { value, path: `results.keptCurve of ${path}` });
}
