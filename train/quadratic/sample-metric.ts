// How the differences of one sample are measured: as they are, mean over supervised positions and C, or as features whose squared lengths are KL
// divergences from full attention's next-token distributions, mean over positions.
import { filledGrid, type Sample, type Supervise, supervisedPositions, type Window } from '../../src/core/shapes.ts';
import type { Distance, Engine } from '../../src/engine/engine.ts';
import { FormatError } from '../../src/errors/errors.ts';
import { requireKl } from '../distance.ts';

/** Of a pass with every head full, which looks at none. */
const NO_WINDOW: Window = { sinkTokens: 0, recentTokens: 1 };

/** What looks at the hidden states of a sample. */
export interface SampleOptions {
  readonly engine: Engine & Required<Pick<Engine, 'computeHidden'>>;
  readonly supervise: Supervise;
  readonly signal?: AbortSignal | undefined;
}

export interface SampleMetric {
  /** values of one difference of hidden states, positions times C */
  readonly hiddenLength: number;
  /** values of one measured difference */
  readonly length: number;
  /** what inner products of measured differences are multiplied by */
  readonly scale: number;
  /** Differences of hidden states `[n, positions, C]` as they are measured, `[n, length]`. */
  measure(differences: Float32Array): Promise<Float32Array>;
  /** Vectors `[n, length]` over measured differences as vectors over those of hidden states, `[n, positions, C]`. */
  pullBack(vectors: Float32Array): Promise<Float32Array>;
}

/** Open the metric of a sample. KL, anchored where every head streams, costs a forward pass each, unless `full` and `streaming` are given.
 * @throws {FormatError} no supervised position; {ConfigError} the engine has no KL; {AbortedError}; {EngineError}. */
export async function openMetric(
  sample: Sample,
  options: SampleOptions & {
    /** default 'hidden' */
    readonly distance?: Distance | undefined;
    /** h(all full) of the sample, where it is known already */
    readonly full?: Float32Array | undefined;
    /** h(every head streaming), where it is known already */
    readonly streaming?: Float32Array | undefined;
    /** of heads that stream */
    readonly window: Window;
  },
): Promise<SampleMetric> {
  const { engine, supervise, distance = 'hidden', signal } = options;
  const { hidden } = engine.model;
  const hiddenLength = countLength(sample, { supervise, hidden });
  if (distance === 'hidden') {
    const same = async (values: Float32Array): Promise<Float32Array> => values;
    return { hiddenLength, length: hiddenLength, scale: 1 / hiddenLength, measure: same, pullBack: same };
  }
  const { klMetric } = requireKl(engine);
  const reference = options.full ?? (await computeFull(sample, options));
  const point = { reference, anchor: options.streaming ?? (await computeStreaming(sample, options)) };
  const positions = hiddenLength / hidden;
  const control = signal ? { signal } : {};
  return {
    hiddenLength,
    length: positions * klMetric.features,
    scale: 1 / positions,
    measure: (differences) => klMetric.project(point, differences, control),
    pullBack: (vectors) => klMetric.pullBack(point, vectors, control),
  };
}

/** h(all full) at the supervised positions, `[positions, C]`. */
export function computeFull(sample: Sample, { engine, supervise, signal }: SampleOptions): Promise<Float32Array> {
  return engine.computeHidden(sample, 'full', NO_WINDOW, { supervise, ...(signal ? { signal } : {}) });
}

/** h(every head streaming) at the supervised positions, `[positions, C]`. */
export function computeStreaming(
  sample: Sample,
  { engine, supervise, signal, window }: SampleOptions & { readonly window: Window },
): Promise<Float32Array> {
  const streaming = filledGrid(engine.model.layers, engine.model.kvHeads, 0);
  return engine.computeHidden(sample, streaming, window, { supervise, ...(signal ? { signal } : {}) });
}

/** Values of one difference of hidden states. @throws {FormatError} no supervised position. */
function countLength(sample: Sample, options: { supervise: Supervise; hidden: number }): number {
  const length = supervisedPositions(sample.answers, options.supervise).length * options.hidden;
  if (length > 0) return length;
  throw new FormatError(
    'Expected a sample with at least one supervised position, found none; the quadratic method needs answer ranges.',
  );
}
