// Method `attention-mass`: the share of attention that a head pays to the needle while it predicts the answer (attention
// profiling, the baseline of DuoAttention's ablation, whose exact formula the paper does not give).
import type { HeadMethod } from './method.ts';
import { locateNeedles } from './needle-positions.ts';
import { requireReader, scoreSamples, sumPositions } from './score-samples.ts';

/** Mass over a needle's keys, mean over the queries that predict its answer, over answers, samples and the query group. */
export const attentionMassMethod: HeadMethod = {
  name: 'attention-mass',
  description: 'share of attention on the needle while its answer is predicted (profiling)',
  settings: ['steps'],
  joins: true,
  score: (options) =>
    scoreSamples(options, {
      combine: 'mean',
      async scoreSample({ engine, sample, abort }) {
        const located = locateNeedles(sample);
        if (located.length === 0) return null;
        const needleOf = new Map(
          located.flatMap(({ answer: [start, end], needle }) =>
            Array.from({ length: end - start }, (_, index) => [start - 1 + index, needle] as const),
          ),
        );
        const positions = [...needleOf.keys()].sort((a, b) => a - b);
        const keyRanges = positions.map((position) => needleOf.get(position) as readonly [number, number]);
        const { masses } = await requireReader(engine)(sample.tokens, { positions, keyRanges }, abort);
        return sumPositions(engine.model, positions.length, (at) => (masses[at] as number) / positions.length);
      },
    }),
};
