// The config.json of a wrapper (vision and language in one model) as that of its language model, which is all that duo computes: the fields of
// `text_config`, with what transformers 5.18 takes from around them. Prefixed tensors are tensor-names.ts's business.
import { ModelError } from '../errors/errors.ts';
import { type FieldSource, isRecord, readFlag, showValue } from './config-fields.ts';

interface Wrapper {
  /** its `model_type` */
  readonly type: string;
  readonly className: string;
  /** `model_type` of `text_config` where absent */
  readonly text: string;
  /** transformers ties the head unless one is stored that differs, whatever the language model's own default says */
  readonly tiesUnlessStored?: true;
}

const WRAPPERS: readonly Wrapper[] = [
  { type: 'qwen3_vl', className: 'Qwen3VLForConditionalGeneration', text: 'qwen3_vl_text' },
  { type: 'mistral3', className: 'Mistral3ForConditionalGeneration', text: 'mistral', tiesUnlessStored: true },
  // Pixtral too.
  { type: 'llava', className: 'LlavaForConditionalGeneration', text: 'llama' },
  { type: 'llava_next', className: 'LlavaNextForConditionalGeneration', text: 'llama' },
  { type: 'llava_onevision', className: 'LlavaOnevisionForConditionalGeneration', text: 'qwen2' },
];

/** Wrappers that keep the fields of their language model among their own, by `model_type`, with what to do instead. */
const FLAT_WRAPPERS: Readonly<Record<string, string>> = {
  qwen2_vl: 'use Qwen3-VL, whose language model duo computes, or a language model alone, such as Qwen2.5',
  qwen2_5_vl: 'use Qwen3-VL, whose language model duo computes, or a language model alone, such as Qwen2.5',
};
const LLAVA_CURE =
  "use its copy in transformers' own form (of the organisation llava-hf on the Hub), or make one with transformers' convert_llava_weights_to_hf.py";
const OTHER_CURE = 'use the language model that it was made from, or another model';
/** Fields that only a model which reads images has. */
const IMAGE_FIELDS = ['vision_config', 'visual', 'vision_tower', 'mm_vision_tower', 'mm_projector_type', 'vit_config'];

/** @throws {ModelError} a wrapper without `text_config`: its fields do not show what it computes in addition to its language model. */
function refuseFlatWrapper({ fields, place }: FieldSource): void {
  const type = typeof fields.model_type === 'string' ? fields.model_type : '';
  const isFlatLlava = /^llava/.test(type);
  const isOfImages = IMAGE_FIELDS.some((name) => (fields[name] ?? null) !== null);
  if (!(type in FLAT_WRAPPERS) && !isFlatLlava && !isOfImages) return;
  const cure = FLAT_WRAPPERS[type] ?? (isFlatLlava ? LLAVA_CURE : OTHER_CURE);
  const found = type === '' ? (fields.architectures ?? null) : type;
  throw new ModelError(
    `Expected ${place}, which is of a model that reads images, to hold its language model as \`text_config\`, got ${showValue(found)} with all fields side by side: duo computes no wrapper of that form; ${cure}.`,
  );
}

/** The config.json of the language model alone; a config.json without `text_config` is returned as it is.
 * @param options.storesHead whether the weights hold an lm_head, undefined where there are none.  @param options.notes gets a sentence.
 * @throws {ModelError} a wrapper that duo does not know, or one without `text_config`; {FormatError} a field of a wrong type. */
export function unwrapTextConfig(
  source: FieldSource,
  options: { storesHead: boolean | undefined; notes: string[] },
): FieldSource {
  const outer = source.fields;
  const text = outer.text_config;
  if (!isRecord(text)) {
    refuseFlatWrapper(source);
    return source;
  }
  const classes: readonly unknown[] = Array.isArray(outer.architectures) ? outer.architectures : [];
  const wrapper = WRAPPERS.find(({ type, className }) =>
    (outer.model_type ?? null) === null ? classes.includes(className) : type === outer.model_type,
  );
  if (wrapper === undefined || (classes.length > 0 && !classes.includes(wrapper.className))) {
    const known = WRAPPERS.map(({ type, className }) => `${type} (${className})`).join(', ');
    const found = wrapper === undefined ? (outer.model_type ?? classes) : classes;
    throw new ModelError(
      `Expected ${source.place}, which holds a \`text_config\`, to be of ${known}, got ${showValue(found)}: duo computes the language models of these wrappers only; use another model.`,
    );
  }
  options.notes.push(`${source.place} is of ${wrapper.type}: duo computes its language model and reads no images`);
  const inner: FieldSource = { fields: text, place: `\`text_config\` of ${source.place}` };
  const outerTied = readFlag(source, 'tie_word_embeddings', wrapper.tiesUnlessStored ?? false);
  const isOverruled = wrapper.tiesUnlessStored === true && options.storesHead !== false;
  const fields = {
    // Token ids and quantisation are given for the whole model.
    ...pick(outer, ['bos_token_id', 'eos_token_id', 'quantization_config']),
    ...text,
    model_type: text.model_type ?? wrapper.text,
    tie_word_embeddings: readFlag(inner, 'tie_word_embeddings', false) || (outerTied && !isOverruled),
  };
  return { fields, place: inner.place };
}

function pick(fields: Readonly<Record<string, unknown>>, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(names.filter((name) => name in fields).map((name) => [name, fields[name]]));
}
