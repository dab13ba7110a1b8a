// The noise of a measurement as the provenance of gates.json holds it.
import { z } from 'zod';
import { checkJson, finiteNumber, integerWithin, type JsonRecord } from './read-json.ts';

/** How far rounding alone moves what was measured, and which heads' effects are no larger. */
export interface Noise {
  /** mean square distance of two runs that differ only in rounding, in the units of the heads' effects */
  readonly floor: number;
  /** heads whose effect cannot be distinguished from rounding, `[layer, KV head]`, ascending */
  readonly below: readonly (readonly [number, number])[];
}

const MOST = 2 ** 31;
const schema: z.ZodType<Noise> = z.object({
  floor: finiteNumber,
  below: z.array(z.tuple([integerWithin(0, MOST), integerWithin(0, MOST)])),
});

/** Noise in the provenance of gates; null where their method states none. @throws {FormatError} malformed. */
export function readNoise(provenance: JsonRecord, path: string): Noise | null {
  if (provenance.noise === undefined) return null;
  return checkJson(schema, { value: provenance.noise, path });
}
