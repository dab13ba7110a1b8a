// The fingerprint of a model: the same for the same weights in any folder, however they are saved and sharded, and another for another model
// of the same shape. Reads a few KiB of each tensor, so that it takes milliseconds on any size.
import { createHash } from 'node:crypto';
import type { ModelConfig } from './config.ts';
import { readBytes } from './safetensors.ts';
import { listExpectedTensors } from './tensor-names.ts';
import type { WeightStore } from './weights.ts';

/** bytes taken from the start and from the end of each tensor */
const EDGE_BYTES = 2 ** 12;
/** bytes that the older kind takes from the start and from the end of each shard's data */
const OLDER_EDGE_BYTES = 2 ** 16;

/** `sha256:` and hex over shape and rope fields in a fixed order, then, by tensor in order of name: name, dtype, shape, first and last 4 KiB of
 * its values as they are stored (GGUF: of its blocks). Tensors that the model does not use have no part in it.
 * @throws {FileError} reading failed; {FormatError} a file was cut since it was opened. */
export function computeFingerprint(config: ModelConfig, weights: WeightStore): string {
  const hash = createHash('sha256');
  hash.update(describeCanonically(config));
  const names = listExpectedTensors(config).map(({ name }) => name);
  for (const name of names.sort()) {
    const { dtype, shape } = weights.info(name);
    hash.update(JSON.stringify([name, dtype, shape]));
    for (const edge of weights.readEdges(name, EDGE_BYTES)) hash.update(edge);
  }
  return `sha256:${hash.digest('hex')}`;
}

/** The older kind, which earlier masks carry, computed from the files: for each shard in name order its header bytes, first and last 64 KiB of its data.
 * @returns null for GGUF, which never had one. @throws as computeFingerprint. */
export function computeOlderFingerprint(config: ModelConfig, weights: WeightStore): string | null {
  if (weights.shards.length === 0) return null;
  const hash = createHash('sha256');
  hash.update(describeCanonically(config));
  for (const shard of weights.shards) {
    hash.update(shard.headerBytes);
    const edge = new Uint8Array(Math.min(OLDER_EDGE_BYTES, shard.dataBytes));
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
  const maxPositions = config.fingerprintPositions ?? shape.maxPositions;
  const fields = { ...shape, maxPositions, ropeTheta, ...prefixKeys(ropeScaling) };
  return JSON.stringify(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function prefixKeys(scaling: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(scaling).map(([key, value]) => [`ropeScaling.${key}`, value]));
}
