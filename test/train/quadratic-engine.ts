// A small real objective in place of a model: distillation = mean of (1−α)ᵀQ(1−α), with a Q per sample. Deterministic and exact,
// so that tests of the loop run in milliseconds; golden runs use the tensorflow engine.
import type { GateGrid, Sample } from '../../src/core/shapes.ts';
import type { DistillOptions, DistillResult, Engine } from '../../src/engine/engine.ts';
import { AbortedError, EngineError } from '../../src/errors/errors.ts';

export const LAYERS = 2;
export const KV_HEADS = 3;

/** Called at the start of each distillation; may throw or abort. */
export type Interruption = (call: number) => void;

export function makeQuadraticEngine(interrupt: Interruption = () => {}): Engine {
  let call = 0;
  return {
    name: 'tensorflow',
    device: 'test',
    model: {
      architecture: 'llama',
      layers: LAYERS,
      heads: 6,
      kvHeads: KV_HEADS,
      headDim: 8,
      hidden: 48,
      intermediate: 96,
      vocab: 100,
      maxPositions: 4096,
    },
    async distill(sample: Sample, gates: GateGrid, _window, options: DistillOptions = {}): Promise<DistillResult> {
      interrupt(call++);
      options.onProgress?.(0.5);
      if (options.signal?.aborted) throw new AbortedError('Stopped in the middle of a step.');
      return computeQuadratic(sample, gates);
    },
    evaluate: () => Promise.reject(new EngineError('The quadratic has no tokens to predict.')),
    estimate: (tokens) => ({ memoryBytes: tokens * 1000, operations: tokens * 10 }),
    openSession: () => Promise.reject(new EngineError('The quadratic has no session.')),
    close: () => Promise.resolve(),
  };
}

/** Sample i of the run; its tokens decide its Q. */
export function quadraticSampleAt(step: number): Sample {
  const seed = (step * 7919) % 101;
  return { tokens: [seed, seed + 1, seed + 2], answers: [[1, 2]] };
}

function computeQuadratic(sample: Sample, gates: GateGrid): DistillResult {
  const closed = gates.flat().map((gate) => 1 - gate);
  const weights = closed.map((_, head) => (head % 3 === 0 ? 0.4 : 0.001) * (1 + (sample.tokens[0] as number) / 200));
  const coupling = 0.001;
  const sum = closed.reduce((total, value) => total + value, 0);
  const loss = closed.reduce(
    (total, value, head) => total + (weights[head] as number) * value ** 2,
    coupling * sum ** 2,
  );
  // d/dα = −d/d(1−α)
  const flat = closed.map((value, head) => Math.fround(-2 * ((weights[head] as number) * value + coupling * sum)));
  const gradient = Array.from({ length: LAYERS }, (_, layer) => flat.slice(layer * KV_HEADS, (layer + 1) * KV_HEADS));
  return { loss: Math.fround(loss), gradient };
}
