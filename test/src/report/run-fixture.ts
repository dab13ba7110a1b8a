// Writes run folders with every file a report reads; numbers are made by formulas, so that tests know what must be drawn.
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeRandom } from '../../../src/core/random.ts';
import { type ModelTag, writeGates } from '../../../src/formats/gates.ts';
import { writeMask } from '../../../src/formats/mask.ts';
import type { JsonValue } from '../../../src/formats/read-json.ts';
import { type EvalRow, writeResults } from '../../../src/formats/results.ts';
import { writeRun } from '../../../src/formats/run.ts';

export interface FixtureOptions {
  readonly layers?: number;
  readonly kvHeads?: number;
  readonly steps?: number;
  /** name of the model's folder, default `models/tiny` */
  readonly model?: string;
  /** files to write; default: all */
  readonly files?: readonly ('run' | 'gates' | 'mask' | 'metrics' | 'results' | 'bench' | 'comparison')[];
}

/** A row of results, full attention's unless told otherwise. */
export function makeRow(row: Partial<EvalRow>): EvalRow {
  const accuracy = row.accuracy ?? 1;
  return {
    task: 'samples',
    mask: 'full',
    length: null,
    depth: null,
    samples: 40,
    measure: 'teacher-forced',
    accuracy,
    accuracyInterval: [Math.max(0, accuracy - 0.06), Math.min(1, accuracy + 0.04)],
    logProb: -0.01,
    logProbInterval: [-0.02, -0.005],
    answerTokens: 400,
    streamingFraction: 0,
    kvBytes: 2 ** 20,
    fullKvBytes: 2 ** 20,
    kvDtype: 'bf16',
    footprint: 1,
    peakFootprint: 1,
    prefill: 'exact',
    seconds: 1.5,
    ...row,
  };
}

/** @returns path of a new folder. */
export function writeRunFixture(options: FixtureOptions = {}): string {
  const {
    layers = 4,
    kvHeads = 4,
    steps = 60,
    files = ['run', 'gates', 'mask', 'metrics', 'results', 'bench', 'comparison'],
  } = options;
  const folder = mkdtempSync(join(tmpdir(), 'duo-report-'));
  mkdirSync(folder, { recursive: true });
  const random = makeRandom(7, 'report-fixture');
  const model: ModelTag = {
    architecture: 'llama',
    layers,
    heads: kvHeads * 4,
    kvHeads,
    headDim: 64,
    fingerprint: 'sha256:0123',
  };
  const mask = Array.from({ length: layers }, () =>
    Array.from({ length: kvHeads }, () => (random.uniform() < 0.4 ? 1 : 0)),
  );
  const gates = mask.map((row) =>
    row.map((label) =>
      Number((label === 1 ? 1 - 0.3 * random.uniform() ** 2 : 0.4 * random.uniform() ** 3).toFixed(4)),
    ),
  );
  const provenance = { tool: 'duo 0.1.0', method: 'gates', sink: 16, recent: 64 };
  if (files.includes('gates'))
    writeGates(join(folder, 'gates.json'), { schema: 'duo.gates', version: 1, model, gates, provenance });
  if (files.includes('mask')) {
    const cut = { sink: 16, recent: 64, streamingFraction: 0.6, threshold: null };
    writeMask(join(folder, 'mask.json'), {
      schema: 'duo.head-mask',
      version: 1,
      model,
      ...cut,
      mask,
      gates,
      provenance,
    });
  }
  if (files.includes('metrics')) writeFileSync(join(folder, 'metrics.jsonl'), makeMetrics(gates, steps));
  if (files.includes('results')) {
    const share = mask.flat().filter((label) => label === 0).length / mask.flat().length;
    const rows = [...makeGridRows(), ...makeBudgetRows()].map((row) =>
      row.mask === 'given' ? { ...row, streamingFraction: share } : row,
    );
    const critical = [
      { task: 'multi-passkey', length: 4096, method: 'gates', keep: 0.99, footprint: 0.31, isUpperBound: false },
      { task: 'multi-passkey', length: 4096, method: 'random', keep: 0.9, footprint: 0.94, isUpperBound: true },
    ];
    writeResults(join(folder, 'results.json'), rows, { critical });
  }
  if (files.includes('bench')) writeFileSync(join(folder, 'bench.json'), JSON.stringify(makeBench()));
  if (files.includes('comparison')) {
    writeFileSync(join(folder, 'comparison.json'), JSON.stringify(makeComparison(model)));
  }
  if (files.includes('run')) {
    writeRun(join(folder, 'run.json'), {
      schema: 'duo.run',
      version: 1,
      status: 'done',
      command: ['duo', 'identify', '--model', options.model ?? 'models/tiny', '--haystack', 'my notes.txt'],
      config: {},
      identity: { method: 'gates', seed: 42, config: { lambda: 0.05, steps } },
      engine: { name: 'tensorflow', device: 'tfjs-wasm (simd)' },
      versions: { duo: '0.1.0', node: '22.0.0' },
      inputs: { model: options.model ?? 'models/tiny', fingerprint: 'sha256:0123', samples: 'sha256:4567' },
      host: { platform: 'linux-x64', cores: 2 },
      startedAt: '2026-01-01T00:00:00.000Z',
      endedAt: '2026-01-01T00:10:00.000Z',
      resumes: 0,
      results: { heldOut: makeHeldOut() as unknown as JsonValue },
      error: null,
    });
  }
  return folder;
}

