// What was answered where a mask costs most: the texts under full attention and under the mask side by side.
import type { KeptPrediction } from '../../formats/predictions.ts';
import { makeTable, type Table } from '../table.ts';

const MAX_CELLS = 3;
const MAX_PROMPTS = 3;
/** Characters of a text that are shown. */
const MAX_CHARACTERS = 200;

interface Pair {
  readonly full: KeptPrediction;
  readonly masked: KeptPrediction;
}

/** The cells that lose most against full attention, each with the prompts that lose most; null where no cell loses. */
export function makePredictionTable(predictions: readonly KeptPrediction[]): Table | null {
  const promptOf = ({ task, length, depth, index }: KeptPrediction): string =>
    JSON.stringify([task, length, depth, index]);
  const full = new Map(predictions.filter(({ mask }) => mask === 'full').map((one) => [promptOf(one), one]));
  const cells = new Map<string, Pair[]>();
  for (const masked of predictions) {
    const other = full.get(promptOf(masked));
    if (masked.mask === 'full' || other === undefined) continue;
    const cell = JSON.stringify([masked.task, masked.length, masked.depth, masked.mask]);
    cells.set(cell, [...(cells.get(cell) ?? []), { full: other, masked }]);
  }
  const loss = ({ full, masked }: Pair): number => full.score - masked.score;
  const mean = (pairs: readonly Pair[]): number => pairs.reduce((sum, pair) => sum + loss(pair), 0) / pairs.length;
  const rows = [...cells.values()]
    .filter((pairs) => mean(pairs) > 0)
    .sort((a, b) => mean(b) - mean(a))
    .slice(0, MAX_CELLS)
    .flatMap((pairs) => pairs.toSorted((a, b) => loss(b) - loss(a)).slice(0, MAX_PROMPTS));
  if (rows.length === 0) return null;
  return makeTable({
    name: 'predictions',
    title: 'Answers where the mask costs most',
    rows,
    isFolded: true,
    columns: [
      { label: 'task', value: ({ masked }) => masked.task },
      { label: 'tokens', value: ({ masked }) => masked.length },
      { label: 'mask', value: ({ masked }) => masked.mask },
      { label: 'right', value: ({ masked }) => shorten(masked.answers.join(' · ')) },
      { label: 'full', value: ({ full }) => shorten(full.prediction) },
      { label: 'score', value: ({ full }) => Math.round(full.score) },
      { label: 'masked', value: ({ masked }) => shorten(masked.prediction) },
      { label: 'score', value: ({ masked }) => Math.round(masked.score) },
    ],
  });
}

function shorten(text: string): string {
  return text.length <= MAX_CHARACTERS ? text : `${text.slice(0, MAX_CHARACTERS)}…`;
}
