// What ways of rounding cached keys and values would cost a model, those that sessions have and others: how far 4 bits can go. Keys and values are
// rounded and read back before attention in f32 (kernels/bench/kv_grids.cpp); before that its f32 and int4 are held to real sessions.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { openHaystack } from '../data-gen/haystack.ts';
import { findDocuments } from '../identify/documents.ts';
import { formatTable } from '../src/cli/terminal.ts';
import { makeRandom } from '../src/core/random.ts';
import type { KvDtype } from '../src/core/session.ts';
import type { Engine } from '../src/engine/engine.ts';
import { listModelConfigValues } from '../src/engine/native/model-config.ts';
import { openRandomNativeEngine } from '../src/engine/native/native-engine.ts';
import { ConfigError } from '../src/errors/errors.ts';
import { computeLogProb } from '../src/eval/evaluate-task.ts';
import type { ModelConfig } from '../src/model/config.ts';
import { openModelFolder } from '../src/model/folder.ts';
import { openTokenizer } from '../src/text/tokenizer.ts';
import type { Bench } from './bench.ts';
import { findProgram } from './duo-bench.mjs';

/** Grids that sessions have too. */
const SESSION_GRIDS: Readonly<Record<string, KvDtype>> = {
  f32: 'f32',
  'keys=8,values=8': 'int8',
  'keys=8,values=4': 'k8v4',
  'keys=4,values=4': 'int4',
};

/** One layer of random weights: with more, later layers make more and more of a code that the rounding of sums moved. What is compared is the mean |Δ log p|
 * of the last `scored` tokens. */
const CHECK = { tokens: 96, scored: 64, vocab: 512, seed: 3, ratio: 1.02 };

/** What is taken off keys and evened out comes back: with 16 bits nothing may be lost but float rounding. */
const LOSSLESS = {
  grids: ['keys=16,values=16,mean=before,smooth=channels', 'keys=16,values=16,mean=after,smooth=pairs,group=16'],
  drift: 1e-3,
};

/** Of one text and grid: sums over all tokens, then over the last `scored`. */
type Score = [
  logProbs: number,
  distance: number,
  tokens: number,
  lateLogProbs: number,
  lateDistance: number,
  lateTokens: number,
];

export const bench: Bench = {
  about:
    'perplexity of ways to round cached keys and values that sessions do not have: means taken off, groups, channels evened out',
  flags: {
    model: { default: '', about: 'a model folder or GGUF file' },
    documents: { default: '', about: "running text, its held-out part is scored; default: duo's small corpus" },
    texts: { default: '8', about: 'texts' },
    tokens: { default: '1024', about: 'tokens of each' },
    late: { default: '192', about: 'the last so many of each text are shown beside all' },
    grids: {
      default: 'f32 keys=8,values=4 keys=4,values=4 keys=4,values=4,mean=after keys=4,values=4,mean=before',
      about:
        'f32 first; keys and values in bits, group, mean, smooth, first, exact, rotates, shared (kernels/bench/kv_grids.cpp)',
    },
    threads: { default: '2', about: 'threads' },
    seed: { default: '1', about: 'decides which texts' },
  },
  async run(flags) {
    if (!flags.model) throw new ConfigError('Expected --model, a model folder or GGUF file, got none.');
    const grids = (flags.grids as string).split(' ').filter((grid) => grid !== '');
    if (grids[0] !== 'f32') throw new ConfigError('Expected --grids to begin with f32.');
    const [tokens, late] = [Number(flags.tokens), Number(flags.late)];
    if (!(late >= 1 && late < tokens)) {
      throw new ConfigError(`Expected --late of 1 to ${tokens - 1} tokens, got \`${flags.late}\`.`);
    }
    const folder = openModelFolder(flags.model);
    const tokenizer = openTokenizer(folder.path);
    const documents = await openHaystack({
      path: findDocuments({ documents: flags.documents || undefined }),
      tokenizer,
    });
    const bos = tokenizer.encode('', { addSpecialTokens: true });
    const texts = Array.from({ length: Number(flags.texts) }, (_, index) => {
      const random = makeRandom(Number(flags.seed), 'kv-storage', index);
      return [...bos, ...documents.take({ tokens, random, split: 'held-out' })].slice(0, tokens);
    });
    const given = {
      config: listModelConfigValues(folder.config),
      weights: folder.weights?.files ?? [],
      threads: Number(flags.threads),
    };
    const checks = await compareWithSessions(folder.config, given.threads);
    const scores = await scoreGrids({ ...given, texts, grids, late });
    folder.close();
    const rows = grids.map((grid, index) => summarise(grid, index, scores, folder.config.shape.headDim));
    return { table: formatRows(rows, late), figures: { tokens, late, checks, rows } };
  },
};

interface GivenModel {
  readonly config: Readonly<Record<string, number>>;
  /** files, or the seed of random ones */
  readonly weights: readonly string[] | { readonly seed: number };
  readonly threads: number;
}

