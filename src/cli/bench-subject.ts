// What duo bench measures: a model folder or a named shape with random weights, its engine, and the mask beside full attention.
import { randomMask } from '../core/masks.ts';
import { makeRandom } from '../core/random.ts';
import type { HeadMask, ModelShape, Window } from '../core/shapes.ts';
import type { Engine } from '../engine/engine.ts';
import { openRandomNativeEngine } from '../engine/native/native-engine.ts';
import { ConfigError } from '../errors/errors.ts';
import type { ModelConfig } from '../model/config.ts';
import { findShape } from '../runtime/shapes.ts';
import { readChoiceFlag, readIntegerFlag, readNumberFlag } from './numbers.ts';
import { type EngineFlags, openEngine, openModel } from './open.ts';
import { readMaskFlag } from './run.ts';

export interface BenchFlags extends EngineFlags {
  readonly model?: string;
  readonly shape?: string;
  readonly layers?: string;
  readonly weights: string;
  readonly mask?: string;
  readonly streamingFraction?: string;
  readonly sink: string;
  readonly recent: string;
  readonly contexts: string;
  readonly prefillUpTo: string;
  readonly chunk?: string;
  readonly steps: string;
  readonly batch: string;
  readonly kvDtype: string;
  readonly seed: string;
  readonly allowOtherModel?: boolean;
  readonly json?: boolean;
}

/** What is measured: an open engine, its config, the bytes of a weight, and the mask. */
export interface Subject {
  readonly name: string;
  readonly engine: Engine;
  readonly config: ModelConfig;
  readonly weightBytes: number;
  readonly mask: HeadMask;
  close(): Promise<void>;
}

/** @throws {ConfigError} flags that contradict each other, an unknown shape; what opening a model or engine throws. */
export async function openSubject(flags: BenchFlags, seed: number): Promise<Subject> {
  if ((flags.model === undefined) === (flags.shape === undefined)) {
    throw new ConfigError(`Expected --model or --shape, got ${flags.model === undefined ? 'neither' : 'both'}.`);
  }
  if (flags.mask !== undefined && flags.streamingFraction !== undefined) {
    throw new ConfigError('Expected --mask or --streaming-fraction, got both.');
  }
  return flags.model === undefined ? openShape(flags, seed) : openFolder(flags, seed);
}

async function openShape(flags: BenchFlags, seed: number): Promise<Subject> {
  if (flags.mask !== undefined) throw new ConfigError('Expected --mask only with --model, got it with --shape.');
  if (flags.engine === 'tensorflow' || flags.backend !== undefined) {
    throw new ConfigError('Expected the native engine with --shape; the tensorflow engine needs a model folder.');
  }
  const layers =
    flags.layers === undefined ? {} : { layers: readIntegerFlag('--layers', { text: flags.layers, least: 1 }) };
  const config = findShape(flags.shape as string, layers);
  const weightDtype = readChoiceFlag('--weights', { text: flags.weights, names: ['bf16', 'f32'] });
  const { device, threads } = flags;
  const engine = await openRandomNativeEngine(config, {
    seed,
    weightDtype,
    ...(device !== undefined && { device }),
    ...(threads !== undefined && { threads }),
  });
  const mask = drawMask(flags, { shape: config.shape, seed });
  const name = `${flags.shape}, ${config.shape.layers} layers, random ${weightDtype} weights`;
  const close = (): Promise<void> => engine.close();
  return { name, engine, config, weightBytes: weightDtype === 'bf16' ? 2 : 4, mask, close };
}

async function openFolder(flags: BenchFlags, seed: number): Promise<Subject> {
  if (flags.layers !== undefined) throw new ConfigError('Expected --layers only with --shape, got it with --model.');
  const folder = openModel(flags.model as string);
  try {
    const { config } = folder;
    const given = readMaskFlag(flags, folder);
    const mask = given === 'full' ? drawMask(flags, { shape: config.shape, seed }) : given;
    const engine = await openEngine(folder, flags);
    const info = folder.weights?.info('model.layers.0.self_attn.q_proj.weight');
    const close = async (): Promise<void> => {
      await engine.close();
      folder.close();
    };
    return { name: folder.name, engine, config, weightBytes: info?.dtype === 'F32' ? 4 : 2, mask, close };
  } catch (error) {
    folder.close();
    throw error;
  }
}

function drawMask(flags: BenchFlags, options: { shape: ModelShape; seed: number }): HeadMask {
  const { layers, kvHeads } = options.shape;
  const fraction = readNumberFlag('--streaming-fraction', {
    text: flags.streamingFraction ?? '0.5',
    least: 0,
    most: 1,
  });
  const retrievalHeads = layers * kvHeads - Math.floor(fraction * layers * kvHeads + 0.5);
  const window: Window = {
    sinkTokens: readIntegerFlag('--sink', { text: flags.sink, least: 0 }),
    recentTokens: readIntegerFlag('--recent', { text: flags.recent, least: 1 }),
  };
  return { mask: randomMask({ layers, kvHeads, retrievalHeads, random: makeRandom(options.seed, 'bench') }), window };
}
