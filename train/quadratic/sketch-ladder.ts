// One sample's share of the ladder from a sketch: random ±1 vectors over what the sample's distance measures, and how each head at each window would move
// along them. Their mean product is the inner product of the moves in expectation, with an error of 1/√m of the moves' own lengths.
// The cost is one backward pass per vector, whatever the number of heads and windows; moves are derivatives, from which whole closings deviate.
import { makeRandom } from '../../src/core/random.ts';
import type { Sample } from '../../src/core/shapes.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { ConfigError } from '../../src/errors/errors.ts';
import { drawSigns } from './draw-signs.ts';
import { type LadderOptions, narrowestOf } from './measure-ladder.ts';
import { multiplySketch } from './multiply-sketch.ts';
import { openMetric } from './sample-metric.ts';

/** An engine that can sketch. */
export type SketchingEngine = Engine & Required<Pick<Engine, 'sketch'>>;

/** The engine, where it can sketch. @throws {ConfigError} it cannot. */
export function requireSketching(engine: Engine): SketchingEngine {
  if (engine.sketch) return engine as SketchingEngine;
  throw new ConfigError(
    `Expected \`ladderVectors\` and \`quadraticVectors\` to be 0 with engine \`${engine.name}\` on \`${engine.device}\`, which cannot sketch.`,
  );
}

/** Estimated inner products, as `measureLadder` gives the true ones.
 * @param options.vectors m ≥ 1.  @param options.sampleIndex decides the vectors, with nothing else.
 * @returns lower triangle, fp64. @throws {FormatError} no supervised position; {ConfigError} the engine cannot; {AbortedError}; {EngineError}. */
export async function sketchLadder(
  sample: Sample,
  options: Omit<LadderOptions, 'scratchFolder' | 'limits'> & { vectors: number; sampleIndex: number },
): Promise<Float64Array> {
  const { sinkTokens, windows, supervise, signal, vectors: count, sampleIndex, onProgress } = options;
  const engine = requireSketching(options.engine);
  const metric = await openMetric(sample, { ...options, window: narrowestOf(options) });
  const vectors = drawSigns(makeRandom(0, 'ladder sketch', sampleIndex), count * metric.length);
  const products = await engine.sketch(
    sample,
    { vectors: await metric.pullBack(vectors), windows, sinkTokens },
    { supervise, ...(signal && { signal }), ...(onProgress && { onProgress }) },
  );
  return multiplySketch(products, { count, scale: metric.scale });
}
