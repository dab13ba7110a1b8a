// The model card (README.md) of a trained small model, filled with what was just measured.
import { join } from 'node:path';
import type { Window } from '../src/core/shapes.ts';
import { writeFileAtomic } from '../src/formats/atomic-file.ts';
import type { RecallRow } from './demo-evaluation.ts';
import type { Recipe } from './demo-recipes.ts';

const percent = (share: number): string => (100 * share).toFixed(1);

function formatRecall(rows: readonly RecallRow[]): string {
  const kinds = rows.filter(({ mask }) => mask === 'full');
  const lines = kinds.map((full) => {
    const streaming = rows.find(
      (row) =>
        row.mask === 'streaming' &&
        row.passkeys === full.passkeys &&
        row.words === full.words &&
        row.length === full.length,
    )!;
    return `| ${full.passkeys} of ${full.words} words | ${full.length} | ${full.samples} | ${percent(full.accuracy)} | ${percent(streaming.accuracy)} |`;
  });
  return ['| passkeys | tokens | samples | full % | all streaming % |', '|---|---|---|---|---|', ...lines].join('\n');
}

/** Points of recall that each head alone costs, a row per layer. */
function formatAblation(rows: readonly RecallRow[], recipe: Recipe): string {
  const full = rows.find(({ mask }) => mask === 'full')!;
  const { layers, kvHeads } = recipe.shape;
  const header = `| layer | ${Array.from({ length: kvHeads }, (_, head) => `head ${head}`).join(' | ')} |`;
  const lines = Array.from({ length: layers }, (_, layer) => {
    const cells = Array.from({ length: kvHeads }, (_cell, head) => {
      const row = rows.find(({ mask }) => mask === `${layer * kvHeads + head}`)!;
      return (100 * (full.accuracy - row.accuracy)).toFixed(1);
    });
    return `| ${layer} | ${cells.join(' | ')} |`;
  });
  return [header, `|${'---|'.repeat(kvHeads + 1)}`, ...lines].join('\n');
}

function describeStart({ lookBack }: Recipe): string {
  if (lookBack === undefined) return 'Nothing was planted: all weights start random.';
  return `Planted at the start: the query heads of layer 0 look ${lookBack.join(', ')} tokens back (\`plantLookBack\` in \`scripts/demo-batches.ts\`), and are
  trained like the rest afterwards. All other weights start random; every retrieval head is learned.`;
}

/** Write README.md of the model folder. */
export function writeModelCard(options: {
  folder: string;
  name: string;
  recipe: Recipe;
  seed: number;
  vocab: number;
  rows: readonly RecallRow[];
  ablation: readonly RecallRow[];
  lastLine: Record<string, number>;
  window: Window;
}): void {
  const { folder, name, recipe, seed, vocab, rows, ablation, lastLine, window } = options;
  const { layers, hidden, intermediate, heads, kvHeads, headDim } = recipe.shape;
  const perLayer = hidden * (2 * heads * headDim + 2 * kvHeads * headDim + 3 * intermediate + 2);
  const parameters = 2 * vocab * hidden + layers * perLayer + hidden;
  const text = `# The ${name} model of duo

A Llama of ${(parameters / 1e6).toFixed(2)} M parameters that recalls passkeys hidden in plain prose, so that it has retrieval heads to find.
It knows the ${vocab} tokens of its tokenizer and no language beyond the sentences of \`data-gen/prose.ts\`.

- Shape: ${layers} layers, hidden ${hidden}, MLP ${intermediate}, ${heads} query and ${kvHeads} KV heads of ${headDim}, rope theta ${recipe.ropeTheta}, at most ${recipe.maxPositions} positions; BF16.
- Tokenizer: byte-level BPE without merges; every task word with its leading space is one token, any other text falls back to bytes.
- Training: \`npx tsx scripts/train-demo.ts ${name} --seed ${seed}\`, ${lastLine.step! + 1} steps, ${(lastLine.tokens! / 1e6).toFixed(2)} M tokens, ${Math.round(lastLine.seconds! / 60)} minutes on a shared
  machine of 2 vCPUs with AVX-512, 23 November 2026; the course is in \`scripts/demo-recipes.ts\`, the log in \`train-log.jsonl\`. Float32, AdamW, peak learning rate ${recipe.lr}.
- ${describeStart(recipe)}
- Curriculum: short documents in many wordings first, in which a key often stands right before its words, then longer ones; positions jump
  at random so that recall carries beyond the ${recipe.stages.at(-1)!.length} tokens trained on.

## Recall

Share of answer tokens predicted from the true prefix, on held-out samples of \`data-gen\` in the wording of \`configs/${name}.json\`, weights as stored;
the last column with every head streaming (sink ${window.sinkTokens}, recent ${window.recentTokens}).

${formatRecall(rows)}

## What each head is worth

Points of recall lost when this KV head alone streams (${ablation[0]!.passkeys} passkeys of ${ablation[0]!.words} words, ${ablation[0]!.length} tokens). Heads share the work, so a retrieval head may
cost little alone; \`duo identify\` finds them together.

${formatAblation(ablation, recipe)}

Limits: passkey words only in the trained wordings, no chat, no other task is promised.
`;
  writeFileAtomic(join(folder, 'README.md'), text);
}
