// One sample's share of the quadratic from a sketch, around a mask: random ±1 vectors carried back once for all heads instead of one forward pass per head.
// Inner products of heads are estimates; those with the residual are exact, for the residual is carried back as a vector of its own. Moves are
// derivatives, whatever `step` probes would take.
import { makeRandom } from '../../src/core/random.ts';
import type { GateGrid, Sample } from '../../src/core/shapes.ts';
import { countMeasureForwards, countSketchForwards } from './cost.ts';
import { drawSigns } from './draw-signs.ts';
import { computeResidual, isFull, type MeasureOptions } from './measure-sample.ts';
import { multiplySketch } from './multiply-sketch.ts';
import { openMetric } from './sample-metric.ts';
import { requireSketching } from './sketch-ladder.ts';

/** True where a measurement around `gates` is a mask's, and cheaper by `vectors` backward passes than by probing its open heads.
 * @param options.open heads to be probed.  @param options.vectors 0 = never. */
export function isSketched(
  gates: GateGrid,
  { open, kvHeads, vectors }: { open: number; kvHeads: number; vectors: number },
): boolean {
  if (vectors === 0 || !gates.every((row) => row.every((gate) => gate === 0 || gate === 1))) return false;
  const layers = gates.length;
  const isFirst = isFull(gates);
  const shape = { layers, kvHeads: (kvHeads * open) / (layers * kvHeads), callsPerSample: 1, isFirst };
  return countSketchForwards(vectors + (isFirst ? 0 : 1)) < countMeasureForwards(shape);
}

/** As `measureSample`, estimated.
 * @param gates `[layers][kvHeads]`, each 0 or 1; rows of the heads that stream are 0.
 * @param options.vectors m ≥ 1.  @param options.sampleIndex decides the vectors, with nothing else.
 * @returns `[N+1, N+1]` fp64, symmetric. @throws as `measureSample`; {ConfigError} the engine cannot sketch. */
export async function sketchSample(
  sample: Sample,
  gates: GateGrid,
  options: MeasureOptions & { vectors: number; sampleIndex: number },
): Promise<Float64Array> {
  const { window, supervise, signal, vectors: count, sampleIndex, onProgress } = options;
  const engine = requireSketching(options.engine);
  const metric = await openMetric(sample, options);
  const { length, scale } = metric;
  const signs = drawSigns(makeRandom(0, 'quadratic sketch', sampleIndex), count * length);
  const residual = await metric.measure(await computeResidual(sample, gates, options));
  const hasResidual = residual.some((value) => value !== 0);
  const vectors = new Float32Array((count + Number(hasResidual)) * length);
  vectors.set(signs);
  if (hasResidual) vectors.set(residual, count * length);
  const { sinkTokens, recentTokens } = window;
  const products = await engine.sketch(
    sample,
    { vectors: await metric.pullBack(vectors), windows: [recentTokens], sinkTokens, base: { gates, recentTokens } },
    { supervise, ...(signal && { signal }), ...(onProgress && { onProgress }) },
  );
  const heads = engine.model.layers * engine.model.kvHeads;
  const size = heads + 1;
  const gram = new Float64Array(size * size);
  const triangle = multiplySketch(products.subarray(0, count * heads), { count, scale });
  for (let row = 0, at = 0; row < heads; row++) {
    for (let column = 0; column <= row; column++, at++) {
      gram[row * size + column] = triangle[at] as number;
      gram[column * size + row] = triangle[at] as number;
    }
    const slope = hasResidual ? (products[count * heads + row] as number) * scale : 0;
    gram[row * size + heads] = slope;
    gram[heads * size + row] = slope;
  }
  gram[heads * size + heads] = residual.reduce((sum, value) => sum + value * value, 0) * scale;
  return gram;
}
