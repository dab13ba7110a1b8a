// Which tokens of running text only long context predicts (the idea of LongPPL's key tokens, arXiv 2410.23771): the measure of kept gain
// counts them, and the long-range objective learns from them.

/** What makes a token a long-range token. */
export interface LongRangeThresholds {
  /** nats by which full attention must beat every head streaming, exclusive */
  readonly leastGain: number;
  /** log-probability that full attention must give it, exclusive */
  readonly leastLogProb: number;
}

/** Those that kept gain is measured with: more than e² times as likely under full attention, and there above e⁻². */
export const LONG_RANGE: LongRangeThresholds = { leastGain: 2, leastLogProb: -2 };

/** True for a token that only long context predicts. @param full @param streaming log-probabilities, natural logarithms. */
export function isLongRange(full: number, streaming: number, thresholds = LONG_RANGE): boolean {
  return full > thresholds.leastLogProb && full - streaming > thresholds.leastGain;
}
