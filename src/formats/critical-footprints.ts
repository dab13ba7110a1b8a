// `critical` of results.json: the smallest KV footprint at which a method keeps a share of full attention's score.
import { z } from 'zod';
import { finiteNumber, integerWithin, unitNumber } from './read-json.ts';
import type { Results } from './results.ts';

const criticalRowSchema = z.looseObject({
  task: z.string(),
  /** tokens asked for; null where the samples have lengths of their own */
  length: finiteNumber.nullable(),
  measure: z.enum(['teacher-forced', 'generated']).optional(),
  method: z.string(),
  /** share of full attention's score, 0.9 or 0.99 */
  keep: unitNumber,
  /** share of full attention's time-integrated footprint */
  footprint: unitNumber,
  /** true where even the smallest budget measured keeps the share */
  isUpperBound: z.boolean(),
  /** budgets measured */
  points: integerWithin(2, Number.MAX_SAFE_INTEGER).optional(),
});

export type CriticalRow = z.infer<typeof criticalRowSchema>;

/** The critical footprints that results.json holds; [] where it has none, or not as `duo eval` writes them. */
export function findCriticalRows(results: Results): CriticalRow[] {
  const found = z.array(criticalRowSchema).safeParse(results.critical);
  return found.success ? found.data : [];
}
