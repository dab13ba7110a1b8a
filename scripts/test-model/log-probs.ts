// Next-token log-probabilities of duo beside transformers': stored values where the model is the one that they were computed from, else
// values computed now by a Python that has transformers.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openEngine } from '../../src/engine/open-engine.ts';
import { openModel } from '../../src/model/open-model.ts';
import { openTokenizer } from '../../src/text/tokenizer.ts';

export type ReferenceTexts = Readonly<
  Record<string, { readonly text: string; readonly tokens: number[]; readonly logProbs: number[] }>
>;

/** float32 arithmetic on both sides, over the whole network */
const MAX_DIFFERENCE = 1e-3;
/** bfloat16 products: a step of 2^-8 in each operand; mean over the tokens of a text */
const MAX_MEAN_DIFFERENCE_BF16 = 0.05;
/** The model that the stored values belong to; other files of the same model have other roundings of its weights. */
const STORED_FOR = /SmolLM2-135M-Instruct\.Q4_1(?:\.gguf)?$/;

/** @returns one sentence; beginning with "skipped: " where there is nothing to compare with.
 * @throws {Error} log-probabilities that differ by more than the arithmetic explains. */
export async function compareLogProbs(options: {
  readonly model: string;
  readonly device: string | undefined;
  readonly texts: ReferenceTexts;
  /** whether the texts' values were given for this model by the caller */
  readonly isGiven: boolean;
  /** a Python with torch and transformers, for values computed now */
  readonly python: string | undefined;
  readonly out: string;
}): Promise<string> {
  const { model, device, python, out, isGiven } = options;
  if (python === undefined && !isGiven && !STORED_FOR.test(model)) {
    return 'skipped: no stored values for this model; --python <program> computes them by transformers, --reference <file> names some';
  }
  const folder = await openModel(model);
  try {
    const tokenizer = openTokenizer(folder.path);
    const entries = Object.entries(options.texts).map(([name, { text }]) => [name, tokenizer.encode(text)] as const);
    const expected =
      python === undefined ? options.texts : compute(python, folder.path, Object.fromEntries(entries), out);
    const engine = await openEngine(folder, device === undefined ? {} : { device });
    try {
      if (engine.scoreTokens === undefined)
        return `skipped: the ${engine.name} engine gives no log-probabilities by position`;
      let worst = 0;
      let sum = 0;
      let count = 0;
      for (const [name, tokens] of entries) {
        const own = await engine.scoreTokens(tokens, 'full');
        const { logProbs } = expected[name] as { logProbs: number[] };
        if (own.length !== logProbs.length) {
          throw new Error(
            `Expected ${logProbs.length} log-probabilities of text ${name}, got ${own.length}: other token ids.`,
          );
        }
        own.forEach((value, index) => {
          const difference = Math.abs(value - (logProbs[index] as number));
          // NaN passes no comparison, so that it must not pass this one.
          worst = difference <= worst ? worst : difference;
          sum += difference;
          count++;
        });
      }
      const isBf16 = engine.device.startsWith('cuda');
      const said = `${count} tokens on ${engine.device}: largest difference ${worst.toExponential(1)}, mean ${(sum / count).toExponential(1)}`;
      const holds = isBf16 ? sum / count <= MAX_MEAN_DIFFERENCE_BF16 : worst <= MAX_DIFFERENCE;
      if (!holds) {
        const bound = isBf16 ? `a mean of ${MAX_MEAN_DIFFERENCE_BF16}` : MAX_DIFFERENCE;
        throw new Error(`Expected differences of at most ${bound}, got on ${said}.`);
      }
      return said;
    } finally {
      await engine.close();
    }
  } finally {
    folder.close();
  }
}

function compute(
  python: string,
  folder: string,
  texts: Record<string, number[]>,
  out: string,
): Record<string, { logProbs: number[] }> {
  const [input, output] = [join(out, 'texts.json'), join(out, 'transformers.json')];
  writeFileSync(input, JSON.stringify(texts));
  const script = fileURLToPath(new URL('../oracle/log-probs.py', import.meta.url));
  const done = spawnSync(python, [script, folder, input, output], { encoding: 'utf8' });
  if (done.status !== 0)
    throw new Error(
      `${python} could not compute the values: ${done.stderr?.trim().split('\n').at(-1) ?? done.error?.message}`,
    );
  return JSON.parse(readFileSync(output, 'utf8')) as Record<string, { logProbs: number[] }>;
}
