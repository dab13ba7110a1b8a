// Method `quadratic`: near "all heads full" the distillation loss is a quadratic of the gates, measured with forward passes alone and
// then minimised exactly, for every λ at once; masks of a budget come from nested elimination. The sections of train/quadratic do the work.
import { ConfigError } from '../../src/errors/errors.ts';
import type { JsonRecord } from '../../src/formats/read-json.ts';
import { chooseDistance, isLongRangeSample, requireKl } from '../distance.ts';
import { addValues, startSums } from '../quadratic/balanced-sums.ts';
import { estimateQuadratic } from '../quadratic/estimate-quadratic.ts';
import { identifyQuadratic } from '../quadratic/identify-quadratic.ts';
import { requireProbing } from '../quadratic/measure-sample.ts';
import { describeNoise, measureRounding } from '../quadratic/noise.ts';
import { measureOverEngines } from '../quadratic/over-engines.ts';
import { checkQuadraticSettings } from '../quadratic/quadratic-settings.ts';
import { requireSketching } from '../quadratic/sketch-ladder.ts';
import type { HeadMethod, QuadraticMethodSettings, ScoreOptions } from './method.ts';

/** By measurement (scripts/compare-methods.ts): masks of a budget do not depend on the rounds, which only bring the gates at λ nearer to the
 * optimised ones; after one round the finite step is nearer than the tangent on the demo and on 64 KV heads. */
export const DEFAULT_QUADRATIC: QuadraticMethodSettings = { samples: 4, rounds: 1, step: 'finite' };

export const quadraticMethod: HeadMethod = {
  name: 'quadratic',
  description: 'measure the loss as a quadratic of the gates, forward passes only, and solve it for every λ',
  settings: [
    'lambda',
    'supervise',
    'distance',
    'quadraticSamples',
    'quadraticRounds',
    'quadraticVectors',
    'quadraticStep',
    'fullBranch', // takes one of its values only, and says so
  ],
  sharesSamples: true,
  joins: true,

  async score(options) {
    checkScoreOptions(options);
    const { engine, settings, files, identity, resume, shared, signal, onProgress } = options;
    const quadratic = options.quadratic ?? DEFAULT_QUADRATIC;
    const { window, supervise, lambda } = settings;
    const probing = requireProbing(engine);
    const { gates, path, rounds, effects, balance, ladder } = await identifyQuadratic({
      settings: { ...quadratic, lambda },
      measure: { engine: probing, window, supervise, signal },
      helpers: options.helpers?.map(requireProbing),
      sampleAt: options.sampleAt,
      checkpointPath: files.checkpoint,
      identity: { ...identity, quadratic: { ...quadratic, lambda, supervise, ...window } },
      resume: resume ?? false,
      shared,
      onProgress,
    });
    const { step, distance: rule = 'hidden' } = quadratic;
    let distances = startSums(1);
    await measureOverEngines({
      begin: 0,
      end: quadratic.samples,
      engines: [probing],
      sampleAt: options.sampleAt,
      async measure(sample, { engine: own }) {
        const rounding = await measureRounding(sample, { engine: own, distance: chooseDistance(sample, rule), signal });
        return rounding === null ? new Float64Array(0) : Float64Array.of(rounding);
      },
      onMeasured(rounding, { sample }) {
        if (rounding.length > 0) distances = addValues(distances, rounding, isLongRangeSample(sample));
      },
      shared: shared && { results: shared, name: 'noise' },
      signal,
    });
    const { kvHeads } = engine.model;
    const noise = describeNoise({ distances, balance, effects, step, kvHeads }) as JsonRecord | null;
    const provenance = {
      quadratic: { ...quadratic },
      rounds: rounds.map((record) => ({ ...record })),
      ...(balance !== 1 && { balance }),
      ...(noise && { noise }),
    };
    return { gates, path, stepsDone: quadratic.samples, provenance, ...(ladder ? { ladder } : {}) };
  },

  async estimate(options) {
    checkScoreOptions(options);
    const { engine, settings, sampleAt, shortSample, signal } = options;
    const quadratic = options.quadratic ?? DEFAULT_QUADRATIC;
    const { samples } = quadratic;
    const { window, supervise } = settings;
    const measured = await Promise.all(Array.from({ length: samples }, (_, index) => sampleAt(index)));
    const probing = requireProbing(engine);
    return estimateQuadratic({ engine: probing, samples: measured, shortSample, quadratic, window, supervise, signal });
  },
};

function checkScoreOptions({ engine, settings, quadratic = DEFAULT_QUADRATIC }: ScoreOptions): void {
  if (settings.fullBranch !== 'student') {
    throw new ConfigError(
      `Expected \`fullBranch\` to be student for method quadratic, which measures the student's own heads, got \`${settings.fullBranch}\`.`,
    );
  }
  const { layers, kvHeads } = engine.model;
  checkQuadraticSettings({ ...quadratic, lambda: settings.lambda }, layers * kvHeads);
  if ((quadratic.windows && quadratic.ladderVectors) || quadratic.vectors) requireSketching(engine);
  if (quadratic.distance === 'kl' || quadratic.distance === 'auto') requireKl(engine);
}
