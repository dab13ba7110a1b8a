// The frozen quadratic of mha-2l (independent float64 implementation): its documents as samples, Q and the box solution.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AnswerRange, GateGrid, Sample, Window } from '../../../src/core/shapes.ts';

export const GOLDEN_MODEL = 'test/golden/mha-2l';

interface GoldenFile {
  sink: number;
  recent: number;
  reg: number;
  docs: { ids: number[]; positions: number[] }[];
  Q: GateGrid;
  boxqp: number[];
}

/** Q and `boxGates` were computed over the first four documents. */
export const GOLDEN_SAMPLES = 4;

const file = JSON.parse(readFileSync(join(GOLDEN_MODEL, 'ident.json'), 'utf8')) as GoldenFile;

export const goldenWindow: Window = { sinkTokens: file.sink, recentTokens: file.recent };
export const goldenLambda = file.reg;
/** `[N][N]` */
export const goldenMatrix = file.Q;
/** gates at goldenLambda, `[N]` */
export const goldenBoxGates = file.boxqp;
export const goldenSamples: Sample[] = file.docs.map(({ ids, positions }) => ({
  tokens: ids,
  answers: positions.map((position): AnswerRange => [position + 1, position + 2]),
}));
