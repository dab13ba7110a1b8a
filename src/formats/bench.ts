// bench.json of a run folder: what `duo bench --json` printed, as far as the report reads it.
import { z } from 'zod';
import { checkJson, finiteNumber, readJson } from './read-json.ts';

/** `duo bench --json` of a few contexts is a few KB. */
const MAX_BENCH_BYTES = 16 * 2 ** 20;

const seconds = z.array(finiteNumber).min(1);
const figures = z.looseObject({
  prefillSeconds: finiteNumber.nullable(),
  stepSeconds: seconds,
  kvBytes: finiteNumber,
});
const benchSchema = z.looseObject({
  model: z.string(),
  engine: z.string(),
  device: z.string(),
  kvDtype: z.string(),
  /** absent in files of an older duo */
  kvRotation: z.boolean().nullable().optional(),
  batch: finiteNumber,
  /** hash of the mask behind `masked`; absent in files of an older duo */
  maskHash: z.string().nullable().optional(),
  // contexts where full attention did not fit have nothing to compare the mask with
  contexts: z.preprocess(
    (list) => (Array.isArray(list) ? list.filter((at: { comparison?: unknown }) => at?.comparison !== null) : list),
    z.array(
      z.looseObject({
        context: finiteNumber,
        figures: z.looseObject({ full: figures, masked: figures }),
        comparison: z.looseObject({ decodeSpeedup: finiteNumber, prefillSpeedup: finiteNumber.nullable() }),
      }),
    ),
  ),
});
export type BenchFile = z.infer<typeof benchSchema>;

/** Read bench.json. @throws {FileError} unreadable; {FormatError} malformed. */
export function readBench(path: string): BenchFile {
  return checkJson(benchSchema, { value: readJson(path, MAX_BENCH_BYTES), path });
}
