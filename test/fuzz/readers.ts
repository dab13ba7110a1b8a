// Every reader of an untrusted file, as the fuzzer calls it: with a file of damaged bytes, through to what a command does with the result.
import { closeSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { readDocuments } from '../../data-gen/read-documents.ts';
import { readReferenceConfig } from '../../export/reference-config.ts';
import { clipGates, readTsv } from '../../export/tsv.ts';
import { FormatError } from '../../src/errors/errors.ts';
import { scorePredictions } from '../../src/eval/score-predictions.ts';
import { readKvpressRows } from '../../src/eval/suites/kvpress-parquet.ts';
import { readParquetFiles } from '../../src/eval/suites/read-parquet.ts';
import { readGates } from '../../src/formats/gates.ts';
import { readMask, toHeadMask } from '../../src/formats/mask.ts';
import { openSamples } from '../../src/formats/samples.ts';
import { openModelFolder } from '../../src/model/folder.ts';
import { openShard, readBytes } from '../../src/model/safetensors.ts';
import { hasChatTemplate } from '../../src/text/chat-template.ts';
import { type Rendering, renderApart } from '../../src/text/render-template.ts';
import { openTokenizer } from '../../src/text/tokenizer.ts';
import { GGUF, GZIP, PARQUET, SAFETENSORS, SMALL_CONFIG, TSV, ZSTD } from './binary-seeds.ts';
import {
  CONFIGS,
  DOCUMENTS,
  encode,
  GATES,
  MASKS,
  readRepository,
  SAMPLES,
  TOKENIZER_CONFIGS,
  TOKENIZERS,
} from './json-seeds.ts';
import type { Corpus } from './mutate.ts';
import { PREDICTIONS } from './prediction-seeds.ts';

export interface Reader extends Corpus {
  readonly name: string;
  /** Read one input; `folder` is empty or holds what earlier inputs left. */
  read?(input: Buffer, folder: string): void | Promise<void>;
  /** Read many at once, for what starts a process each time. @returns what each threw, null where it was read. */
  readMany?(inputs: readonly Buffer[], folder: string): (Error | null)[] | Promise<(Error | null)[]>;
}

const put = (folder: string, name: string, data: Uint8Array): string => {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, data);
  return path;
};

const TEXT = 'The  lamps ab 123 äöü\n\t😀 <eos> aaaaaaaaaaaaaaaaaaaaaaaa!';

function useTokenizer(path: string): void {
  const tokenizer = openTokenizer(path);
  const ids = tokenizer.encode(TEXT, { addSpecialTokens: true });
  tokenizer.decode(ids, { skipSpecialTokens: true });
  tokenizer.decode(Array.from({ length: Math.min(tokenizer.vocabSize, 300) }, (_, id) => id));
  tokenizer.tokenId(' the');
}

const MESSAGES = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'What is the passkey? äöü 😀' },
];
const TEMPLATES = [
  "{{ bos_token }}{% for message in messages %}{{ '[' + message['role'] + '] ' + message.content | trim + eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
  "{%- set ns = namespace(found=false, n=0) %}{%- for m in messages[1:] if m.role == 'user' %}{%- set ns.n = ns.n + loop.index0 %}{%- if not ns.found and loop.first %}{%- set ns.found = true %}{{- m.content | upper | replace('A', 'b') ~ ns.n }}{%- endif %}{%- endfor %}",
  "{% macro show(x, y='d') %}<{{ x | tojson }}{{ y }}>{% endmacro %}{% for i in range(3) %}{{ show(i) }}{{ show([1, 'a', {'b': none}]) }}{% endfor %}{{ messages | length }}{{ messages | map(attribute='role') | join(', ') }}",
  "{% if messages[0]['role'] == 'system' and tools is not defined %}{{ messages[0]['content'].split(' ')[-1] }}{% else %}{{ raise_exception('no') }}{% endif %}{# note #}{{ strftime_now('%d %b %Y') }}{{ 'a' if true else 'b' }}",
];

/** A process takes all templates; where one of them ends it, each half is tried alone. */
function renderAll(templates: readonly string[]): Rendering[] {
  const variables = { messages: MESSAGES, bos_token: '<s>', eos_token: '</s>', add_generation_prompt: true };
  const renderings = renderApart(templates.map((template) => ({ template, variables })));
  const hasEnded = renderings.some((one) => 'failure' in one && /its process ended/.test(one.failure));
  if (!hasEnded || templates.length === 1) return renderings;
  const half = templates.length >> 1;
  return [...renderAll(templates.slice(0, half)), ...renderAll(templates.slice(half))];
}

