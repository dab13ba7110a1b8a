// Examples that end the help of each command, as a person would type them.

/** A command line, and what it does. */
type Example = readonly [line: string, does: string];

export const EXAMPLES: Readonly<Record<string, readonly Example[]>> = {
  identify: [
    ['duo identify --model demo', 'the heads of the model that ships with duo'],
    [
      'duo identify --model ~/models/Llama-3.1-8B-Instruct --haystack books.jsonl.zst --out runs/llama',
      'the published recipe, passkeys hidden in your texts',
    ],
    ['duo identify --model demo --method quadratic --out runs/q', 'faster, from forward passes alone'],
    ['duo identify --model demo --out runs/demo-42 --resume', 'go on with a run that was stopped'],
  ],
  generate: [
    ['duo generate --model demo --count 100 --out samples.jsonl', 'passkey samples to learn from'],
    [
      'duo generate --model demo --count 10 --split held-out --out held-out.jsonl',
      'samples that share no text with them',
    ],
    [
      'duo generate --model demo --objective long-range --documents texts/ --out long.jsonl',
      'windows of your texts, with the tokens that only long context predicts as answers',
    ],
  ],
  export: [
    [
      'duo export --gates runs/demo-42/gates.json --streaming-fraction 0.75 --out mask.json',
      'three quarters of the KV heads stream',
    ],
    [
      'duo export --gates runs/demo-42/gates.json --threshold 0.5 --format tsv --out pattern/',
      'the files of the reference code',
    ],
  ],
  import: [
    [
      'duo import attn_patterns/Llama-3-8B --model ~/models/Llama-3-8B --out mask.json',
      'a published pattern as a mask',
    ],
  ],
  run: [
    ['duo run --model demo --mask mask.json --prompt "The lamp is in"', 'continue a text with the cache of the mask'],
    [
      'duo run --model model.Q4_K_M.gguf --chat --prompt-file question.txt',
      "a user's message in the model's chat template",
    ],
  ],
  eval: [
    [
      'duo eval --model demo --mask mask.json --samples held-out.jsonl --baselines full,streaming,random',
      'recall compared with other masks of the same size',
    ],
    [
      'duo eval --model demo --mask mask.json --tasks niah --lengths 1k,2k --depths 5 --out runs/niah',
      'needles by length and depth',
    ],
    [
      'duo eval --model demo --gates runs/demo-42/gates.json --fractions 0.25,0.5,0.75 --tasks niah',
      'one row for each budget',
    ],
  ],
  score: [
    ['duo score runs/niah/predictions.jsonl', 'what duo eval --out kept'],
    ['duo score pred/my-model --suite longbench', "answers of the suite's own project"],
  ],
  bench: [
    [
      'duo bench --model demo --mask mask.json --contexts 1k,4k',
      'time and memory of the mask compared with full attention',
    ],
    [
      'duo bench --shape llama-3-8b --layers 2 --streaming-fraction 0.5 --contexts 8k',
      'two layers with random weights',
    ],
  ],
  report: [['duo report runs/demo-42', 'runs/demo-42/report.html']],
  inspect: [
    ['duo inspect runs/demo-42', 'a run in a page of text'],
    ['duo inspect runs/a/mask.json runs/b/mask.json', 'how two masks differ'],
  ],
  doctor: [['duo doctor', 'what runs here, and what is missing']],
  build: [['duo build --cuda', 'with the part for NVIDIA GPUs']],
};

/** The lines under a command's flags; '' where it has no examples. */
export function describeExamples(name: string): string {
  const examples = EXAMPLES[name] ?? [];
  if (examples.length === 0) return '';
  return `\nExamples:\n${examples.map(([line, does]) => `  ${line}\n      ${does}`).join('\n')}`;
}
