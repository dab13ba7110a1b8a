// The cells of the sweep tests: three groups of the golden model's prompts under three masks.
import type { NamedMask } from '../../../src/eval/baselines.ts';
import type { SweepGroup } from '../../../src/eval/sweep.ts';
import type { TaskSample } from '../../../src/eval/tasks/task.ts';
import type { EvalRow } from '../../../src/formats/results.ts';
import { MIXED, makeGoldenPrompts, STREAMING } from './golden-prompts.ts';

const prompts = makeGoldenPrompts();

/** One prompt as a group; `onBuild` hears of each time it is built. */
export function goldenGroup(
  index: number,
  options: { readonly measure?: EvalRow['measure']; readonly onBuild?: () => void } = {},
): SweepGroup {
  const prompt = prompts[index] as TaskSample;
  return {
    task: `golden-${index}`,
    length: prompt.teacherForced?.tokens.length as number,
    measure: options.measure ?? 'teacher-forced',
    identity: { index },
    numSamples: 1,
    mostTokens: 256,
    build: () => {
      options.onBuild?.();
      return [prompt];
    },
  };
}

export function goldenGroups(onBuild: () => void = () => {}): SweepGroup[] {
  return [goldenGroup(0, { onBuild }), goldenGroup(1, { onBuild }), goldenGroup(0, { measure: 'generated', onBuild })];
}

export const goldenMasks: NamedMask[] = [
  { name: 'full', mask: 'full' },
  { name: 'mixed', mask: MIXED },
  { name: 'streaming', mask: STREAMING },
];
