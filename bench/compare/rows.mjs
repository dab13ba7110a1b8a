// The rows of the comparison: one line per way to score heads. A new way (another distance, another method) is one more line here.
//   name     names its files and its line in tables
//   method   of duo identify; absent where the scores come from elsewhere: `scores` then says from where
//   samples  passkey, long-range or both: what is learnt from
//   flags    further flags of duo identify
//   family   rows of one family share a colour in figures
export const ROWS = [
  { name: 'quadratic-passkey', family: 'quadratic', method: 'quadratic', samples: 'passkey' },
  { name: 'quadratic-long-range', family: 'quadratic', method: 'quadratic', samples: 'long-range' },
  { name: 'quadratic-both', family: 'quadratic', method: 'quadratic', samples: 'both' },
  { name: 'gates-passkey', family: 'gates', method: 'gates', samples: 'passkey' },
  { name: 'gates-long-range', family: 'gates', method: 'gates', samples: 'long-range' },
  { name: 'gates-both', family: 'gates', method: 'gates', samples: 'both' },
  { name: 'attention-mass', family: 'attention-mass', method: 'attention-mass', samples: 'passkey' },
  { name: 'mean-query-key', family: 'mean-query-key', method: 'mean-query-key', samples: 'long-range' },
  { name: 'retrieval-score', family: 'retrieval-score', method: 'retrieval-score', samples: 'passkey' },
  { name: 'kvpress', family: 'kvpress', scores: 'file' },
  { name: 'random', family: 'random', scores: 'random' },
];

/** Tasks in chat form: one needle, and four of which one is asked for. */
export const CHAT_TASKS = ['niah_single_2', 'niah_multikey_1'];
/** Recall with wordings that nothing was learnt from, several hops, key and value, copying. */
export const PLAIN_TASKS = ['multi-passkey', 'vt', 'kv-retrieval', 'number-string'];

/** Shares of streaming heads at which masks of two runs are held together. */
export const AGREEMENT_SHARES = [0.3, 0.5, 0.7];

/** Rows whose masks are made from disjoint halves of the documents, with growing numbers of samples (of gates: steps). */
export const STABILITY_ROWS = [
  { row: 'quadratic-both', counts: [4, 8, 16, 32] },
  { row: 'gates-both', counts: [64, 128, 250] },
  { row: 'mean-query-key', counts: [4, 16] },
];

/** Arguments of duo identify that a method's number of samples goes into. */
export function countFlags(method, count) {
  return method === 'quadratic' ? ['--quadratic-samples', String(count)] : ['--steps', String(count)];
}
