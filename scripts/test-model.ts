// npm run test:model -- <folder, file.gguf or Hub name>: takes a model all the way that a person goes with it, through the commands that a
// person types, and says of each step whether it held: log-probabilities against transformers, a chat answer, identify by both methods,
// tasks full beside masked at three budgets, a report.
// Options: --short (a few minutes on two CPU cores), --device <name>, --out <folder>, --reference <log-probs.json>, --python <program with
// transformers, for values computed now>, --documents <path> (adds kept gain on running text).
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readResults } from '../src/formats/results.ts';
import { compareLogProbs, type ReferenceTexts } from './test-model/log-probs.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TEXTS = join(ROOT, 'test', 'golden', 'smollm2', 'log-probs.json');
const BUDGETS = ['0.3', '0.5', '0.7'];
const METHODS = ['quadratic', 'gates'] as const;
/** No file of the user's is needed for these; they take every kind of needle that has none. */
const TASKS = { short: 'niah_single_1', long: 'niah,niah_single_1,vt,cwe,fwe,kv-retrieval' };
/** The same in running text, where documents are given. */
const DOCUMENT_TASKS = 'niah_single_2,niah_multikey_1,niah_multivalue,long-range';
/** A mask below this share of full attention's recall at the smallest budget of streaming heads has learnt nothing. */
const MIN_LEARNT = 0.5;
const CHAT_PROMPT = 'What is the capital of France? Answer with one word.';

interface Step {
  readonly name: string;
  readonly outcome: 'held' | 'failed' | 'skipped';
  readonly seconds: number;
  readonly said: string;
}

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    short: { type: 'boolean', default: false },
    device: { type: 'string' },
    out: { type: 'string' },
    reference: { type: 'string' },
    python: { type: 'string' },
    documents: { type: 'string' },
  },
});
const [model] = positionals;
if (model === undefined || positionals.length > 1) {
  console.error('test-model: Expected one model: a folder, a GGUF file or a Hub name, after `npm run test:model --`.');
  process.exit(2);
}
const out = resolve(flags.out ?? mkdtempSync(join(tmpdir(), 'duo-test-model-')));
mkdirSync(out, { recursive: true });
const engine = flags.device === undefined ? [] : ['--device', flags.device];
const steps: Step[] = [];

/** Run one step; what it throws is its failure and ends only what needs it. */
async function step(name: string, run: () => string | Promise<string>): Promise<boolean> {
  const startMs = performance.now();
  const end = (outcome: Step['outcome'], said: string): boolean => {
    const seconds = (performance.now() - startMs) / 1000;
    steps.push({ name, outcome, seconds, said });
    console.log(`${outcome.padEnd(8)} ${name} (${seconds.toFixed(1)} s): ${said}`);
    return outcome !== 'failed';
  };
  try {
    const said = await run();
    return end(said.startsWith('skipped: ') ? 'skipped' : 'held', said.replace(/^skipped: /, ''));
  } catch (error) {
    return end('failed', (error as Error).message);
  }
}

