// A process for sweep.test.ts: runs the sweep of the golden model in the folder given, and waits inside a cell once four are done.
import { openTensorflowEngine } from '../../../src/engine/tensorflow/tensorflow-engine.ts';
import { runSweep } from '../../../src/eval/sweep.ts';
import { openModelFolder } from '../../../src/model/folder.ts';
import { GOLDEN_FOLDER, goldenTokenizer } from './golden-prompts.ts';
import { goldenGroups, goldenMasks } from './golden-sweep.ts';

const engine = await openTensorflowEngine(openModelFolder(GOLDEN_FOLDER));
const { openSession } = engine;
let done = 0;
engine.openSession = async (...args) => {
  if (done >= 4) {
    process.stdout.write('waiting\n');
    await new Promise((resolve) => setTimeout(resolve, 60_000));
  }
  return openSession.apply(engine, args);
};
await runSweep({
  engine,
  model: 'sha256:golden',
  tokenizer: goldenTokenizer,
  stopTokens: [2],
  groups: goldenGroups(),
  masks: goldenMasks,
  folder: process.argv[2] as string,
  onProgress: (progress) => {
    done = progress.done;
  },
});
