// How near the quadratic forms of the KL divergence come to the divergence itself, on long-range tokens of running text: with every head streaming, random
// masks, and single heads closed; and how much probability the likeliest tokens hold.
import { openLongRangeSource } from '../identify/long-range-source.ts';
import { loadPreset } from '../src/config/presets.ts';
import { median } from '../src/core/numbers.ts';
import { makeRandom } from '../src/core/random.ts';
import { filledGrid, type GateGrid, type Sample, supervisedPositions } from '../src/core/shapes.ts';
import { listModelConfigValues } from '../src/engine/native/model-config.ts';
import { openNativeEngine } from '../src/engine/native/native-engine.ts';
import { openModelFolder } from '../src/model/folder.ts';
import { openModel } from '../src/native/model.ts';
import { requireKl } from '../train/distance.ts';
import { requireProbing } from '../train/quadratic/measure-sample.ts';
import type { Bench } from './bench.ts';

const TOKENS_HELD = [31, 63, 127, 255, 511];
const SINGLE_HEADS = 6;
const window = { sinkTokens: 128, recentTokens: 256 };
const supervise = 'predict' as const;

export const bench: Bench = {
  about: 'quadratic forms of the KL divergence against the divergence itself, on long-range tokens',
  flags: {
    model: { default: '../shared/models/SmolLM2-135M-Instruct.Q4_1.gguf', about: 'a model folder or GGUF file' },
    documents: { default: 'corpus/texts', about: 'running text' },
    tokens: { default: '1536', about: 'tokens of the sample' },
    threads: { default: '2', about: 'threads' },
  },
  async run(flags) {
    const threads = Number(flags.threads);
    const folder = openModelFolder(flags.model as string);
    const engine = await openNativeEngine(folder, { threads });
    const probing = requireKl(requireProbing(engine));
    const tokens = Number(flags.tokens);
    const config = { ...loadPreset('base').config, minTokens: tokens, maxTokens: tokens, lengthCount: 1 };
    const source = await openLongRangeSource({
      ...{ folder, engine, config, documentsPath: flags.documents as string, split: 'train' },
    });
    const sample: Sample = await source.sampleAt(0);
    const positions = supervisedPositions(sample.answers, supervise);
    const { layers, kvHeads } = folder.config.shape;
    const hidden = (gates: GateGrid | 'full') => probing.computeHidden(sample, gates, window, { supervise });
    const reference = await hidden('full');
    const anchor = await hidden(filledGrid(layers, kvHeads, 0));
    const rows: Record<string, number | string>[] = [];
    for (const [name, gates] of listMasks(layers, kvHeads)) {
      const { loss } = await engine.distill(sample, gates, window, { supervise, distance: 'kl' });
      const moved = await hidden(gates);
      const change = reference.map((value, index) => value - (moved[index] as number));
      const lengthOf = async (point: { reference: Float32Array; anchor?: Float32Array }): Promise<number> => {
        const features = await probing.klMetric.project(point, change);
        return features.reduce((sum, value) => sum + value * value, 0) / positions.length;
      };
      const meanSquare = change.reduce((sum, value) => sum + value * value, 0) / change.length;
      rows.push({
        name,
        kl: loss,
        curvature: await lengthOf({ reference }),
        anchored: await lengthOf({ reference, anchor }),
        meanSquare,
      });
    }
    await engine.close();
    const held = await measureHeld({ folder, sample, positions, threads });
    folder.close();
    const line = ({ name, kl, curvature, anchored, meanSquare }: Record<string, number | string>): string =>
      [name, ...[kl, curvature, anchored, meanSquare].map((value) => Number(value).toExponential(3))].join('  ');
    const table = [
      `${positions.length} long-range tokens of ${tokens}`,
      'mask  KL (nats)  curvature at full attention  anchored form  mean square of hidden states',
      ...rows.map(line),
      `probability outside the likeliest k, mean over tokens (median): ${held.map(({ count, mean, middle }) => `${count}: ${mean.toFixed(4)} (${middle.toFixed(4)})`).join(', ')}`,
    ].join('\n');
    return { table, figures: { positions: positions.length, rows, held } };
  },
};

/** Every head streaming, random masks, and single heads spread over the model. */
function listMasks(layers: number, kvHeads: number): [string, GateGrid][] {
  const random = makeRandom(7, 'kl-metric');
  const draw = (share: number): GateGrid =>
    filledGrid(layers, kvHeads, 1).map((row) => row.map((gate) => (random.uniform() < share ? 0 : gate)));
  const single = Array.from({ length: SINGLE_HEADS }, (_, index): [string, GateGrid] => {
    const head = Math.floor(((index + 0.5) * layers * kvHeads) / SINGLE_HEADS);
    const gates = filledGrid(layers, kvHeads, 1);
    (gates[Math.floor(head / kvHeads)] as number[])[head % kvHeads] = 0;
    return [`head ${Math.floor(head / kvHeads)}.${head % kvHeads}`, gates];
  });
  const masks = [0.3, 0.5, 0.7, 0.9].map((share): [string, GateGrid] => [`random ${share}`, draw(share)]);
  return [['all streaming', filledGrid(layers, kvHeads, 0)], ...masks, ...single];
}

/** Probability that full attention gives to tokens outside the likeliest k. */
async function measureHeld(options: {
  folder: ReturnType<typeof openModelFolder>;
  sample: Sample;
  positions: readonly number[];
  threads: number;
}): Promise<{ count: number; mean: number; middle: number }[]> {
  const { folder, sample, positions, threads } = options;
  const model = await openModel(listModelConfigValues(folder.config), folder.weights?.files ?? [], { threads });
  const passage = { tokens: Int32Array.from(sample.tokens), positions: Int32Array.from(positions) };
  const logits = await model.logits({ ...passage, gates: null, windows: null, sinkTokens: 0 });
  model.close();
  const { vocab } = folder.config.shape;
  const outside = TOKENS_HELD.map((): number[] => []);
  for (let row = 0; row < positions.length; row++) {
    const sorted = Float64Array.from(logits.subarray(row * vocab, (row + 1) * vocab))
      .sort()
      .reverse();
    const weights = sorted.map((value) => Math.exp(value - (sorted[0] as number)));
    const total = weights.reduce((sum, value) => sum + value, 0);
    TOKENS_HELD.forEach((count, index) => {
      outside[index]?.push(weights.subarray(count).reduce((sum, value) => sum + value, 0) / total);
    });
  }
  return TOKENS_HELD.map((count, index) => {
    const values = outside[index] as number[];
    return { count, mean: values.reduce((sum, value) => sum + value, 0) / values.length, middle: median(values) };
  });
}
