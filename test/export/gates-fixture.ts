// Gates and models that several tests of the export room share.
import type { GateGrid, ModelShape } from '../../src/core/shapes.ts';
import { type GatesFile, tagModel } from '../../src/formats/gates.ts';

/** A grouped-query model of the given grid. */
export function makeModel(layers: number, kvHeads: number): ModelShape {
  return {
    architecture: 'llama',
    layers,
    heads: kvHeads * 2,
    kvHeads,
    headDim: 32,
    hidden: 64,
    intermediate: 128,
    vocab: 100,
    maxPositions: 1024,
  };
}

export function makeGatesFile(gates: GateGrid): GatesFile {
  const model = tagModel(makeModel(gates.length, (gates[0] as number[]).length), null);
  return { schema: 'duo.gates', version: 1, model, gates, provenance: { tool: 'test', seed: 7, config: { lr: 0.02 } } };
}
