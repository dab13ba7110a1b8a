// What an identification is expected to take, reported before it starts, for each kind of method.

import type { Config } from '../src/config/config.ts';
import type { Sample } from '../src/core/shapes.ts';
import { ConfigError } from '../src/errors/errors.ts';
import { findCheckpoint } from '../train/checkpoint.ts';
import { chooseDistance } from '../train/distance.ts';
import { describeEstimate, estimateRun, measureRate, type RunEstimate, timeCall } from '../train/estimate.ts';
import type { HeadMethod, ScoreOptions } from '../train/methods/method.ts';
import type { IdentifyOptions } from './options.ts';
import type { SampleSource } from './sample-source.ts';

/** What making a sample costs in addition to its step, in steps of four forward passes: a long-range sample takes two passes per window tried. */
const MAKING_STEPS = { passkey: 0, 'long-range': 0.5, both: 0.25 };

interface EstimateParts {
  readonly method: HeadMethod;
  readonly config: Config;
  readonly source: SampleSource;
  readonly score: ScoreOptions;
  readonly onMessage: IdentifyOptions['onMessage'];
}

/** Say memory and time of `method.score`; costs about one short sample. @throws as the method on that sample. */
export async function announceEstimate(parts: EstimateParts): Promise<void> {
  const { method, source, score, onMessage } = parts;
  const estimate = method.estimate
    ? await method.estimate({ ...score, shortSample: await source.shortSample() })
    : await estimateSteps(parts);
  onMessage?.({ kind: 'estimate', text: describeEstimate(estimate) });
  if (estimate.isLong) {
    const cure = 'a smaller `maxTokens`, fewer `steps` or another engine or device make it less';
    onMessage?.({ kind: 'long', text: `Warning: this takes hours here; ${cure}.` });
  }
}

/** Of methods that take one sample per step: the rate of a short one, and the engine's count of operations for each length. */
async function estimateSteps({ method, config, source, score }: EstimateParts): Promise<RunEstimate> {
  const { engine, settings, signal } = score;
  const { layers, kvHeads } = engine.model;
  const { supervise, fullBranch, window } = settings;
  const checkpoint = score.resume ? findCheckpoint(score.files.checkpoint, layers * kvHeads) : null;
  const firstStep = Math.min(checkpoint?.state.steps ?? 0, config.steps);
  const sample = await source.shortSample();
  const distance = chooseDistance(sample, settings.distance ?? 'hidden');
  const distill = { supervise, fullBranch, distance, ...(signal === undefined ? {} : { signal }) };
  const operationsPerSecond = method.isStepwise
    ? await measureRate({ engine, sample, window, distill })
    : await measureScoringRate({ method, score, sample });
  const making = MAKING_STEPS[source.counts ? config.objective : 'passkey'];
  const lengths = Array.from({ length: config.steps - firstStep }, (_, step) => source.lengthAt(firstStep + step));
  return estimateRun({ engine, lengths, window, operationsPerSecond: operationsPerSecond / (1 + making) });
}

/** Rate of a method that only observes attention, counted in operations of a distillation step per second: its work is proportional to them. */
async function measureScoringRate(options: {
  readonly method: HeadMethod;
  readonly score: ScoreOptions;
  readonly sample: Sample;
}): Promise<number> {
  const { method, score, sample } = options;
  const { onProgress: _, ...quiet } = score;
  const seconds = await timeCall(score.engine, async () => {
    try {
      await method.score({ ...quiet, sampleAt: () => sample, settings: { ...score.settings, steps: 1 } });
    } catch (error) {
      // one sample that a method cannot use says nothing about the others, and its time was measured all the same
      if (!(error instanceof ConfigError)) throw error;
    }
  });
  return score.engine.estimate(sample.tokens.length, score.settings.window).operations / seconds;
}