/** What every grid that sessions have costs tokens of a model of random weights, here and through sessions. @throws {Error} where they differ. */
async function compareWithSessions(
  model: ModelConfig,
  threads: number,
): Promise<{ grid: string; kvDtype: KvDtype; drift: number; sessionDrift: number }[]> {
  const { tokens, scored: late, vocab, seed, ratio } = CHECK;
  const config = { ...model, shape: { ...model.shape, layers: 1, vocab } };
  const text = Array.from({ length: tokens }, (_, at) => (7 * at * at + at) % vocab);
  const grids = Object.keys(SESSION_GRIDS);
  const [scores] = await scoreGrids({
    config: listModelConfigValues(config),
    weights: { seed },
    threads,
    texts: [text],
    grids: [...grids, ...LOSSLESS.grids],
    late,
  });
  const drifts = (scores as Score[]).map((score) => score[4] / late);
  for (const [at, grid] of LOSSLESS.grids.entries()) {
    const drift = drifts[grids.length + at] as number;
    if (!(drift <= LOSSLESS.drift)) throw new Error(`Expected \`${grid}\` to cost nothing, got ${drift} per token`);
  }
  const engine = await openRandomNativeEngine(config, { device: 'cpu', threads, seed, weightDtype: 'f32' });
  try {
    const exact = await scoreBySession(engine, text, 'f32');
    const checks = [];
    for (const [at, [grid, kvDtype]] of Object.entries(SESSION_GRIDS).entries()) {
      const own = await scoreBySession(engine, text, kvDtype);
      const drift = drifts[at] as number;
      const sessionDrift = own.reduce((sum, value, i) => sum + Math.abs(value - (exact[i] as number)), 0) / late;
      if (at > 0 && !(Math.abs(Math.log(drift / sessionDrift)) <= Math.log(ratio))) {
        throw new Error(
          `Expected \`${grid}\` to cost a token what a session of ${kvDtype} does, ${sessionDrift}, got ${drift}`,
        );
      }
      checks.push({ grid, kvDtype, drift, sessionDrift });
    }
    return checks;
  } finally {
    await engine.close();
  }
}

/** Log-probabilities of the last tokens of a text: prefill, then decode. */
async function scoreBySession(engine: Engine, text: readonly number[], kvDtype: KvDtype): Promise<number[]> {
  const session = await engine.openSession('full', { maxTokens: text.length, kvDtype });
  try {
    const late = text.slice(-CHECK.scored);
    let logits = await session.prefill(text.slice(0, -CHECK.scored));
    const logProbs = [];
    for (const [at, token] of late.entries()) {
      logProbs.push(computeLogProb(logits, token));
      if (at + 1 < late.length) logits = await session.decode(token);
    }
    return logProbs;
  } finally {
    await session.close();
  }
}

/** @returns [text][grid] */
async function scoreGrids(
  options: GivenModel & {
    readonly texts: readonly (readonly number[])[];
    readonly grids: readonly string[];
    readonly late: number;
  },
): Promise<Score[][]> {
  const { config, weights, texts, grids, late, threads } = options;
  const folder = mkdtempSync(join(tmpdir(), 'duo-kv-grids-'));
  try {
    const file = join(folder, 'tokens');
    writeFileSync(file, new Uint8Array(Int32Array.from(texts.flat()).buffer));
    const fields = Object.entries(config).map(([name, value]) => `${name}=${value}`);
    const flags = { tokens: file, length: texts[0]?.length, scored: late, threads };
    const running = promisify(execFile)(
      findProgram('duo_kv_grids'),
      [
        ...('seed' in weights ? ['--random', String(weights.seed)] : weights.flatMap((path) => ['--weights', path])),
        ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]),
        ...fields,
        '--',
        ...grids,
      ],
      { maxBuffer: 2 ** 26 },
    );
    running.child.stderr?.pipe(process.stderr);
    return JSON.parse((await running).stdout) as Score[][];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

interface Row {
  readonly grid: string;
  /** of a key and a value, with the words of their scales; tokens that are kept exact are not counted */
  readonly bitsPerValue: number;
  /** over that of f32, less 1, and mean |log p − log p in f32|: of all tokens and of the last */
  readonly rise: number;
  readonly drift: number;
  readonly lateRise: number;
  readonly lateDrift: number;
}

function summarise(grid: string, index: number, scores: readonly (readonly Score[])[], headDim: number): Row {
  const sum = (of: number, at: number): number =>
    scores.reduce((total, text) => total + ((text[at] as Score)[of] as number), 0);
  const [tokens, lateTokens] = [sum(2, index), sum(5, index)];
  return {
    grid,
    bitsPerValue: countBits(grid, headDim),
    rise: Math.exp((sum(0, 0) - sum(0, index)) / tokens) - 1,
    drift: sum(1, index) / tokens,
    lateRise: Math.exp((sum(3, 0) - sum(3, index)) / lateTokens) - 1,
    lateDrift: sum(4, index) / lateTokens,
  };
}

/** A word of 32 bits with each group. */
function countBits(grid: string, headDim: number): number {
  const fields = new Map(grid.split(',').map((field) => field.split('=') as [string, string]));
  const group = Number(fields.get('group') ?? headDim);
  const bits = ['keys', 'values'].map((name) => {
    const own = Number(fields.get(name) ?? 32);
    return own === 32 ? 32 : own + 32 / group;
  });
  return bits.reduce((total, own) => total + own, 0) / 2;
}

function formatRows(rows: readonly Row[], late: number): string {
  const percent = (value: number): string => `${(100 * value).toFixed(2)} %`;
  return formatTable([
    ['grid', 'bits', 'over f32', 'mean |Δ log p|', `last ${late}: over f32`, 'mean |Δ log p|'],
    ...rows.map((row) => [
      row.grid,
      row.bitsPerValue.toFixed(2),
      percent(row.rise),
      row.drift.toFixed(4),
      percent(row.lateRise),
      row.lateDrift.toFixed(4),
    ]),
  ]);
}
