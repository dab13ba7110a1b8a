// Effects measured anew around a chosen mask: what each head would change by going to another window while all others stay on theirs. A ladder in the
// same form comes of it, exact at the mask and for one head's move, so that the cut can be searched again near it.
import { measureLoss } from '../dist/train/quadratic/measure-sample.js';

/** One sample's share: `{ tokens, triangle, constant }`. Loss of a choice = constant + the sum over ordered pairs of its options.
 * @param mask around which; its windows are among `windows`. */
export async function measureAround(engine, sample, { mask, windows }) {
  const { layers, kvHeads } = engine.model;
  const heads = layers * kvHeads;
  const options = { supervise: 'predict' };
  const closed = Array.from({ length: layers }, () => new Array(kvHeads).fill(0));
  const hiddenOf = (at) => engine.computeHidden(sample, closed, at, options);
  const full = await engine.computeHidden(sample, 'full', mask, options);
  const here = await hiddenOf(mask);
  const length = full.length;
  const stride = windows.length + 1;
  const rows = new Float32Array((1 + heads * stride) * length);
  for (let at = 0; at < length; at++) rows[at] = here[at] - full[at];
  for (let head = 0; head < heads; head++) {
    const [layer, own] = [Math.floor(head / kvHeads), head % kvHeads];
    for (const [rung, window] of [...windows, null].entries()) {
      if (mask.windows[layer][own] === window) continue;
      const moved = mask.windows.map((row) => [...row]);
      moved[layer][own] = window;
      const there = await hiddenOf({ sinkTokens: mask.sinkTokens, windows: moved });
      const begin = (1 + head * stride + rung) * length;
      for (let at = 0; at < length; at++) rows[begin + at] = there[at] - here[at];
    }
  }
  const gram = await engine.multiplyGram(rows, rows, { length, scale: 1 / length });
  return { tokens: sample.tokens.length, ...refer(gram, { heads, rungs: windows.length }) };
}

/** From moves away from a mask to options beside the whole context, as a ladder has them: option = its move less the head's move to the whole
 * context; what all those moves and the mask's own change make together is in every choice, and its products with an option go to the diagonal. */
function refer(gram, { heads, rungs }) {
  const stride = rungs + 1;
  const count = 1 + heads * stride;
  const at = (row, column) => gram[row * count + column];
  const wholes = [0, ...Array.from({ length: heads }, (_, head) => 1 + head * stride + rungs)];
  const offset = new Float64Array(count);
  for (let row = 0; row < count; row++) for (const whole of wholes) offset[row] += at(row, whole);
  const constant = wholes.reduce((sum, whole) => sum + offset[whole], 0);
  const size = heads * rungs;
  const places = Array.from({ length: size }, (_, option) => {
    const begin = 1 + Math.floor(option / rungs) * stride;
    return { own: begin + (option % rungs), whole: begin + rungs };
  });
  const triangle = new Float64Array((size * (size + 1)) / 2);
  let index = 0;
  for (const [row, a] of places.entries()) {
    for (let column = 0; column <= row; column++) {
      const b = places[column];
      const product = at(a.own, b.own) - at(a.own, b.whole) - at(a.whole, b.own) + at(a.whole, b.whole);
      triangle[index++] = row === column ? product + 2 * (offset[a.own] - offset[a.whole]) : product;
    }
  }
  return { triangle, constant };
}

/** Mean square change of the hidden states under a mask, over samples: what a cut predicts. */
export async function measureTrueLoss(engine, samples, mask) {
  const { layers, kvHeads } = engine.model;
  const gates = Array.from({ length: layers }, () => new Array(kvHeads).fill(0));
  let sum = 0;
  for (const sample of samples) sum += await measureLoss(sample, gates, { engine, window: mask, supervise: 'predict' });
  return sum / samples.length;
}
