// What each storage of cached keys and values costs a model, full and masked: perplexity and kept gain of running text, rotated and plain. Every token is
// scored through sessions, prefill then decode, so that what is measured is what runs.
import { openHaystack } from '../data-gen/haystack.ts';
import { findDocuments } from '../identify/documents.ts';
import { formatTable } from '../src/cli/terminal.ts';
import { makeHeadMask } from '../src/core/head-mask.ts';
import { makeRandom } from '../src/core/random.ts';
import { isQuantizedKv, KV_DTYPES, type KvDtype, type Session } from '../src/core/session.ts';
import { filledGrid, type HeadMask } from '../src/core/shapes.ts';
import type { Engine } from '../src/engine/engine.ts';
import { openNativeEngine } from '../src/engine/native/native-engine.ts';
import { ConfigError } from '../src/errors/errors.ts';
import { computeLogProb } from '../src/eval/evaluate-task.ts';
import { measureKeptGain } from '../src/eval/metrics/kept-gain.ts';
import { readMask, toHeadMask } from '../src/formats/mask.ts';
import { openModelFolder } from '../src/model/folder.ts';
import { decodeTogether } from '../src/runtime/batch.ts';
import { openTokenizer } from '../src/text/tokenizer.ts';
import type { Bench } from './bench.ts';

/** Sinks and recent tokens of the mask that streams everywhere, where no mask is given. */
const STREAMING = { sinkTokens: 16, recentTokens: 64 };

/** One way of keeping keys and values under one mask. */
interface Variant {
  readonly mask: string;
  readonly heads: HeadMask | 'full';
  readonly storage: string;
  readonly kvDtype: KvDtype;
  readonly kvRotation: boolean;
}

export const bench: Bench = {
  about: 'perplexity and kept gain of each KV storage, rotated and plain, full and masked, through sessions',
  flags: {
    model: { default: '', about: 'a model folder or GGUF file' },
    mask: { default: '', about: 'mask.json of the model; without it full attention alone is measured' },
    documents: { default: '', about: "running text, its held-out part is scored; default: duo's small corpus" },
    texts: { default: '8', about: 'texts; kept gain needs eight' },
    tokens: { default: '1024', about: 'tokens of each' },
    scored: { default: '256', about: 'the last so many are scored' },
    storages: {
      default: 'f32,bf16,int8,int8-plain,fp8,fp8-plain,k8v4,k8v4-plain,int4,int4-plain',
      about: '-plain: without rotation; f32 is what the others are held against',
    },
    device: { default: 'cpu', about: 'cpu or cuda:0' },
    threads: { default: '2', about: 'threads, on a CPU' },
    seed: { default: '1', about: 'decides which texts' },
  },
  async run(flags) {
    if (!flags.model) throw new ConfigError('Expected --model, a model folder or GGUF file, got none.');
    const device = flags.device as string;
    const folder = openModelFolder(flags.model);
    const engine = await openNativeEngine(folder, {
      device,
      ...(device === 'cpu' && { threads: Number(flags.threads) }),
    });
    const tokenizer = openTokenizer(folder.path);
    const documents = await openHaystack({
      path: findDocuments({ documents: flags.documents || undefined }),
      tokenizer,
    });
    const bos = tokenizer.encode('', { addSpecialTokens: true });
    const [tokens, scored] = [Number(flags.tokens), Number(flags.scored)];
    if (!(scored >= 1 && scored < tokens)) {
      throw new ConfigError(`Expected --scored of 1 to ${tokens - 1} tokens, got \`${flags.scored}\`.`);
    }
    const given = flags.mask ? toHeadMask(readMask(flags.mask)) : null;
    const variants = listVariants((flags.storages as string).split(','), given);
    const streaming = makeStreaming(engine, given);
    // [variant][text]: log-probabilities of the scored tokens; the last variant is every head streaming in f32.
    const logProbs: Float64Array[][] = [...variants, streaming].map(() => []);
    for (let index = 0; index < Number(flags.texts); index++) {
      const random = makeRandom(Number(flags.seed), 'kv-storage', index);
      const text = [...bos, ...documents.take({ tokens, random, split: 'held-out' })].slice(0, tokens);
      const found = await scoreText(engine, { text, scored, variants: [...variants, streaming] });
      for (const [at, values] of found.entries()) logProbs[at]?.push(values);
      console.error(`text ${index + 1} of ${flags.texts}`);
    }
    await engine.close();
    folder.close();
    const rows = summarise(variants, logProbs);
    return {
      table: formatRows(rows),
      figures: { device: engine.device, tokens, scored, texts: Number(flags.texts), rows },
    };
  },
};

