// What a quadratic run is expected to take, reported before its first sample. The engine counts bytes and operations of a distillation
// step, of which one forward pass is a quarter; the rate is measured on one forward pass of a short sample.
import type { Sample, Supervise, Window } from '../../src/core/shapes.ts';
import { supervisedPositions } from '../../src/core/shapes.ts';
import { type RunEstimate, timeCall } from '../estimate.ts';
import { countOptimizerForwards, countQuadraticForwards, countSketchBytes } from './cost.ts';
import { countBlocks, countHeldBytes, type ProbingEngine } from './measure-sample.ts';
import { isFirstSpared, type QuadraticSettings } from './quadratic-settings.ts';

const LONG_RUN_SECONDS = 3600;

/** Memory and time of all rounds. Costs one forward pass.
 * @param options.samples the samples of a round.  @param options.shortSample the one that is timed. */
export async function estimateQuadratic(options: {
  engine: ProbingEngine;
  samples: readonly Sample[];
  shortSample: Sample;
  quadratic: Pick<QuadraticSettings, 'rounds' | 'step' | 'windows' | 'windowRule' | 'ladderVectors' | 'vectors'>;
  window: Window;
  supervise: Supervise;
  signal?: AbortSignal | undefined;
}): Promise<RunEstimate> {
  const { engine, samples, shortSample, quadratic, window, supervise, signal } = options;
  const { rounds, windows = [], ladderVectors: vectors = 0 } = quadratic;
  const { layers, kvHeads, hidden } = engine.model;
  const operationsOf = (tokens: number): number =>
    engine.estimate(tokens, window).operations / countOptimizerForwards(1);
  const hiddenOptions = { supervise, ...(signal ? { signal } : {}) };
  const seconds = await timeCall(engine, () => engine.computeHidden(shortSample, 'full', window, hiddenOptions));
  const operationsPerSecond = operationsOf(shortSample.tokens.length) / seconds;
  let operations = 0;
  let memoryBytes = 0;
  for (const { tokens, answers } of samples) {
    const size = { numHeads: layers * kvHeads, length: supervisedPositions(answers, supervise).length * hidden };
    const counts = {
      layers,
      kvHeads,
      callsPerSample: countBlocks(size),
      samples: 1,
      rounds,
      windows: windows.length,
      vectors,
      sketchVectors: quadratic.vectors ?? 0,
    };
    const forwards = countQuadraticForwards({
      ...counts,
      isFirstSpared: isFirstSpared(quadratic, window.recentTokens),
    });
    operations += operationsOf(tokens.length) * forwards;
    const probed = vectors > 0 ? 1 : Math.max(1, windows.length);
    const held = countHeldBytes({ ...size, numHeads: size.numHeads * probed });
    const ofSketches = [
      { vectors: windows.length > 0 ? vectors : 0, windows: windows.length },
      { vectors: quadratic.vectors ?? 0, windows: 1 },
    ];
    const isGpu = engine.device.startsWith('cuda');
    const sketched = ofSketches.map((sketch) =>
      sketch.vectors > 0 ? countSketchBytes({ ...sketch, tokens: tokens.length, model: engine.model, isGpu }) : 0,
    );
    memoryBytes = Math.max(
      memoryBytes,
      engine.estimate(tokens.length, window).memoryBytes + Math.max(held, ...sketched),
    );
  }
  const expected = operations / operationsPerSecond;
  return { memoryBytes, operations, seconds: expected, isLong: expected >= LONG_RUN_SECONDS };
}
