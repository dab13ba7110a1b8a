// Effects measured anew around a chosen mask: what each head would change by going to another window while all others stay on theirs. A ladder in the
// same form comes of it, exact at the mask and for one head's move, so that the cut can be searched again near it.
import { computeStreaming, openMetric } from '../dist/train/quadratic/sample-metric.js';
import { distanceOf } from './ladders.mjs';

/** One sample's share: `{ tokens, triangle, constant }`. Loss of a choice = constant + the sum over ordered pairs of its options.
 * @param mask around which; its windows are among `windows`. */
export async function measureAround(engine, sample, { mask, windows }) {
  const { layers, kvHeads } = engine.model;
  const heads = layers * kvHeads;
  const options = { supervise: 'predict' };
  const closed = Array.from({ length: layers }, () => new Array(kvHeads).fill(0));
  const hiddenOf = (at) => engine.computeHidden(sample, closed, at, options);
  const metric = await openSampleMetric(engine, sample, { sinkTokens: mask.sinkTokens, windows });
  const { full, length, scale } = metric;
  const width = full.length;
  const here = await hiddenOf(mask);
  const stride = windows.length + 1;
  const rows = new Float32Array((1 + heads * stride) * width);
  for (let at = 0; at < width; at++) rows[at] = here[at] - full[at];
  for (let head = 0; head < heads; head++) {
    const [layer, own] = [Math.floor(head / kvHeads), head % kvHeads];
    for (const [rung, window] of [...windows, null].entries()) {
      if (mask.windows[layer][own] === window) continue;
      const moved = mask.windows.map((row) => [...row]);
      moved[layer][own] = window;
      const there = await hiddenOf({ sinkTokens: mask.sinkTokens, windows: moved });
      const begin = (1 + head * stride + rung) * width;
      for (let at = 0; at < width; at++) rows[begin + at] = there[at] - here[at];
    }
  }
  // all at once, for a distance is set up anew each time
  const measured = await metric.measure(rows);
  const gram = await engine.multiplyGram(measured, measured, { length, scale });
  return {
    tokens: sample.tokens.length,
    isLongRange: sample.isLongRange,
    ...refer(gram, { heads, rungs: windows.length }),
  };
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

/** Loss of a mask on each sample by the distance that it was measured by: what a cut predicts. */
export async function measureTrueLosses(engine, samples, { mask, windows }) {
  const losses = [];
  for (const sample of samples) {
    const metric = await openSampleMetric(engine, sample, { sinkTokens: mask.sinkTokens, windows });
    const own = await computeStreaming(sample, { engine, supervise: 'predict', window: mask });
    const moved = await metric.measure(own.map((value, at) => value - metric.full[at]));
    losses.push(moved.reduce((sum, value) => sum + value * value, 0) * metric.scale);
  }
  return losses;
}

const metrics = new WeakMap();
/** A sample's distance as its ladder has it, with h(all full); opened once. */
async function openSampleMetric(engine, sample, { sinkTokens, windows }) {
  if (!metrics.has(sample)) {
    const options = { engine, supervise: 'predict' };
    const window = { sinkTokens, recentTokens: windows[0] };
    const full = await engine.computeHidden(sample, 'full', window, { supervise: 'predict' });
    const metric = await openMetric(sample, { ...options, distance: distanceOf(sample), window, full });
    metrics.set(sample, { ...metric, full });
  }
  return metrics.get(sample);
}
