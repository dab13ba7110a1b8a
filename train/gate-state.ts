// What a checkpoint keeps of the gate optimizer; apart from the code, which loads TensorFlow.js.

/** All that the next step depends on, bit for bit; arrays are copies of length L·G. */
export interface GateOptimizerState {
  /** steps applied */
  readonly steps: number;
  readonly gates: Float32Array;
  readonly firstMoment: Float32Array;
  readonly secondMoment: Float32Array;
  /** β1^(steps+1), β2^(steps+1) as tfjs accumulates them in float32, [2] */
  readonly betaPowers: Float32Array;
}
