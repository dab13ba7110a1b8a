// The architectures that duo computes, by the names of config.json, with transformers' defaults of fields that a file leaves out.
import type { Architecture } from '../core/shapes.ts';
import { ModelError } from '../errors/errors.ts';
import { type FieldSource, showValue } from './config-fields.ts';

export interface ArchitectureFacts {
  readonly architecture: Architecture;
  /** `model_type` */
  readonly type: string;
  /** what `architectures` may name: with an output layer, and without */
  readonly classNames: readonly string[];
  /** transformers' defaults of absent fields; null is computed from others */
  readonly defaults: {
    readonly vocab: number;
    readonly intermediate: number;
    readonly kvHeads: number | null;
    readonly headDim: number | null;
    readonly positions: number;
    readonly theta: number;
  };
}

/** transformers' defaults that all architectures share. */
export const DEFAULT_HIDDEN = 4096;
export const DEFAULT_LAYERS = 32;
export const DEFAULT_HEADS = 32;
const QWEN = { vocab: 151_936, intermediate: 22_016, kvHeads: 32, positions: 32_768, theta: 10_000 };
const ARCHITECTURES: readonly ArchitectureFacts[] = [
  {
    architecture: 'llama',
    type: 'llama',
    classNames: ['LlamaForCausalLM', 'LlamaModel'],
    defaults: { vocab: 32_000, intermediate: 11_008, kvHeads: null, headDim: null, positions: 2048, theta: 10_000 },
  },
  {
    architecture: 'mistral',
    type: 'mistral',
    classNames: ['MistralForCausalLM', 'MistralModel'],
    defaults: { vocab: 32_000, intermediate: 14_336, kvHeads: 8, headDim: null, positions: 131_072, theta: 10_000 },
  },
  {
    architecture: 'qwen2',
    type: 'qwen2',
    classNames: ['Qwen2ForCausalLM', 'Qwen2Model'],
    defaults: { ...QWEN, headDim: null },
  },
  {
    architecture: 'qwen3',
    type: 'qwen3',
    classNames: ['Qwen3ForCausalLM', 'Qwen3Model'],
    defaults: { ...QWEN, headDim: 128 },
  },
  // The language model of Qwen3-VL: for text, where a token has one position, its three-part RoPE is plain RoPE.
  {
    architecture: 'qwen3',
    type: 'qwen3_vl_text',
    classNames: ['Qwen3VLTextModel'],
    defaults: { ...QWEN, headDim: 128, positions: 128_000, theta: 500_000 },
  },
];

/** `model_type` decides; `architectures`, where given, must agree, so that a classifier or a wrapper without `text_config` is not taken for the language model. */
export function findArchitecture(source: FieldSource): ArchitectureFacts {
  const { model_type: type, architectures } = source.fields;
  const classes: unknown[] = Array.isArray(architectures) ? architectures : [];
  const facts = ARCHITECTURES.find((known) =>
    type === undefined || type === null ? known.classNames.some((name) => classes.includes(name)) : type === known.type,
  );
  const known = ARCHITECTURES.filter(({ type: name, architecture }) => name === architecture)
    .map(({ architecture, classNames }) => `${architecture} (${classNames[0]})`)
    .join(', ');
  if (facts === undefined) {
    throw new ModelError(
      `Expected \`model_type\` of ${source.place} to be one of ${known}, got ${showValue(type ?? architectures ?? null)}: duo does not compute this architecture; use another model.`,
    );
  }
  if (classes.length > 0 && !facts.classNames.some((name) => classes.includes(name))) {
    throw new ModelError(
      `Expected \`architectures\` of ${source.place} to name ${facts.classNames[0]} for \`model_type\` ${facts.type}, got ${showValue(architectures)}: duo computes ${known}; use another model.`,
    );
  }
  return facts;
}
