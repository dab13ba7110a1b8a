// Method `retrieval-score`: how often the key a head attends to most, while an answer token is predicted, lies in the needle and
// is that very token (Wu et al., arXiv 2404.15574). Answers are fed, not generated; one counts only if the model would say more
// than half of it right by itself, as the paper counts only recalls. A KV head has the score of its best query head.

import { argmax } from '../../src/core/numbers.ts';
import { filledGrid } from '../../src/core/shapes.ts';
import type { HeadMethod } from './method.ts';
import { type LocatedAnswer, locateNeedles } from './needle-positions.ts';
import { scoreSamples } from './score-samples.ts';

/** Share of an answer the model must say right for it to count. */
const LEAST_RECALL = 0.5;

export const retrievalScoreMethod: HeadMethod = {
  name: 'retrieval-score',
  description: 'how often a head copies from the needle (retrieval score of Wu et al.)',
  onlyEngine: 'tensorflow',
  score: (options) =>
    scoreSamples(options, {
      combine: 'max',
      async scoreSample({ transformer, sample, signal }) {
        const { visitAttention } = await import('../../src/model/transformer/attention-statistics.ts');
        const abort = signal === undefined ? {} : { signal };
        const recalled: LocatedAnswer[] = [];
        for (const located of locateNeedles(sample)) {
          const alone = { tokens: sample.tokens.slice(0, located.answer[1]), answers: [located.answer] };
          const { accuracy } = await options.engine.evaluate(alone, 'full', abort);
          if (accuracy > LEAST_RECALL) recalled.push(located);
        }
        if (recalled.length === 0) return null;
        const { layers, heads, kvHeads } = transformer.config.shape;
        const group = heads / kvHeads;
        const answerOf = new Map(
          recalled.flatMap((located) =>
            Array.from(
              { length: located.answer[1] - located.answer[0] },
              (_, index) => [located.answer[0] - 1 + index, located] as const,
            ),
          ),
        );
        const positions = [...answerOf.keys()].sort((a, b) => a - b);
        const values = filledGrid(layers, heads, 0);
        await visitAttention(transformer, sample.tokens, {
          positions,
          signal,
          visit({ layer, kvHead, rows }) {
            for (const [member, queries] of rows.entries()) {
              let score = 0;
              for (const [index, row] of queries.entries()) {
                const position = positions[index] as number;
                const { needle, answer } = answerOf.get(position) as LocatedAnswer;
                const top = argmax(row);
                const isCopy = sample.tokens[top] === sample.tokens[position + 1];
                if (top >= needle[0] && top < needle[1] && isCopy) score += 1 / (answer[1] - answer[0]);
              }
              (values[layer] as number[])[kvHead * group + member] = score / recalled.length;
            }
          },
        });
        return values;
      },
    }),
};