function makeHeldOut(): EvalRow[] {
  const scores = { full: 0.98, given: 0.97, streaming: 0.12, 'random-0': 0.35, 'random-1': 0.28, inverted: 0.1 };
  return Object.entries(scores).map(([mask, accuracy]) =>
    makeRow({
      mask,
      accuracy,
      streamingFraction: mask === 'full' ? 0 : mask === 'streaming' ? 1 : 0.6,
      logProb: -4 * (1 - accuracy),
    }),
  );
}

function makeMetrics(gates: readonly (readonly number[])[], steps: number): string {
  const random = makeRandom(7, 'report-metrics');
  const lines = Array.from({ length: steps }, (_, step) => {
    const share = Math.min(1, (1.4 * (step + 1)) / steps);
    const now = gates.map((row) => row.map((gate) => Number((1 - share * (1 - gate)).toFixed(4))));
    const gateMean = now.flat().reduce((a, b) => a + b, 0) / now.flat().length;
    const distillation = 0.002 + 0.2 * Math.exp((-6 * step) / steps) * (0.6 + 0.8 * random.uniform());
    const penalty = 0.05 * gateMean;
    const held = step % 4 === 0 || step === steps - 1 ? { gates: now } : {};
    const shape = { lr: 0.02, length: 2048 + (step % 5) * 512, gateMean, undecided: 0.2, ...held, seconds: 1.25 };
    return JSON.stringify({ step, loss: distillation + penalty, distillation, penalty, ...shape });
  });
  return `${lines.join('\n')}\n`;
}

function makeGridRows(): EvalRow[] {
  const depths = [0, 0.25, 0.5, 0.75, 1];
  return [1024, 4096, 16_384, 65_536].flatMap((length, column) =>
    depths.flatMap((depth) =>
      ['full', 'given', 'random-0'].map((mask) => {
        const lost = mask === 'full' ? 0 : mask === 'given' ? 0.03 * column : 0.2 * (column + 1) * (1 - depth);
        return makeRow({
          task: 'niah',
          mask,
          length,
          depth,
          accuracy: Math.max(0, 1 - lost),
          footprint: mask === 'full' ? 1 : 0.45,
        });
      }),
    ),
  );
}

function makeBudgetRows(): EvalRow[] {
  const methods: Record<string, number> = {
    gates: 0.25,
    'attention-mass': 0.45,
    'retrieval-score': 0.35,
    'random-0': 0.85,
    'random-1': 0.9,
  };
  const cuts = Object.entries(methods).flatMap(([method, need]) =>
    [0.1, 0.25, 0.5, 0.75, 0.9].map((streamingFraction) => {
      const footprint = 1 - streamingFraction * 0.95;
      const accuracy = 1 / (1 + Math.exp(-14 * (footprint - need)));
      return makeRow({
        task: 'multi-passkey',
        mask: `${method}@${streamingFraction}`,
        length: 4096,
        streamingFraction,
        footprint,
        accuracy,
      });
    }),
  );
  return [makeRow({ task: 'multi-passkey', length: 4096, accuracy: 0.99 }), ...cuts];
}

function makeBench(): unknown {
  const side = (ms: number, kvBytes: number): unknown => ({
    prefillSeconds: null,
    stepSeconds: [ms, ms, ms + 1].map((one) => one / 1000),
    kvBytes,
    fullKvBytes: kvBytes,
    workspaceBytes: 0,
  });
  const contexts = [2048, 32_768].map((context) => ({
    context,
    figures: { full: side(4 + context / 2048, 4096 * context), masked: side(4 + context / 5000, 1700 * context) },
    comparison: { prefillSpeedup: null, decodeSpeedup: 1.8, kvShare: 0.42 },
  }));
  return { model: 'tiny', engine: 'native', device: 'cpu', kvDtype: 'bf16', batch: 1, contexts };
}

/** Four methods at every fourth budget; `gates` loses 2 points to greedy removal at each. */
function makeComparison(shape: ModelTag): unknown {
  const heads = shape.layers * shape.kvHeads;
  const budgets = Array.from({ length: heads + 1 }, (_, count) => count).filter((count) => count % 4 === 0);
  const row = (name: string, loss: number, rest: Record<string, unknown> = {}): unknown => ({
    name,
    seconds: 1.25,
    forwards: 28,
    meanGateDifference: 0.004,
    largestGateDifference: 0.03,
    recall: budgets.map((count) => 1 - (0.9 * count) / (heads + 1) - loss),
    meanRecall: 0.55 - loss,
    belowGatesBeyondInterval: 0,
    worstAgainstGates: { mean: 0, halfWidth: 0 },
    sameLabelsAsGreedy: 0.875,
    ...rest,
  });
  const rankingOnly = { forwards: null, meanGateDifference: null, largestGateDifference: null };
  return {
    model: 'models/tiny',
    preset: 'tiny',
    shape,
    engine: 'native',
    device: 'cpu',
    cpu: 'a processor',
    tokens: 192,
    lambda: 0.5,
    steps: 60,
    samples: 4,
    heldOut: 16,
    budgets,
    telling: budgets.slice(1),
    rows: [
      row('gates', 0.02, { seconds: 5.5, forwards: 240, meanGateDifference: 0, largestGateDifference: 0 }),
      row('quadratic, finite, 1 rounds', 0.03),
      row('attention-mass (tensorflow)', 0.04, rankingOnly),
      row('greedy removal', 0, { ...rankingOnly, forwards: 288, sameLabelsAsGreedy: 1 }),
    ],
    stability: [
      { step: 'finite', rounds: 1, samples: 4, meanOverlap: 0.979, leastOverlap: 0.938, gateDifference: 0.006 },
    ],
    ranked: {},
  };
}
