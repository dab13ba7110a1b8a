// Method `gates`: one gate per KV head, optimised against the model's own full attention (DuoAttention, arXiv 2410.10819, section 3.2).
import { requireKl } from '../distance.ts';
import { optimizeGates } from '../optimize.ts';
import type { HeadMethod } from './method.ts';

export const gatesMethod: HeadMethod = {
  name: 'gates',
  description: 'optimise one gate per KV head against full attention (DuoAttention)',
  isStepwise: true,
  settings: ['steps', 'lr', 'lambda', 'supervise', 'fullBranch', 'distance', 'checkpointEvery', 'earlyStopSteps'],
  async score(options) {
    const { distance } = options.settings;
    if (distance === 'kl' || distance === 'auto') requireKl(options.engine);
    const { gates, stepsDone, scales, isStoppedEarly } = await optimizeGates(options);
    const isScaled = scales.plain !== 1 || scales.long !== 1;
    const lossScales = isScaled ? { lossScales: { ...scales } } : {};
    return { gates, stepsDone, provenance: { steps: stepsDone, stoppedEarly: isStoppedEarly, ...lossScales } };
  },
};
