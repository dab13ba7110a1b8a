// Method `mean-query-key`: how far back a head would look if every token had its mean query and key, by their positions alone
// (the on-the-fly score of kvpress). It needs no answers; it measures the decay over distance that mean query and key imply.
import type { HeadMethod } from './method.ts';
import { noReader, scoreSamples } from './score-samples.ts';

/** Positions over which the decay is measured, as kvpress does. */
const POSITIONS = 500;

export const meanQueryKeyMethod: HeadMethod = {
  name: 'mean-query-key',
  description: 'how far back mean query and key look by position alone (the kvpress way)',
  settings: ['steps'],
  joins: true,
  score: (options) =>
    scoreSamples(options, {
      combine: 'mean',
      async scoreSample({ engine, sample, abort }) {
        const attend = engine.attendMeans?.bind(engine);
        if (attend === undefined) throw noReader(engine);
        const rows = await attend(sample.tokens, POSITIONS, abort);
        const { layers, heads } = engine.model;
        return Array.from({ length: layers }, (_, layer) =>
          Array.from({ length: heads }, (_, head) => {
            const at = (layer * heads + head) * POSITIONS;
            return scoreDistance(rows.subarray(at, at + POSITIONS));
          }),
        );
      },
    }),
};

/** Mean of the cumulative sum: Σ aⱼ·(n − j)/n. 1 where all attention is on the first key, 1/n where it is on the last. */
export function scoreDistance(attention: ArrayLike<number>): number {
  let score = 0;
  for (let index = 0; index < attention.length; index++) {
    score += ((attention[index] as number) * (attention.length - index)) / attention.length;
  }
  return score;
}
