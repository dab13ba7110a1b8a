// The loss that a quadratic model stands for, in plain loops: what solutions are held to.
import type { QuadraticModel } from '../../../train/quadratic/quadratic-model.ts';

/** What the model predicts the loss to be. @param gates `[N]`. */
export function predictLoss(model: QuadraticModel, gates: Float64Array): number {
  const size = gates.length;
  const step = gates.map((gate, index) => 1 - gate - model.center[index]!);
  let loss = model.loss;
  for (let row = 0; row < size; row++) {
    let sum = 2 * model.slope[row]!;
    for (let column = 0; column < size; column++) sum += model.gram[row * size + column]! * step[column]!;
    loss += sum * step[row]!;
  }
  return loss;
}
