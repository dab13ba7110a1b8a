// A process for resume.test.ts: runs the same optimisation, and in the middle of its sixth step says so and waits to be killed.
import { optimizeGates } from '../../train/optimize.ts';
import { enterRunFolder } from '../../train/run-folder.ts';
import { makeQuadraticEngine, quadraticSampleAt } from './quadratic-engine.ts';

const identity = { samples: 'sha256:00' };
const folder = enterRunFolder({ path: process.argv[2] as string, entry: 'fresh', identity });
const engine = makeQuadraticEngine();
const { distill } = engine;
let call = 0;
engine.distill = async (...args) => {
  if (call++ === 5) {
    process.stdout.write('waiting\n');
    await new Promise((resolve) => setTimeout(resolve, 60_000));
  }
  return distill(...args);
};
await optimizeGates({
  engine,
  sampleAt: quadraticSampleAt,
  settings: {
    steps: 7,
    lr: 0.05,
    lambda: 0.2,
    window: { sinkTokens: 4, recentTokens: 32 },
    supervise: 'predict',
    fullBranch: 'student',
    checkpointEvery: 2,
    gatesEvery: 3,
    stableSteps: 0,
  },
  files: { metrics: folder.file('metrics.jsonl'), checkpoint: folder.file('checkpoint.json') },
  identity,
});
