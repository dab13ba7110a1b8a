// A mask.json of version 2 for tests: two layers of three KV heads, windows of 8 and 32 tokens or all.
import type { WindowsMaskFile } from '../../../src/formats/mask.ts';

export function makeWindowsMask(change: Record<string, unknown> = {}): WindowsMaskFile {
  return {
    schema: 'duo.head-mask',
    version: 2,
    model: { architecture: 'llama', layers: 2, heads: 6, kvHeads: 3, headDim: 16, fingerprint: 'sha256:aa' },
    sink: 4,
    windows: [
      [null, 8, 8],
      [32, 8, null],
    ],
    ladder: [8, 16, 32],
    kvShare: 0.5,
    atTokens: 1000,
    predictedLoss: 0.125,
    lossBound: 0.1,
    gates: [
      [1, 0, 0.25],
      [0.5, 0, 1],
    ],
    provenance: { tool: 'duo', seed: 42, sink: 4, recent: 8 },
    ...change,
  } as WindowsMaskFile;
}
