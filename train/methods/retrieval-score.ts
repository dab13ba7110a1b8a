// Method `retrieval-score`: how often the key a head attends to most, while an answer token is predicted, lies in the needle and
// is that very token (Wu et al., arXiv 2404.15574). Answers are fed, not generated; one counts only if the model would say more
// than half of it right by itself, as the paper counts only recalls. A KV head has the score of its best query head.
import type { HeadMethod } from './method.ts';
import { type LocatedAnswer, locateNeedles } from './needle-positions.ts';
import { requireReader, scoreSamples, sumPositions } from './score-samples.ts';

/** Share of an answer the model must say right for it to count. */
const MIN_RECALL = 0.5;

export const retrievalScoreMethod: HeadMethod = {
  name: 'retrieval-score',
  description: 'how often a head copies from the needle (retrieval score of Wu et al.)',
  settings: ['steps'],
  joins: true,
  score: (options) =>
    scoreSamples(options, {
      combine: 'max',
      async scoreSample({ engine, sample, abort }) {
        const recalled: LocatedAnswer[] = [];
        for (const located of locateNeedles(sample)) {
          const alone = { tokens: sample.tokens.slice(0, located.answer[1]), answers: [located.answer] };
          const { accuracy } = await engine.evaluate(alone, 'full', abort);
          if (accuracy > MIN_RECALL) recalled.push(located);
        }
        if (recalled.length === 0) return null;
        const answerOf = new Map(
          recalled.flatMap((located) =>
            Array.from(
              { length: located.answer[1] - located.answer[0] },
              (_, index) => [located.answer[0] - 1 + index, located] as const,
            ),
          ),
        );
        const positions = [...answerOf.keys()].sort((a, b) => a - b);
        const keyRanges = positions.map((position) => (answerOf.get(position) as LocatedAnswer).needle);
        const { topKeys } = await requireReader(engine)(sample.tokens, { positions, keyRanges }, abort);
        return sumPositions(engine.model, positions.length, (at, index) => {
          const position = positions[index] as number;
          const { needle, answer } = answerOf.get(position) as LocatedAnswer;
          const top = topKeys[at] as number;
          const isCopy = sample.tokens[top] === sample.tokens[position + 1];
          return top >= needle[0] && top < needle[1] && isCopy ? 1 / (answer[1] - answer[0]) / recalled.length : 0;
        });
      },
    }),
};
