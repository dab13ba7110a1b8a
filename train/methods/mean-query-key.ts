// Method `mean-query-key`: how far back a head would look if every token had its mean query and key, by their positions alone
// (the on-the-fly score of kvpress). It needs no answers; it measures the decay over distance that mean query and key imply.
import { filledGrid } from '../../src/core/shapes.ts';
import type { HeadMethod } from './method.ts';
import { scoreSamples } from './score-samples.ts';

/** Positions over which the decay is measured, as kvpress does. */
const POSITIONS = 500;

export const meanQueryKeyMethod: HeadMethod = {
  name: 'mean-query-key',
  description: 'how far back mean query and key look by position alone (the kvpress way)',
  onlyEngine: 'tensorflow',
  score: (options) =>
    scoreSamples(options, {
      combine: 'mean',
      async scoreSample({ transformer, sample, signal }) {
        const { attendMeanHead, measureMeanHeads } = await import(
          '../../src/model/transformer/attention-statistics.ts'
        );
        const { layers, heads, kvHeads } = transformer.config.shape;
        const group = heads / kvHeads;
        const values = filledGrid(layers, heads, 0);
        for (const mean of await measureMeanHeads(transformer, sample.tokens, { signal })) {
          for (const [member, row] of attendMeanHead(transformer, mean, POSITIONS).entries()) {
            (values[mean.layer] as number[])[mean.kvHead * group + member] = scoreDistance(row);
          }
        }
        return values;
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
