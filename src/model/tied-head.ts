// A config.json that ties the output layer to the embeddings, while the weights store an lm_head.weight with other values: it cannot be known which was meant.
import { ModelError } from '../errors/errors.ts';
import type { ModelConfig } from './config.ts';
import { readBytes, type Shard, type TensorInfo } from './safetensors.ts';
import { EMBEDDING_NAME, HEAD_NAME } from './tensor-names.ts';
import type { WeightStore } from './weights.ts';

/** bytes of each tensor compared at once */
const CHUNK_BYTES = 2 ** 22;

/** Check that a stored head that is not used repeats the embeddings: dtype, shape, then bytes up to the first that differs.
 * @throws {ModelError} it differs; {FileError} reading failed; {FormatError} a file was cut since it was opened. */
export function checkTiedHead(config: ModelConfig, weights: WeightStore): void {
  // A GGUF file's embeddings are tied where it holds no head.
  if (!config.tiedEmbeddings || weights.shards.length === 0 || !weights.has(HEAD_NAME)) return;
  const head = weights.info(HEAD_NAME);
  const embedding = weights.info(EMBEDDING_NAME);
  const difference = findDifference(weights.shards, { head, embedding });
  if (difference === null) return;
  throw new ModelError(
    `Expected \`${HEAD_NAME}\` of ${head.file} to equal \`${EMBEDDING_NAME}\`, because config.json sets \`tie_word_embeddings\`, got ${difference}; set \`tie_word_embeddings\` to false to use the stored head, or remove \`${HEAD_NAME}\` from the weights to use the embeddings.`,
  );
}

/** In words that follow "got", or null. */
function findDifference(shards: readonly Shard[], tensors: { head: TensorInfo; embedding: TensorInfo }): string | null {
  const { head, embedding } = tensors;
  if (head.dtype !== embedding.dtype) return `${head.dtype} and ${embedding.dtype}`;
  const shapes = [head.shape, embedding.shape].map((shape) => `[${shape.join(', ')}]`);
  if (shapes[0] !== shapes[1]) return `shapes ${shapes[0]} and ${shapes[1]}`;
  const shardOf = (info: TensorInfo): Shard => shards.find(({ path }) => path === info.file)!;
  const headShard = shardOf(head);
  const embeddingShard = shardOf(embedding);
  const size = Math.min(CHUNK_BYTES, head.byteLength);
  const [left, right] = [Buffer.alloc(size), Buffer.alloc(size)];
  for (let done = 0; done < head.byteLength; done += size) {
    const count = Math.min(size, head.byteLength - done);
    readBytes(headShard, left.subarray(0, count), head.offset + done);
    readBytes(embeddingShard, right.subarray(0, count), embedding.offset + done);
    if (!left.subarray(0, count).equals(right.subarray(0, count))) return 'other values';
  }
  return null;
}
