// Method `attention-mass`: the share of attention that a head pays to the needle while it predicts the answer (attention
// profiling, the baseline of DuoAttention's ablation, whose exact formula the paper does not give).
import { filledGrid } from '../../src/core/shapes.ts';
import type { HeadMethod } from './method.ts';
import { locateNeedles } from './needle-positions.ts';
import { scoreSamples } from './score-samples.ts';

/** Mass over a needle's keys, mean over the queries that predict its answer, over answers, samples and the query group. */
export const attentionMassMethod: HeadMethod = {
  name: 'attention-mass',
  description: 'share of attention on the needle while its answer is predicted (profiling)',
  onlyEngine: 'tensorflow',
  score: (options) =>
    scoreSamples(options, {
      combine: 'mean',
      async scoreSample({ transformer, sample, signal }) {
        const { visitAttention } = await import('../../src/model/transformer/attention-statistics.ts');
        const located = locateNeedles(sample);
        if (located.length === 0) return null;
        const { layers, heads, kvHeads } = transformer.config.shape;
        const group = heads / kvHeads;
        const needleOf = new Map(
          located.flatMap(({ answer: [start, end], needle }) =>
            Array.from({ length: end - start }, (_, index) => [start - 1 + index, needle] as const),
          ),
        );
        const positions = [...needleOf.keys()].sort((a, b) => a - b);
        const values = filledGrid(layers, heads, 0);
        await visitAttention(transformer, sample.tokens, {
          positions,
          signal,
          visit({ layer, kvHead, rows }) {
            for (const [member, queries] of rows.entries()) {
              let mass = 0;
              for (const [index, row] of queries.entries()) {
                const [from, to] = needleOf.get(positions[index] as number) as readonly [number, number];
                for (let key = from; key < to; key++) mass += row[key] as number;
              }
              (values[layer] as number[])[kvHead * group + member] = mass / positions.length;
            }
          },
        });
        return values;
      },
    }),
};