export const READERS: readonly Reader[] = [
  {
    name: 'config.json',
    seeds: CONFIGS,
    words: [
      '"rope_scaling":',
      '"head_dim":',
      '"rope_type":"yarn"',
      '"sliding_window":',
      '"layer_types":',
      '"text_config":',
    ],
    read(input, folder) {
      put(folder, 'config.json', input);
      openModelFolder(folder, { weights: 'optional' }).close();
    },
  },
  {
    name: 'tokenizer.json',
    seeds: TOKENIZERS,
    words: [
      '"Regex":',
      '"String":',
      '"type":',
      '(a+)+',
      '\\\\p{L}',
      '[^',
      '{1,3}',
      '"Replace"',
      '"merges":',
      '"Sequence"',
    ],
    read(input, folder) {
      put(folder, 'tokenizer_config.json', TOKENIZER_CONFIGS[0] as Buffer);
      put(folder, 'tokenizer.json', input);
      useTokenizer(folder);
    },
  },
  {
    name: 'tokenizer_config.json',
    seeds: TOKENIZER_CONFIGS,
    words: ['"bos_token":', '"chat_template":', '"name":"default"'],
    read(input, folder) {
      put(folder, 'tokenizer.json', TOKENIZERS[0] as Buffer);
      put(folder, 'tokenizer_config.json', input);
      useTokenizer(folder);
      hasChatTemplate(folder);
    },
  },
  {
    name: 'chat template',
    seeds: TEMPLATES.map((template) => Buffer.from(template)),
    words: [
      '{{',
      '}}',
      '{%',
      '%}',
      '{%-',
      'for',
      'range(',
      'namespace(',
      ' | ',
      'loop.',
      'endfor',
      'if',
      'macro',
      'not',
      '~',
      '[1:]',
    ],
    readMany(inputs) {
      return renderAll(inputs.map((input) => input.toString('utf8'))).map((one) =>
        'text' in one ? null : new FormatError(one.failure),
      );
    },
  },
  {
    name: 'TSV',
    seeds: TSV,
    words: ['\t', '\n', '1.0e+00', 'nan', 'inf', '1e999', '0x10', '1_0'],
    read(input, folder) {
      clipGates(readTsv(put(folder, 'a.tsv', input)));
    },
  },
  {
    name: "pattern's config.json",
    seeds: [readRepository('test/golden/pattern-fixture/config.json')],
    words: ['"sink_size":', '"sparsity":'],
    read: (input, folder) => void readReferenceConfig(put(folder, 'config.json', input)),
  },
  {
    name: 'gates.json',
    seeds: GATES,
    words: ['"path":', '"ranking":', '"effects":', '"gates":'],
    read: (input, folder) => void readGates(put(folder, 'gates.json', input)),
  },
  {
    name: 'mask.json',
    seeds: MASKS,
    words: ['"mask":', '"windows":', '"ladder":', '"threshold":'],
    read(input, folder) {
      toHeadMask(readMask(put(folder, 'mask.json', input)));
    },
  },
  {
    name: 'samples.jsonl',
    seeds: SAMPLES,
    words: ['"tokens":', '"answers":', '"gains":', '"objective":"long-range"', '[1,2]'],
    read(input, folder) {
      const file = openSamples(put(folder, 's.jsonl', input), { vocab: 1000, maxTokens: 100 });
      for (let index = 0; index < file.count; index++) file.read(index);
      file.close();
    },
  },
  ...(['jsonl', 'txt'] as const).map((ending) => ({
    name: `documents.${ending}`,
    seeds: DOCUMENTS,
    words: ['"text":', '{"text":"a"}\n'],
    read: async (input: Buffer, folder: string) => void (await readDocuments(put(folder, `a.${ending}`, input), 1e6)),
  })),
  {
    name: 'documents.jsonl.gz',
    seeds: [...GZIP, ...DOCUMENTS],
    // Half of the inputs are damaged inside a whole gzip file, half are a damaged one.
    read: async (input, folder) =>
      void (await readDocuments(put(folder, 'a.jsonl.gz', input[0] === 0x1f ? input : gzipSync(input)), 1e6)),
  },
  {
    name: 'documents.jsonl.zst',
    seeds: ZSTD,
    read: async (input, folder) => void (await readDocuments(put(folder, 'a.jsonl.zst', input), 1e6)),
  },
  {
    name: 'GGUF',
    seeds: GGUF,
    words: ['llama.rope.scaling.type', 'tokenizer.ggml.pre', 'general.alignment', 'qwen2', 'GGUF'],
    read(input, folder) {
      const path = put(folder, 'model.gguf', input);
      let failure: unknown = null;
      try {
        useTokenizer(path);
      } catch (error) {
        failure = error;
      }
      openModelFolder(path).close();
      if (failure !== null) throw failure;
    },
  },
  {
    name: 'safetensors',
    seeds: SAFETENSORS,
    words: ['"dtype":"F32"', '"shape":[', '"data_offsets":[', '"__metadata__":', 'BF16', 'F8_E4M3'],
    read(input, folder) {
      const shard = openShard(put(folder, 'loose/a.safetensors', input));
      try {
        for (const { offset, byteLength } of shard.tensors) readBytes(shard, new Uint8Array(byteLength), offset);
      } finally {
        closeSync(shard.descriptor);
      }
      put(folder, 'config.json', encode(SMALL_CONFIG));
      put(folder, 'model.safetensors', input);
      openModelFolder(folder).close();
    },
  },
  ...PREDICTIONS.map(({ suite, file, seeds }) => ({
    name: `${suite} ${file}`,
    seeds,
    words: ['"answers":', '"pred":', '"prediction":', '"ground_truth":', '"outputs":[]', ',"', '""', "['", "' '", '\n'],
    read: (input: Buffer, folder: string) => void scorePredictions(put(folder, file, input), { suite }),
  })),
  {
    name: 'parquet',
    seeds: PARQUET,
    words: ['PAR1', 'context', 'max_new_tokens'],
    async readMany(inputs, folder) {
      const paths = inputs.map((input, index) => put(folder, `${index}/ruler.parquet`, input));
      const found = await readParquetFiles(paths);
      return found.map((rows, index) => {
        try {
          if (rows instanceof Error) throw rows;
          readKvpressRows(rows, paths[index] as string);
          return null;
        } catch (error) {
          return error as Error;
        }
      });
    },
  },
];