function listVariants(storages: readonly string[], given: HeadMask | null): Variant[] {
  const kinds = storages.map((storage) => {
    const [kvDtype, plain] = storage.split('-') as [KvDtype, string | undefined];
    const isKnown =
      KV_DTYPES.includes(kvDtype) && (plain === undefined || (plain === 'plain' && isQuantizedKv(kvDtype)));
    if (isKnown) return { storage, kvDtype, kvRotation: plain === undefined };
    throw new ConfigError(
      `Expected --storages of ${KV_DTYPES.join(', ')}, quantised ones with -plain, got \`${storage}\`.`,
    );
  });
  if (kinds[0]?.storage !== 'f32') throw new ConfigError('Expected --storages to begin with f32.');
  const masks: [string, HeadMask | 'full'][] = [['full', 'full']];
  if (given !== null) masks.push(['masked', given]);
  return masks.flatMap(([mask, heads]) => kinds.map((kind) => ({ ...kind, mask, heads })));
}

/** Every head streaming: sinks of the given mask and its smallest window. */
function makeStreaming(engine: Engine, given: HeadMask | null): Variant {
  const windows = (given?.windows.flat() ?? []).filter((window) => window !== null);
  const grid = filledGrid(engine.model.layers, engine.model.kvHeads, 0);
  const window =
    given === null || windows.length === 0
      ? STREAMING
      : { sinkTokens: given.sinkTokens, recentTokens: Math.min(...windows) };
  return { mask: 'streaming', heads: makeHeadMask(grid, window), storage: 'f32', kvDtype: 'f32', kvRotation: true };
}

/** Log-probabilities of a text's last `scored` tokens, each from the true prefix, of every variant. */
async function scoreText(
  engine: Engine,
  options: { readonly text: readonly number[]; readonly scored: number; readonly variants: readonly Variant[] },
): Promise<Float64Array[]> {
  const { text, scored, variants } = options;
  const first = text.length - scored;
  const sessions: Session[] = [];
  try {
    let logits: Float32Array[] = [];
    for (const { heads, kvDtype, kvRotation } of variants) {
      const session = await engine.openSession(heads, { maxTokens: text.length, kvDtype, kvRotation });
      sessions.push(session);
      logits.push(await session.prefill(text.slice(0, first)));
    }
    const found = variants.map(() => new Float64Array(scored));
    for (let at = 0; at < scored; at++) {
      const token = text[first + at] as number;
      for (const [index, values] of found.entries()) values[at] = computeLogProb(logits[index] as Float32Array, token);
      const fed = sessions.map(() => token);
      if (at + 1 < scored) logits = await decodeTogether(engine, sessions, fed, logits);
    }
    return found;
  } finally {
    for (const session of sessions) await session.close();
  }
}

interface Row {
  readonly mask: string;
  readonly storage: string;
  readonly perplexity: number;
  /** over that of f32 under the same mask, less 1 */
  readonly perplexityRise: number;
  /** mean |log p − log p in f32 under the same mask| */
  readonly drift: number;
  readonly keptGain: number | null;
  readonly keptGainInterval: readonly [number, number] | null;
  readonly longRangeTokens: number;
}

function summarise(variants: readonly Variant[], logProbs: readonly Float64Array[][]): Row[] {
  const [full, streaming] = [logProbs[0] as Float64Array[], logProbs.at(-1) as Float64Array[]];
  return variants.map((variant, index) => {
    const own = logProbs[index] as Float64Array[];
    const exactIndex = variants.findIndex(({ mask, storage }) => mask === variant.mask && storage === 'f32');
    const exact = logProbs[exactIndex] as Float64Array[];
    const gain = measureKeptGain(
      own.map((mask, at) => ({ full: full[at] as Float64Array, streaming: streaming[at] as Float64Array, mask })),
    );
    const tokens = own.reduce((sum, text) => sum + text.length, 0);
    const distance = (value: number, text: number, at: number): number =>
      Math.abs(value - ((exact[text] as Float64Array)[at] as number));
    const drift =
      own.reduce((sum, text, t) => sum + text.reduce((total, value, at) => total + distance(value, t, at), 0), 0) /
      tokens;
    const exactLoss = -exact.reduce((sum, text) => sum + text.reduce((total, value) => total + value, 0), 0) / tokens;
    return {
      mask: variant.mask,
      storage: variant.storage,
      perplexity: Math.exp(gain.loss),
      perplexityRise: Math.exp(gain.loss - exactLoss) - 1,
      drift,
      keptGain: gain.keptGain,
      keptGainInterval: gain.interval,
      longRangeTokens: gain.longRangeTokens,
    };
  });
}

function formatRows(rows: readonly Row[]): string {
  const header = ['heads', 'storage', 'perplexity', 'over f32', 'mean |Δ log p|', 'kept gain', '95 %'];
  const lines = rows.map((row) => [
    row.mask,
    row.storage,
    row.perplexity.toFixed(3),
    `${(100 * row.perplexityRise).toFixed(2)} %`,
    row.drift.toFixed(4),
    row.keptGain === null ? '–' : row.keptGain.toFixed(3),
    row.keptGainInterval === null ? '–' : row.keptGainInterval.map((end) => end.toFixed(3)).join(' to '),
  ]);
  const counted = rows[0] === undefined ? '' : `\n${rows[0].longRangeTokens} long-range tokens`;
  return formatTable([header, ...lines]) + counted;
}