/** Run duo; its output is kept as <name>.txt and .log. @throws {Error} another exit code than 0, with the last line it said. */
function duo(name: string, args: readonly string[]): string {
  const done = spawnSync(process.execPath, [join(ROOT, 'bin', 'duo.js'), ...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  writeFileSync(join(out, `${name}.txt`), done.stdout);
  writeFileSync(join(out, `${name}.log`), `duo ${args.join(' ')}\n${done.stderr}`);
  if (done.status === 0) return done.stdout;
  throw new Error(`duo ${args[0]} ended with code ${done.status}: ${done.stderr.trim().split('\n').at(-1)}`);
}

function check(holds: boolean, sentence: string): void {
  if (!holds) throw new Error(sentence);
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

await step('inspect', () => duo('inspect', ['inspect', model]).trim().split('\n')[0] as string);

await step('log-probabilities', async () => {
  const texts = JSON.parse(readFileSync(flags.reference ?? TEXTS, 'utf8')).texts as ReferenceTexts;
  return compareLogProbs({
    model,
    device: flags.device,
    texts,
    isGiven: flags.reference !== undefined,
    python: flags.python,
    out,
  });
});

await step('chat', () => {
  const answer = duo('chat', [
    'run',
    '--model',
    model,
    '--chat',
    '--prompt',
    CHAT_PROMPT,
    '--max-new-tokens',
    '24',
    ...engine,
  ]);
  check(answer.trim() !== '', 'Expected an answer to a chat prompt, got none.');
  return JSON.stringify(answer.trim().slice(0, 80));
});

for (const method of METHODS) {
  const run = join(out, `run-${method}`);
  const small = flags.short
    ? [
        '--min-tokens',
        '640',
        '--max-tokens',
        '640',
        '--passkeys',
        '3',
        '--words-per-passkey',
        '8',
        '--recent',
        '128',
        '--sink',
        '16',
        '--held-out-samples',
        '3',
        '--held-out-length-factor',
        '1',
      ]
    : [];
  const few = flags.short ? (method === 'gates' ? ['--steps', '3'] : ['--quadratic-samples', '1']) : [];
  const identified = await step(`identify by ${method}`, () => {
    const args = [
      'identify',
      '--model',
      model,
      '--method',
      method,
      '--out',
      run,
      '--overwrite',
      ...engine,
      ...small,
      ...few,
    ];
    duo(`identify-${method}`, args);
    const { results } = JSON.parse(readFileSync(join(run, 'run.json'), 'utf8')) as {
      results: { scoreSeconds: number; heldOut: { mask: string; accuracy: number; logProb: number }[] };
    };
    const row = (name: string) => results.heldOut.find(({ mask }) => mask === name);
    const [full, given, streaming] = [row('full'), row('given'), row('streaming')];
    check(
      full !== undefined && given !== undefined,
      'Expected rows of full attention and the mask in the closing table.',
    );
    if (full!.accuracy > 0.2) {
      const least = MIN_LEARNT * full!.accuracy;
      check(
        given!.accuracy >= least,
        `Expected the mask to keep ${percent(least)} recall, got ${percent(given!.accuracy)}.`,
      );
    }
    const shares = [full, given, streaming].map((one) => (one ? percent(one.accuracy) : '–'));
    const logs = [full, given, streaming].map((one) => one?.logProb.toFixed(3) ?? '–');
    return `measured in ${results.scoreSeconds.toFixed(1)} s; held-out recall full ${shares[0]}, mask ${shares[1]}, streaming ${shares[2]}; log-probability ${logs.join(', ')}`;
  });
  if (!identified) continue;
  await step(`tasks by ${method}'s masks`, () => {
    const lengths = flags.short ? '640' : '1k,2k,4k';
    const samples = flags.short ? '2' : '10';
    const gates = ['--gates', join(run, 'gates.json'), '--fractions', BUDGETS.join(',')];
    const texts = flags.documents === undefined ? [] : ['--documents', flags.documents, '--essays', flags.documents];
    const tasks = `${flags.short ? TASKS.short : TASKS.long}${flags.documents === undefined ? '' : `,${DOCUMENT_TASKS}`}`;
    const args = ['eval', '--model', model, ...gates, '--baselines', 'full,streaming', '--tasks', tasks, ...texts];
    duo(`tasks-${method}`, [...args, '--lengths', lengths, '--task-samples', samples, '--out', run, ...engine]);
    const { rows } = readResults(join(run, 'results.json'));
    const masks = [...new Set(rows.map(({ mask }) => mask))];
    const mean = (mask: string): number => {
      const own = rows.filter((row) => row.mask === mask && row.task !== 'long-range');
      return own.reduce((sum, row) => sum + row.accuracy, 0) / own.length;
    };
    return `mean score ${masks.map((mask) => `${mask} ${percent(mean(mask))}`).join(', ')}`;
  });
  await step(`report of ${method}`, () => {
    duo(`report-${method}`, ['report', run]);
    const page = readFileSync(join(run, 'report.html'), 'utf8');
    check(page.includes('<svg'), 'Expected figures in report.html, found none.');
    cpSync(join(run, 'report.html'), join(out, `report-${method}.html`));
    return `report-${method}.html, ${Math.round(page.length / 1024)} KiB`;
  });
}

writeFileSync(join(out, 'test-model.json'), `${JSON.stringify({ model, short: flags.short, steps }, null, 2)}\n`);
const failed = steps.filter(({ outcome }) => outcome === 'failed');
console.log(`\n${steps.length - failed.length} of ${steps.length} steps did not fail; everything is in ${out}.`);
if (failed.length > 0) process.exitCode = 1;
