// The frozen identification run of an independent float64 implementation, followed by the whole path: model folder, tensorflow
// engine, penalty, schedule, Adam, clamp. Measured 2026-11-23: worst gate 5e-5 off after any of the 60 steps, which is the rounding of metrics.jsonl.
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { AnswerRange, GateGrid, Sample } from '../../src/core/shapes.ts';
import { openTensorflowEngine } from '../../src/engine/tensorflow/tensorflow-engine.ts';
import { readMetrics } from '../../src/formats/metrics.ts';
import { openModelFolder } from '../../src/model/folder.ts';
import { optimizeGates } from '../../train/optimize.ts';

const FOLDER = 'test/golden/mha-2l';

interface GoldenRun {
  sink: number;
  recent: number;
  reg: number;
  lr: number;
  steps: number;
  docs: { ids: number[]; positions: number[] }[];
  trajectory: { distill: number; lr: number; alpha: GateGrid }[];
}

/** Supervised positions p are predictions of token p + 1: a run a … b of them is the answer range [a + 1, b + 2). */
function toSample({ ids, positions }: GoldenRun['docs'][number]): Sample {
  const answers: AnswerRange[] = [];
  for (const position of positions) {
    const last = answers.at(-1);
    if (last?.[1] === position + 1) last[1] = position + 2;
    else answers.push([position + 1, position + 2]);
  }
  return { tokens: ids, answers };
}

test('60 steps on the tensorflow engine stay within 0.01 per gate of the float64 run', {
  timeout: 300_000,
}, async () => {
  const golden = JSON.parse(readFileSync(join(FOLDER, 'ident.json'), 'utf8')) as GoldenRun;
  const samples = golden.docs.map(toSample);
  const model = openModelFolder(FOLDER);
  const engine = await openTensorflowEngine(model, { backend: 'wasm' });
  const out = mkdtempSync(join(tmpdir(), 'duo-ident-'));
  const metricsPath = join(out, 'metrics.jsonl');
  let worstLoss = 0;
  const { gates } = await optimizeGates({
    engine,
    sampleAt: (step) => samples[step % samples.length] as Sample,
    settings: {
      steps: golden.steps,
      lr: golden.lr,
      lambda: golden.reg,
      window: { sinkTokens: golden.sink, recentTokens: golden.recent },
      supervise: 'predict',
      fullBranch: 'student',
      checkpointEvery: 20,
      gatesEvery: 1,
      stableSteps: 0,
    },
    files: { metrics: metricsPath, checkpoint: join(out, 'checkpoint.json') },
    identity: {},
  });
  await engine.close();
  model.close();

  const lines = readMetrics(metricsPath);
  expect(lines).toHaveLength(60);
  let worst = 0;
  const differenceOf = (a: GateGrid, b: GateGrid): number =>
    Math.max(...a.flatMap((row, layer) => row.map((gate, head) => Math.abs(gate - (b[layer]?.[head] as number)))));
  golden.trajectory.forEach(({ alpha, distill, lr }, step) => {
    const line = lines[step] as (typeof lines)[number];
    expect(line.lr).toBeCloseTo(lr, 14);
    worst = Math.max(worst, differenceOf(line.gates as GateGrid, alpha));
    worstLoss = Math.max(worstLoss, Math.abs(line.distillation - distill));
  });
  worst = Math.max(worst, differenceOf(gates, golden.trajectory.at(-1)?.alpha as GateGrid));
  console.log(`worst gate ${worst.toExponential(1)} of 1e-2, worst loss ${worstLoss.toExponential(1)} of 1e-4`);
  expect(worst).toBeLessThan(0.01);
  expect(worstLoss).toBeLessThan(1e-4);
});
