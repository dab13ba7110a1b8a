// The samples of a ground truth: the preset's own passkey samples, held out, or a task of `duo eval` with its true answer fed.
// Samples to choose on and samples to measure on never share a draw.
import { openHaystack } from '../data-gen/haystack.ts';
import { generateSample } from '../data-gen/passkey.ts';
import { openOrigin } from '../identify/sample-source.ts';
import type { Config } from '../src/config/config.ts';
import type { Sample } from '../src/core/shapes.ts';
import { ConfigError } from '../src/errors/errors.ts';
import { adaptTokenizer } from '../src/eval/tasks/adapt-tokenizer.ts';
import type { Wording } from '../src/eval/tasks/task.ts';
import { openTaskFiles } from '../src/eval/tasks/task-files.ts';
import { findTasks } from '../src/eval/tasks/task-list.ts';
import type { ModelFolder } from '../src/model/folder.ts';
import { openTokenizer } from '../src/text/tokenizer.ts';

/** First index of the samples to choose on; those to measure on count from 0. */
const FIRST_CHOICE = 100_000;

export interface SampleRequest {
  /** `passkey`, or a task of `duo eval` */
  readonly task: string;
  readonly count: number;
  readonly use: 'measure' | 'choose';
}

/** Open what makes the samples; sample i has the i-th of `lengths`, again and again.
 * @throws {ConfigError} an unknown task, or one whose answer cannot be fed. */
export async function openSampleMaker(options: {
  folder: ModelFolder;
  config: Config;
  wording: Wording;
  lengths: readonly number[];
  seed: number;
}): Promise<(request: SampleRequest) => Sample[]> {
  const { folder, config, wording, lengths, seed } = options;
  const origin = await openOrigin({ folder, config: { ...config, seed }, haystackPath: undefined });
  const plain = openTokenizer(folder.path);
  const haystack = await openHaystack({ path: null, tokenizer: plain });
  const tokenizer = adaptTokenizer(plain);
  const files = openTaskFiles({});
  return ({ task, count, use }) =>
    Array.from({ length: count }, (_, place): Sample => {
      const lengthTokens = lengths[place % lengths.length] as number;
      const index = (use === 'choose' ? FIRST_CHOICE : 0) + place;
      if (task === 'passkey') return generateSample({ ...origin, split: 'held-out', index, lengthTokens });
      const [found] = findTasks([task]);
      const built = found?.build({ tokenizer, lengthTokens, seed, index, haystack, files, wording });
      if (!built?.teacherForced) throw new ConfigError(`Expected a task whose answer can be fed, got \`${task}\``);
      return built.teacherForced;
    });
}
