// Depths of needles: drawn without replacement from a grid over the haystack, then moved to a near sentence end.
import type { Random } from '../src/core/random.ts';
import type { Tokenizer } from '../src/text/tokenizer.ts';

export interface DepthSettings {
  readonly depthMin: number;
  readonly depthMax: number;
  readonly depthCount: number;
  readonly passkeys: number;
}

/** Distinct points of the grid, ascending, each a share of the haystack: one for each passkey, of which there are at most depthCount. */
export function drawDepths(settings: DepthSettings, random: Random): number[] {
  const { depthMin, depthMax, depthCount, passkeys } = settings;
  const spacing = depthCount === 1 ? 0 : (depthMax - depthMin) / (depthCount - 1);
  return random
    .distinct(passkeys, depthCount)
    .sort((a, b) => a - b)
    .map((point) => depthMin + spacing * point);
}

const SENTENCE_END = /[.!?]["')\]]*\s*$|\n\s*$/;
const sentenceEnds = new WeakMap<Tokenizer, Map<number, boolean>>();

/** True iff a sentence or line can end with this token; remembered for each tokenizer. */
function endsSentence(tokenizer: Tokenizer, id: number): boolean {
  let known = sentenceEnds.get(tokenizer);
  if (!known) {
    known = new Map();
    sentenceEnds.set(tokenizer, known);
  }
  let ends = known.get(id);
  if (ends === undefined) {
    ends = SENTENCE_END.test(tokenizer.decode([id]));
    known.set(id, ends);
  }
  return ends;
}

const MAX_SHIFT_TOKENS = 48; // about two sentences; a needle farther from its depth would blur the grid

/** Token positions at which needles enter the haystack, strictly ascending, each from 1 to haystack.length.
 * Prefers the sentence end nearest to the depth; the exact depth where none is close.
 * @param depths ascending, at most haystack.length many. */
export function placeNeedles(
  haystack: readonly number[],
  options: { depths: readonly number[]; tokenizer: Tokenizer },
): number[] {
  const { depths, tokenizer } = options;
  const positions: number[] = [];
  // A shift of more than a share of the mean gap would pull far needles together in short samples.
  const maxShift = Math.min(MAX_SHIFT_TOKENS, Math.ceil(haystack.length / depths.length));
  let least = 1;
  for (const [index, depth] of depths.entries()) {
    const most = haystack.length - (depths.length - 1 - index);
    const target = Math.min(most, Math.max(least, Math.round(haystack.length * depth)));
    let chosen = target;
    for (let shift = 0; shift <= maxShift; shift++) {
      const found = [target - shift, target + shift].find(
        (at) => at >= least && at <= most && endsSentence(tokenizer, haystack[at - 1] as number),
      );
      if (found !== undefined) {
        chosen = found;
        break;
      }
    }
    positions.push(chosen);
    least = chosen + 1;
  }
  return positions;
}
