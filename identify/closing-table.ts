// The closing table: what the mask just found keeps on held-out samples, beside full attention and as many heads chosen otherwise.
import { AbortedError } from '../src/errors/errors.ts';
import { listBaselines } from '../src/eval/baselines.ts';
import { evaluateSamples } from '../src/eval/evaluate-samples.ts';
import { type MaskFile, toHeadMask } from '../src/formats/mask.ts';
import type { EvalRow } from '../src/formats/results.ts';
import { readHeldOut } from './held-out.ts';
import type { Parts } from './parts.ts';

const RANDOM_MASKS = 3;

/** Rows of the closing table, or null with a message of why; a failure here never fails the run, whose files are written.
 * @throws {AbortedError}. */
export async function closeWithTable(parts: Parts, mask: MaskFile): Promise<EvalRow[] | null> {
  const { options, folder, config, engine } = parts;
  const { heldOut, signal, onMessage, onProgress } = options;
  if (heldOut === undefined && config.heldOutSamples === 0) return null;
  try {
    const samples = await readHeldOut(parts);
    const given = toHeadMask(mask);
    const baselines = listBaselines({
      names: ['full', 'streaming', 'random', 'inverted'],
      model: folder.config.shape,
      given,
      randomMasks: RANDOM_MASKS,
      seed: config.seed,
    });
    const [full, ...others] = baselines;
    const masks = [full!, { name: 'given', mask: given }, ...others];
    const tell = (done: number, total: number): void =>
      onProgress?.({ stage: 'held-out', label: 'held-out recall', done, total });
    tell(0, samples.length * masks.length);
    return await evaluateSamples({ engine, samples, masks, ...(signal && { signal }), onProgress: tell });
  } catch (error) {
    if (error instanceof AbortedError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    onMessage?.({ kind: 'no-table', text: `no closing table: ${reason}` });
    return null;
  }
}
