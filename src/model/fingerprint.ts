// The fingerprint of a model: the same for the same weights in any folder, another for another model of the same shape.
// Reads headers and the ends of each data section only, so that it takes milliseconds on any size.
import { createHash } from 'node:crypto';
import type { ModelConfig } from './config.ts';
import { readBytes } from './safetensors.ts';
import type { WeightStore } from './weights.ts';

/** bytes taken from the start and from the end of each shard's data */
const EDGE_BYTES = 2 ** 16;

/** `sha256:` and hex over shape and rope fields in a fixed order, then, by shard in name order: header bytes, first and last 64 KiB of its data.
 * @throws {FileError} reading failed; {FormatError} a shard was cut since it was opened. */
export function computeFingerprint(config: ModelConfig, weights: WeightStore): string {
  const hash = createHash('sha256');
  hash.update(describeCanonically(config));
  for (const shard of weights.shards) {
    hash.update(shard.headerBytes);
    const edge = new Uint8Array(Math.min(EDGE_BYTES, shard.dataBytes));
    readBytes(shard, edge, shard.dataOffset);
    hash.update(edge);
    readBytes(shard, edge, shard.dataOffset + shard.dataBytes - edge.length);
    hash.update(edge);
  }
  return `sha256:${hash.digest('hex')}`;
}

/** JSON with sorted keys: does not depend on the spelling or order of config.json. */
function describeCanonically(config: ModelConfig): string {
  const { shape, ropeTheta, ropeScaling } = config;
  const fields = { ...shape, ropeTheta, ...prefixKeys(ropeScaling) };
  return JSON.stringify(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function prefixKeys(scaling: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(scaling).map(([key, value]) => [`ropeScaling.${key}`, value]));
}
