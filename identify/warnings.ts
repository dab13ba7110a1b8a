// What makes a mask worthless or doubtful, said before a person relies on it: samples that cannot tell heads apart are refused, labels that
// a tie decided and masks no better than random ones are warned of.
import type { CutGates } from '../export/cut.ts';
import type { Config } from '../src/config/config.ts';
import { supervisedPositions } from '../src/core/shapes.ts';
import { scaleToSample, type WindowRule } from '../src/core/window-rule.ts';
import { ConfigError } from '../src/errors/errors.ts';
import type { EvalRow } from '../src/formats/results.ts';
import type { SampleSource } from './sample-source.ts';

/** Samples are drawn by a grid of lengths: that many hold one of the longest. */
const MAX_LOOKED_AT = 64;

/** Refuse samples in which no supervised query has a key outside the window: full and streaming heads are then the same.
 * @param numSamples how many the method will take.
 * @throws {ConfigError}. */
export async function checkReach(options: {
  readonly source: SampleSource;
  readonly config: Config;
  readonly numSamples: number;
}): Promise<void> {
  const { source, config, numSamples } = options;
  const { sinkTokens, recentTokens, supervise } = config;
  let longest = 0;
  for (let index = 0; index < Math.min(numSamples, MAX_LOOKED_AT); index++) {
    const { tokens, answers } = await source.sampleAt(index);
    // Query q has a key that is neither sink nor recent from q = S + R on.
    if (supervisedPositions(answers, supervise).some((query) => query >= sinkTokens + recentTokens)) return;
    longest = Math.max(longest, tokens.length);
  }
  throw new ConfigError(
    `Expected samples in which an answer lies more than the window (${sinkTokens} sink and ${recentTokens} recent tokens) from the start, got ${longest} tokens at most: full and streaming heads are the same there, and nothing can be learnt. Use longer samples or a smaller window.`,
  );
}

/** Refuse windows that hold the longest sample: every head has the effect 0 there, and a cut would take that for harmless.
 * @param windows of the ladder, ascending; none where one window is measured.
 * @throws {ConfigError}. */
export function checkWidest(
  windows: readonly number[],
  { sinkTokens, longestTokens }: { readonly sinkTokens: number; readonly longestTokens: number },
): void {
  const widest = windows.at(-1);
  if (widest === undefined || sinkTokens + widest < longestTokens) return;
  throw new ConfigError(
    `Expected windows that with ${sinkTokens} sink tokens are shorter than the longest sample, ${longestTokens} tokens, got one of ${widest}: what it leaves out cannot be measured there. Use narrower windows or longer samples.`,
  );
}

/** A sentence on samples that the widest windows hold whole: there the effect counts as none, and the cut takes those windows for more harmless than
 * they are at the length of the others; null where there are none.
 * @param lengths tokens of each sample that is measured. */
export function describeHeldWhole(
  windows: readonly number[],
  { sinkTokens, lengths }: { readonly sinkTokens: number; readonly lengths: readonly number[] },
): string | null {
  const widest = windows.at(-1);
  if (widest === undefined || windows.length < 2) return null;
  const held = lengths.filter((tokens) => tokens <= sinkTokens + widest).length;
  if (held === 0) return null;
  return `windows of ${widest} tokens hide nothing in ${held} of ${lengths.length} samples, which are no longer; they pass for more harmless than they are in longer texts. Make the samples longer, as the context that is cut for.`;
}

/** A sentence on what the windows of a rule are in the shortest sample; null where all are as long as the rule names windows at.
 * @throws {ConfigError} two windows are the same in a sample, or one of them holds it whole. */
export function describeScaling(
  windows: readonly number[],
  options: { readonly sinkTokens: number; readonly lengths: readonly number[]; readonly rule: WindowRule },
): string | null {
  const { sinkTokens, lengths, rule } = options;
  const [shortest] = [...new Set(lengths)]
    .sort((a, b) => a - b)
    .map((tokens) => ({ tokens, scaled: scaleToSample(windows, { rule, tokens, sinkTokens }) }));
  if (shortest === undefined || shortest.tokens === rule.namedAt) return null;
  return `windows of ${windows.join(', ')} tokens are those of the longest sample, ${rule.namedAt}; shorter ones have them in proportion, the shortest, ${shortest.tokens}, ${shortest.scaled.join(', ')}.`;
}

/** Sentences on a finished identification; none where nothing is wrong.
 * @param measured the length that a ladder was cut for, null where none was, the longest sample that it was measured on, and whether its windows go by the length.
 * @param heldOut rows of the closing table, null where there is none. */
export function listWarnings(cut: CutGates, heldOut: readonly EvalRow[] | null, measured: MeasuredLengths): string[] {
  return [describeTie(cut), describeExtrapolation(measured), heldOut && describeRandom(heldOut)].filter(
    (line): line is string => line !== null,
  );
}

function describeTie({ tieDecided, streamingHeads, retrievalHeads }: CutGates): string | null {
  if (tieDecided === 0) return null;
  const total = streamingHeads + retrievalHeads;
  return `the cut falls inside a tie: ${tieDecided} of ${total} KV heads have equal gates, and which of them stream was decided by their numbers, not by what was measured`;
}

interface MeasuredLengths {
  readonly atTokens: number | null;
  readonly longestTokens: number;
  /** default false */
  readonly isProportional?: boolean;
}

function describeExtrapolation({ atTokens, longestTokens, isProportional = false }: MeasuredLengths): string | null {
  if (atTokens === null || atTokens <= longestTokens) return null;
  if (isProportional) {
    return `the mask was cut for ${atTokens} tokens by windows in proportion to the length, measured on samples of ${longestTokens} at most: that the proportion holds beyond is not known`;
  }
  return `the mask was cut for ${atTokens} tokens, but its windows were measured on samples of ${longestTokens} at most: what they leave out beyond that is not known`;
}

/** Held-out samples on which the mask is not above random masks of its size by more than chance. */
function describeRandom(rows: readonly EvalRow[]): string | null {
  const given = rows.find(({ mask }) => mask === 'given');
  const random = rows.filter(({ mask }) => /^random-\d+$/.test(mask));
  if (given?.logProbInterval == null || random.length === 0) return null;
  const best = Math.max(...random.map(({ logProb }) => logProb ?? Number.NEGATIVE_INFINITY));
  const [low] = given.logProbInterval;
  if (low > best) return null;
  return `the mask is not above random masks of its size on held-out samples: log-probability ${given.logProb?.toFixed(3)} (from ${low.toFixed(3)}), best random mask ${best.toFixed(3)}`;
}
