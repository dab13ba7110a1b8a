// Quadratics of given samples around given gates, as `duo identify` measures and sums them, and true losses by the same distances.
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addValues, findBalance, startSums, toMeans } from '../../dist/train/quadratic/balanced-sums.js';
import { measureLoss, measureSample } from '../../dist/train/quadratic/measure-sample.js';
import { readModel, toGrid } from '../../dist/train/quadratic/quadratic-model.js';
import { computeFull, computeStreaming } from '../../dist/train/quadratic/sample-metric.js';
import { distanceOf } from '../ladders.mjs';

export class Measurements {
  #ends = new Map();
  #balance = null;

  /** @param settings `{ window, step: 'finite' | 'tangent', distance: 'kl' | undefined for the default's, longWeight: factor of long-range samples }` */
  constructor(engine, samples, settings) {
    this.engine = engine;
    this.samples = samples;
    this.settings = { step: 'finite', longWeight: 1, ...settings };
  }

  /** The same samples measured otherwise. */
  with(settings) {
    const other = new Measurements(this.engine, this.samples, { ...this.settings, ...settings });
    other.#ends = this.#ends;
    return other;
  }

  get heads() {
    return this.engine.model.layers * this.engine.model.kvHeads;
  }

  /** `{ center, loss, slope, gram }` around gates `[heads]`. @param heads that are measured; default all. */
  async measure(gates, heads) {
    const size = this.heads;
    let sums = startSums((size + 1) ** 2);
    for (const sample of this.samples) {
      const options = { ...(await this.#optionsOf(sample)), heads };
      sums = addValues(
        sums,
        await measureSample(sample, toGrid(gates, this.engine.model.kvHeads), options),
        sample.isLongRange,
      );
    }
    // by the first measurement, around all heads full, as identify finds it
    this.#balance ??=
      this.settings.longWeight *
      findBalance(
        sums,
        Array.from(gates, (_, head) => head * (size + 2)),
      );
    return readModel(toMeans(sums, this.#balance), gates);
  }

  /** True loss at gates `[heads]`, in the units of `measure`, which is asked first. */
  async measureLoss(gates) {
    let sums = startSums(1);
    for (const sample of this.samples) {
      const loss = await measureLoss(sample, toGrid(gates, this.engine.model.kvHeads), await this.#optionsOf(sample));
      sums = addValues(sums, Float64Array.of(loss), sample.isLongRange);
    }
    return toMeans(sums, this.#balance)[0];
  }

  async #optionsOf(sample) {
    const { window, step, distance = distanceOf(sample) } = this.settings;
    const options = {
      ...{ engine: this.engine, window, supervise: 'predict', distance, step },
      scratchFolder: join(tmpdir(), `duo-orders-${process.pid}`),
    };
    if (!this.#ends.has(sample)) {
      const [full, streaming] = [await computeFull(sample, options), await computeStreaming(sample, options)];
      this.#ends.set(sample, { full, streaming });
    }
    return { ...options, ...this.#ends.get(sample) };
  }
}
