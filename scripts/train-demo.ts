// Trains a small model of the project from a seed and writes its folder: `npx tsx scripts/train-demo.ts demo|tiny|large`.
// Documents are generated here, the C++ pretrainer learns them, its evaluation of the rounded weights fills the model card.
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { writeFileAtomic } from '../src/formats/atomic-file.ts';
import { makeInitialWeights, writeTrainingBatches } from './demo-batches.ts';
import { writeModelCard } from './demo-card.ts';
import { measureRecall, shapeFlags } from './demo-evaluation.ts';
import { writeModelFiles, writeTokenizerFiles } from './demo-folder.ts';
import { RECIPES } from './demo-recipes.ts';
import { buildVocabulary } from './demo-tokenizer.ts';
import { buildPretrainer, runPretrainer } from './pretrainer.ts';

const FOLDERS = { demo: 'models/demo', tiny: 'test/models/tiny', large: 'runs/large-model' } as const;
/** Preset whose wording the evaluation uses. */
const PRESETS = { demo: 'demo', tiny: 'tiny', large: 'demo' } as const;
const LOG_EVERY = 10; // steps; the last step is always logged
const ALL_STREAM = { sinkTokens: 4, recentTokens: 32 };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: 'string' },
    threads: { type: 'string', default: String(Math.min(2, cpus().length)) },
    out: { type: 'string' },
    work: { type: 'string' },
    'skip-training': { type: 'boolean', default: false },
  },
});
const name = positionals[0];
if (name !== 'demo' && name !== 'tiny' && name !== 'large') {
  throw new Error('Expected `demo`, `tiny` or `large`, see scripts/demo-recipes.ts');
}
const recipe = RECIPES[name];
const seed = values.seed === undefined ? recipe.seed : Number(values.seed);
const folder = values.out ?? FOLDERS[name];
const work = values.work ?? join('runs', `train-${name}`);
const vocabulary = buildVocabulary();
const vocab = vocabulary.size;
mkdirSync(work, { recursive: true });
const program = buildPretrainer(work);
const trained = join(work, 'trained.f32');
const logPath = join(work, 'train-log.jsonl');

if (!values['skip-training']) {
  const batches = join(work, 'batches.bin');
  const initial = join(work, 'initial.f32');
  const { steps, tokens } = writeTrainingBatches({ path: batches, recipe, seed, vocabulary });
  const parts = makeInitialWeights(recipe, { vocab, seed });
  writeFileSync(initial, Buffer.concat(parts.map((part) => new Uint8Array(part.buffer))));
  writeFileSync(logPath, '');
  console.error(`${name}: ${steps} steps, ${tokens} tokens`);
  await runPretrainer({
    program,
    command: 'train',
    flags: {
      ...shapeFlags(recipe, vocab),
      weights: initial,
      batches,
      steps,
      lr: recipe.lr,
      threads: Number(values.threads),
      out: trained,
    },
    onLine: (line) => {
      if (line.step! % LOG_EVERY === 0 || line.step === steps - 1) {
        appendFileSync(logPath, `${JSON.stringify(line)}\n`);
        console.error(JSON.stringify(line));
      }
    },
  });
}

writeTokenizerFiles(folder, recipe.maxPositions);
const bytes = readFileSync(trained);
const weights = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
writeModelFiles({ folder, recipe, vocab, weights });
const log = readFileSync(logPath, 'utf8');
writeFileAtomic(join(folder, 'train-log.jsonl'), log);
const heads = recipe.shape.layers * recipe.shape.kvHeads;
const measure = { program, folder, work, recipe, preset: PRESETS[name], vocab, ...ALL_STREAM };
const rows = await measureRecall({ ...measure, streams: { streaming: '1'.repeat(heads) } });
const alone = Array.from({ length: heads }, (_, head) => [
  `${head}`,
  Array.from({ length: heads }, (_digit, other) => (other === head ? '1' : '0')).join(''),
]);
const ablation = await measureRecall({
  ...measure,
  recipe: { ...recipe, evaluationPasskeys: recipe.evaluationPasskeys.slice(0, 1) },
  streams: Object.fromEntries(alone),
  lengths: [512],
});
const lastLine = JSON.parse(log.trimEnd().split('\n').at(-1)!);
// The large model is for the comparison of methods alone; what is shipped gets a card.
if (name !== 'large')
  writeModelCard({ folder, name, recipe, seed, vocab, rows, ablation, lastLine, window: ALL_STREAM });
for (const row of [...rows, ...ablation]) console.error(JSON.stringify(row));
