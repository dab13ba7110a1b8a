// The config.json next to full_attention_heads.tsv: the reference dumps all its command-line arguments there; consumers use two of them,
// `sink_size` and `recent_size`; if `sparsity` is a number, the pattern was cut by it. Written with the reference's keys in its order; keys without a counterpart in duo are null.
import { z } from 'zod';
import type { Window } from '../src/core/shapes.ts';
import { writeFileAtomic } from '../src/formats/atomic-file.ts';
import { type BinaryMaskFile, MAX_WINDOW_TOKENS, windowOfMask } from '../src/formats/mask.ts';
import {
  checkJson,
  integerWithin,
  type JsonRecord,
  type JsonValue,
  readJson,
  unitNumber,
} from '../src/formats/read-json.ts';

/** The published files have 2 KB. */
const MAX_CONFIG_BYTES = 2 ** 20;

const schema = z.looseObject({
  sink_size: integerWithin(0, MAX_WINDOW_TOKENS),
  recent_size: integerWithin(1, MAX_WINDOW_TOKENS),
  sparsity: z.union([z.null(), unitNumber], { error: 'a number from 0 to 1 or null' }).optional(),
});

/** Keys of the reference's config.json, in its order. */
const KEYS = [
  ...['model_name', 'config_name', 'dataset_name', 'dataset_format', 'split', 'lr', 'num_steps', 'batch_size'],
  ...['max_length', 'context_length_min', 'context_length_max', 'context_lengths_num_intervals'],
  ...['depth_ratio_num_intervals', 'num_passkeys', 'output_dir', 'sink_size', 'recent_size', 'deploy_sink_size'],
  ...['deploy_recent_size', 'reg_weight', 'initial_value', 'exp_name', 'enable_pp', 'enable_tp', 'disable_wandb'],
  ...['min_needle_depth_ratio', 'max_needle_depth_ratio', 'save_steps', 'gradient_accumulation_steps', 'resume'],
  ...['rope_theta', 'device', 'streaming_attn_implementation', 'supervision', 'n_samples', 'task', 'attn_load_dir'],
  ...['threshold', 'sparsity', 'passkey_length', 'context_length', 'generation_length', 'stride_length'],
  ...['prefilling_chunk_size', 'seed'],
] as const;

/** What duo takes from a pattern folder's config.json. */
export interface ReferenceConfig {
  readonly window: Window;
  /** share of heads that stream, where the pattern states one */
  readonly sparsity: number | null;
}

/** Read a pattern folder's config.json. @throws {FileError}; {FormatError} a size is missing, or a value out of range. */
export function readReferenceConfig(path: string): ReferenceConfig {
  const {
    sink_size,
    recent_size,
    sparsity = null,
  } = checkJson(schema, { value: readJson(path, MAX_CONFIG_BYTES), path });
  return { window: { sinkTokens: sink_size, recentTokens: recent_size }, sparsity };
}

/** Write the config.json of a pattern folder for a mask. @throws {FileError}. */
export function writeReferenceConfig(path: string, mask: BinaryMaskFile): void {
  writeFileAtomic(path, `${JSON.stringify(buildReferenceConfig(mask), null, 2)}\n`);
}

/** The reference's keys filled from a mask and the settings in its provenance. */
export function buildReferenceConfig(mask: BinaryMaskFile): JsonRecord {
  const window = windowOfMask(mask);
  const config = (mask.provenance.config ?? {}) as JsonRecord;
  const known: Record<string, JsonValue | undefined> = {
    sink_size: window.sinkTokens,
    recent_size: window.recentTokens,
    sparsity: mask.streamingFraction,
    threshold: mask.threshold,
    lr: config.lr,
    reg_weight: config.lambda,
    num_steps: config.steps,
    seed: mask.provenance.seed ?? config.seed,
    batch_size: 1,
    gradient_accumulation_steps: 1,
    initial_value: 1,
    supervision: 'distill',
    dataset_format: 'multiple_passkey',
  };
  return Object.fromEntries(KEYS.map((key) => [key, known[key] ?? null]));
}
