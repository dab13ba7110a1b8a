// Method `gates`: one gate per KV head, optimised against the model's own full attention (DuoAttention, arXiv 2410.10819, section 3.2).
import { optimizeGates } from '../optimize.ts';
import type { HeadMethod } from './method.ts';

export const gatesMethod: HeadMethod = {
  name: 'gates',
  description: 'optimise one gate per KV head against full attention (DuoAttention)',
  isStepwise: true,
  async score(options) {
    const { gates, stepsDone, isStoppedEarly } = await optimizeGates(options);
    return { gates, stepsDone, provenance: { steps: stepsDone, stoppedEarly: isStoppedEarly } };
  },
};
