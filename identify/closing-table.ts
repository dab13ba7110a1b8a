// The closing table: what the mask just found keeps on held-out samples, and how much of the gain from long context it keeps on held-out
// documents, compared with full attention and with masks that choose the same number of heads in other ways.
import { AbortedError } from '../src/errors/errors.ts';
import { listBaselines, type NamedMask } from '../src/eval/baselines.ts';
import { evaluateLongRange } from '../src/eval/evaluate-long-range.ts';
import { evaluateSamples, type ScoredSample } from '../src/eval/evaluate-samples.ts';
import { type MaskFile, toHeadMask } from '../src/formats/mask.ts';
import type { EvalRow } from '../src/formats/results.ts';
import { readHeldOut, takeHeldOutTexts } from './held-out.ts';
import type { Parts } from './parts.ts';

const RANDOM_MASKS = 3;
/** Fewest texts that kept gain is measured on. */
const TABLE_TEXTS = 8;

/** Rows of the closing table, with what each was made of. */
export interface ClosingTable {
  readonly rows: EvalRow[];
  readonly scored: ReadonlyMap<string, readonly ScoredSample[]>;
}

/** The closing table, or null with a message of why; a failure here never fails the run, whose files are written.
 * @throws {AbortedError}. */
export async function closeWithTable(parts: Parts, mask: MaskFile): Promise<ClosingTable | null> {
  const { options, config, engine } = parts;
  const { heldOut, signal, onProgress } = options;
  if (heldOut === undefined && config.heldOutSamples === 0) return null;
  return attempt(parts, 'no closing table', async () => {
    const samples = await readHeldOut(parts);
    const masks = listMasks(parts, mask);
    const report = (done: number, total: number): void =>
      onProgress?.({ stage: 'held-out', label: 'held-out recall', done, total });
    report(0, samples.length * masks.length);
    const scored = new Map<string, readonly ScoredSample[]>();
    const onScored = (name: string, own: readonly ScoredSample[]): void => void scored.set(name, own);
    const rows = await evaluateSamples({
      engine,
      samples,
      masks,
      ...(signal && { signal }),
      onProgress: report,
      onScored,
    });
    return { rows, scored };
  });
}

/** Kept gain of the same masks, or null: where no documents were given, where there is no table, or with a message of why it cannot be measured.
 * @throws {AbortedError}. */
export async function measureGainOfTable(parts: Parts, mask: MaskFile): Promise<EvalRow[] | null> {
  const { options, config, engine } = parts;
  const { documents, heldOutDocuments, heldOut, signal, onProgress } = options;
  if (documents === undefined && heldOutDocuments === undefined) return null;
  if (heldOut === undefined && config.heldOutSamples === 0) return null;
  return attempt(parts, 'no kept gain in the closing table', async () => {
    const texts = await takeHeldOutTexts(parts, { leastTexts: TABLE_TEXTS });
    return await evaluateLongRange({
      engine,
      texts,
      masks: listMasks(parts, mask),
      window: config,
      length: config.maxTokens,
      ...(signal && { signal }),
      onProgress: (done, total) => onProgress?.({ stage: 'kept-gain', label: 'kept gain', done, total }),
    });
  });
}

/** What `measure` gives, or null with a message of why there is none. @throws {AbortedError}. */
async function attempt<T>(parts: Parts, lack: string, measure: () => Promise<T>): Promise<T | null> {
  try {
    return await measure();
  } catch (error) {
    if (error instanceof AbortedError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    parts.options.onMessage?.({ kind: 'no-table', text: `${lack}: ${reason}` });
    return null;
  }
}

function listMasks({ folder, config }: Parts, mask: MaskFile): NamedMask[] {
  const given = toHeadMask(mask);
  const [full, ...others] = listBaselines({
    names: ['full', 'streaming', 'random', 'inverted'],
    model: folder.config.shape,
    given,
    randomMasks: RANDOM_MASKS,
    seed: config.seed,
  });
  return [full!, { name: 'given', mask: given }, ...others];
}
