// What masks keep on text that nothing was learnt from: kept gain over all positions and over the last quarter of them, and needles that lie
// farther back than the widest window. Each mask is scored by one forward pass a text.
import { openFileHaystack } from '../dist/data-gen/file-haystack.js';
import { openHaystack } from '../dist/data-gen/haystack.js';
import { takeRunningText } from '../dist/data-gen/running-text.js';
import { makeHeadMask } from '../dist/src/core/head-mask.js';
import { makeRandom } from '../dist/src/core/random.js';
import { filledGrid } from '../dist/src/core/shapes.js';
import { measureKeptGain } from '../dist/src/eval/metrics/kept-gain.js';
import { adaptTokenizer } from '../dist/src/eval/tasks/adapt-tokenizer.js';
import { openTaskFiles } from '../dist/src/eval/tasks/task-files.js';
import { findTasks } from '../dist/src/eval/tasks/task-list.js';
import { openTokenizer } from '../dist/src/text/tokenizer.js';

const LAST_QUARTER = 3 / 4;
const NEEDLE_TASKS = ['niah_single_2', 'niah_multikey_1'];
/** Shallowest needle, as a share of the prompt. */
const SHALLOWEST = 0.02;

/** Held-out texts as `duo eval --tasks long-range --documents` takes them. */
export async function takeTexts({ folder, documents, tokens, count, seed }) {
  const tokenizer = openTokenizer(folder.path);
  const source = await openFileHaystack({ path: documents, tokenizer });
  const start = tokenizer.encode('', { addSpecialTokens: true });
  return Array.from({ length: count }, (_, index) => {
    const random = makeRandom(seed, 'eval', 'long-range', tokens, index);
    return takeRunningText(source, { start, tokens, random, split: 'held-out' });
  });
}

/** Prompts whose needle lies more than `farther` tokens before their end; answers are fed token by token. */
export async function makeFarNeedles({ folder, documents, tokens, count, farther, seed }) {
  const tokenizer = openTokenizer(folder.path);
  const haystack = await openHaystack({ path: null, tokenizer });
  const files = openTaskFiles({ essays: documents });
  const deepest = 1 - farther / tokens - SHALLOWEST;
  return findTasks(NEEDLE_TASKS).flatMap((task) =>
    Array.from({ length: count }, (_, index) => {
      const depth = SHALLOWEST + ((deepest - SHALLOWEST) * index) / Math.max(1, count - 1);
      const words = adaptTokenizer(tokenizer);
      return task.build({ tokenizer: words, lengthTokens: tokens, seed, index, haystack, files, depth }).teacherForced;
    }),
  );
}

/** Scores of masks, each against the same full attention and the same all-streaming mask. @param window of the latter. */
export async function openScores({ engine, texts, needles = [], window }) {
  const { layers, kvHeads } = engine.model;
  const scoreAll = async (mask) => {
    const scored = [];
    for (const text of texts) scored.push(await engine.scoreTokens(text, mask));
    return scored;
  };
  const streamingMask = makeHeadMask(filledGrid(layers, kvHeads, 0), window);
  const [full, streaming] = [await scoreAll('full'), await scoreAll(streamingMask)];
  const gainFrom = (own, share) => {
    const cut = (values) => values.subarray(Math.floor(share * values.length));
    return measureKeptGain(
      own.map((mask, index) => ({ full: cut(full[index]), streaming: cut(streaming[index]), mask: cut(mask) })),
    );
  };
  return {
    streamingMask,
    /** `{ kept, interval, late, lateInterval, loss, far }`; `far` is the share of needles with every token right */
    async score(mask) {
      const own = mask === 'full' ? full : await scoreAll(mask);
      const [all, last] = [gainFrom(own, 0), gainFrom(own, LAST_QUARTER)];
      let right = 0;
      for (const needle of needles) right += Number((await engine.evaluate(needle, mask)).accuracy === 1);
      return {
        kept: all.keptGain,
        interval: all.interval,
        late: last.keptGain,
        lateInterval: last.interval,
        loss: all.loss - all.fullLoss,
        far: needles.length === 0 ? null : right / needles.length,
      };
    },
  };
}
