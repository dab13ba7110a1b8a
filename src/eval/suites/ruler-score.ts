// RULER's scores by task: the share of references found in the prediction, or any of them for its questions.
import { cleanPrediction, foldSpace, scoreAllReferences, scoreAnyReference } from '../metrics/string-match.ts';
import type { Scoring } from './scoring.ts';

/** tokens_to_generate of the suite, by the task's first word. */
const MAX_NEW_TOKENS: Readonly<Record<string, number>> = { niah: 128, vt: 30, cwe: 120, fwe: 50, qa: 32 };

export interface RulerRule {
  readonly maxNewTokens: number;
  readonly match: (prediction: string, references: readonly string[]) => number;
  readonly metric: 'string-match-all' | 'string-match-part';
}

/** How RULER treats a task of this name (`niah_single_1`, `qa_2`, …); null if it has none of that name. */
export function findRulerRule(task: string): RulerRule | null {
  const family = /^(niah(?=_)|vt|cwe|fwe|qa)(?:_|$)/.exec(task)?.[1];
  if (family === undefined) return null;
  const maxNewTokens = MAX_NEW_TOKENS[family] as number;
  return family === 'qa'
    ? { maxNewTokens, match: scoreAnyReference, metric: 'string-match-part' }
    : { maxNewTokens, match: scoreAllReferences, metric: 'string-match-all' };
}

/** @param clean what is done to a prediction before it is searched, default RULER's own. */
export function scoreRuler(
  rule: RulerRule,
  references: readonly string[],
  clean: (prediction: string) => string = cleanPrediction,
): Scoring {
  return {
    metric: rule.metric,
    score: (prediction) => rule.match(clean(prediction), references),
    others: {
      'folded-string-match': (prediction) => rule.match(foldSpace(prediction), references.map(foldSpace)),
    },
  };
}
