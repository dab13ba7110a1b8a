// The frame of methods that look at samples one by one and average: no optimisation, so no checkpoint; a resume begins anew
// and ends with the same bytes.
import { filledGrid, type GateGrid, type ModelShape, type Sample } from '../../src/core/shapes.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { AbortedError, ConfigError } from '../../src/errors/errors.ts';
import { measureOverEngines } from '../quadratic/over-engines.ts';
import type { ScoredGates, ScoreOptions } from './method.ts';

/** What one sample adds: a value per query head, `[layers][heads]`, or null where the method cannot use it. */
export type ScoreSample = (input: {
  readonly engine: Engine;
  readonly sample: Sample;
  /** the options of a call that may be stopped */
  readonly abort: { readonly signal?: AbortSignal };
}) => Promise<number[][] | null>;

/** Average `scoreSample` over `settings.steps` samples and bring query heads together to KV heads.
 * @param combine `mean` or `max` over a KV head's query group.
 * @returns values clamped to 0..1. No file is written: nothing is optimised.
 * @throws {ConfigError} an engine that does not show attention, or no sample that the method can use; {AbortedError}; {EngineError}. */
export async function scoreSamples(
  options: ScoreOptions,
  method: { readonly scoreSample: ScoreSample; readonly combine: 'mean' | 'max' },
): Promise<ScoredGates> {
  const { engine, settings, signal, shared } = options;
  const abort = signal === undefined ? {} : { signal };
  const { layers, heads } = engine.model;
  const sums = filledGrid(layers, heads, 0);
  let used = 0;
  await measureOverEngines({
    begin: 0,
    end: settings.steps,
    engines: [engine],
    sampleAt: options.sampleAt,
    async measure(sample, { index }) {
      if (signal?.aborted) throw new AbortedError(`Stopped before sample ${index} of ${settings.steps}.`);
      return Float64Array.from((await method.scoreSample({ engine, sample, abort }))?.flat() ?? []);
    },
    onMeasured(values) {
      if (values.length === 0) return;
      used++;
      for (const [at, value] of values.entries()) (sums[Math.floor(at / heads)] as number[])[at % heads]! += value;
    },
    onProgress: (done) => options.onProgress?.(done / settings.steps),
    shared: shared && { results: shared, name: 'sample' },
    signal,
  });
  if (used === 0) {
    throw new ConfigError(
      'Expected samples whose answers occur earlier in their text and are recalled, got none; use --method gates',
    );
  }
  const means = sums.map((row) => row.map((sum) => sum / used));
  return {
    gates: groupHeads(means, engine.model, method.combine),
    stepsDone: settings.steps,
    provenance: { steps: settings.steps, samplesUsed: used },
  };
}

/** `[layers][heads]` to `[layers][kvHeads]`; query head h reads KV head ⌊h / g⌋. Clamped to 0..1. */
export function groupHeads(
  values: readonly (readonly number[])[],
  model: Pick<ModelShape, 'heads' | 'kvHeads'>,
  combine: 'mean' | 'max',
): GateGrid {
  const group = model.heads / model.kvHeads;
  return values.map((row) =>
    Array.from({ length: model.kvHeads }, (_, kvHead) => {
      const own = row.slice(kvHead * group, (kvHead + 1) * group);
      const value = combine === 'max' ? Math.max(...own) : own.reduce((a, b) => a + b, 0) / group;
      return Math.min(1, Math.max(0, value));
    }),
  );
}

/** What an engine shows of attention. @throws {ConfigError} nothing. */
export function requireReader(engine: Engine): NonNullable<Engine['readAttention']> {
  if (engine.readAttention === undefined) throw noReader(engine);
  return engine.readAttention.bind(engine);
}

export function noReader(engine: Engine): ConfigError {
  return new ConfigError(
    `Expected an engine that shows what heads attend to, got \`${engine.name}\` without that; use --method gates`,
  );
}

/** `[layers][heads]`: the sum over positions of what each `[position, layer, head]` of a reading is worth. */
export function sumPositions(
  { layers, heads }: Pick<ModelShape, 'layers' | 'heads'>,
  count: number,
  worth: (at: number, index: number) => number,
): number[][] {
  return Array.from({ length: layers }, (_, layer) =>
    Array.from({ length: heads }, (_, head) => {
      let sum = 0;
      for (let index = 0; index < count; index++) sum += worth((index * layers + layer) * heads + head, index);
      return sum;
    }),
  );
}
