// Orders in which heads turn to streaming, and exchanges of heads at a fixed number of them, by a measured quadratic.
import { rankPath } from '../../dist/export/cut-path.js';
import { eliminateHeads } from '../../dist/train/quadratic/eliminate-heads.js';
import { solvePath } from '../../dist/train/quadratic/quadratic-model.js';

/** λ of the presets. */
const LAMBDA = 0.05;

const listAll = (size) => Array.from({ length: size }, (_, head) => head);

/** All heads by one measurement. */
export function findOrder(model) {
  const size = model.slope.length;
  return eliminateHeads(model, { open: listAll(size), count: size });
}

/** By stages: each closes a share of the open heads, then the others are measured anew around the mask. */
export async function orderByStages(measurements, { shrink }) {
  const size = measurements.heads;
  const closed = [];
  while (closed.length < size) {
    const open = listAll(size).filter((head) => !closed.includes(head));
    const gates = new Float64Array(size).fill(1);
    for (const head of closed) gates[head] = 0;
    const model = await measurements.measure(gates, closed.length === 0 ? undefined : open);
    const count = open.length <= 3 ? open.length : Math.ceil(open.length * shrink);
    closed.push(...eliminateHeads(model, { open, count }));
  }
  return closed;
}

/** By the gates of the path of λ, as masks are cut where no elimination was made. */
export function orderByPath(model, kvHeads) {
  const ranking = rankPath(solvePath(model, { lambda: LAMBDA, kvHeads })).flat();
  return listAll(ranking.length).sort((a, b) => ranking[a] - ranking[b] || a - b);
}

/** Swap an open and a closed head for as long as the predicted loss falls, always the pair by which it falls most.
 * @param model around any gates of 0 and 1.  @param streaming closed heads to begin with.  @param options.most swaps. */
export function exchange(model, streaming, { most = Number.POSITIVE_INFINITY } = {}) {
  const size = model.slope.length;
  const { gram, slope, center } = model;
  const closed = new Float64Array(size);
  for (const head of streaming) closed[head] = 1;
  // half the derivative of the predicted loss by each closure
  const derivative = slope.map((value, row) => {
    let sum = value;
    for (let column = 0; column < size; column++) sum += gram[row * size + column] * (closed[column] - center[column]);
    return sum;
  });
  for (let swaps = 0; swaps < most; swaps++) {
    let best = { change: -1e-9 * Math.abs(model.loss), open: -1, shut: -1 };
    for (let open = 0; open < size; open++) {
      if (closed[open] === 0) continue;
      for (let shut = 0; shut < size; shut++) {
        if (closed[shut] === 1) continue;
        const change =
          2 * (derivative[shut] - derivative[open]) +
          gram[open * size + open] +
          gram[shut * size + shut] -
          2 * gram[open * size + shut];
        if (change < best.change) best = { change, open, shut };
      }
    }
    if (best.open < 0) break;
    closed[best.open] = 0;
    closed[best.shut] = 1;
    for (let row = 0; row < size; row++) derivative[row] += gram[row * size + best.shut] - gram[row * size + best.open];
  }
  return listAll(size).filter((head) => closed[head] === 1);
}
