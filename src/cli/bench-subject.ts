// What duo bench measures: a model folder or a named shape with random weights, its engine, and the mask beside full attention.
import { basename } from 'node:path';
import { drawWindowsLike } from '../core/draw-windows.ts';
import { makeHeadMask } from '../core/head-mask.ts';
import { randomMask } from '../core/masks.ts';
import { makeRandom } from '../core/random.ts';
import type { HeadMask, ModelShape, Window } from '../core/shapes.ts';
import type { Engine } from '../engine/engine.ts';
import { openOnDefaultDevice } from '../engine/native/default-device.ts';
import { openRandomNativeEngine } from '../engine/native/native-engine.ts';
import { ConfigError } from '../errors/errors.ts';
import { checkMaskFits, readMask, toHeadMask } from '../formats/mask.ts';
import { findRunFile } from '../formats/run-file.ts';
import type { ModelConfig } from '../model/config.ts';
import type { ModelFolder } from '../model/folder.ts';
import { findShape } from '../runtime/shapes.ts';
import { readChoiceFlag, readIntegerFlag, readNumberFlag } from './numbers.ts';
import { type EngineFlags, openEngine, openModel } from './open.ts';
import { readMaskFlag } from './run.ts';
import { say } from './terminal.ts';

export interface BenchFlags extends EngineFlags {
  readonly model?: string;
  readonly shape?: string;
  readonly layers?: string;
  readonly weights: string;
  readonly mask?: string;
  readonly streamingFraction?: string;
  readonly windowsLike?: readonly string[];
  readonly distill?: string;
  readonly sink: string;
  readonly recent: string;
  readonly contexts: string;
  readonly prefillUpTo: string;
  readonly chunk?: string;
  readonly steps: string;
  readonly batch: string;
  readonly kvDtype: string;
  readonly kvRotation?: string;
  readonly seed: string;
  readonly allowOtherModel?: boolean;
  readonly json?: boolean;
}

/** What is measured: an open engine, its config, the bytes of a weight, and the masks by name: `masked`, or of several shares `streaming-0.5` … */
export interface Subject {
  readonly name: string;
  readonly engine: Engine;
  readonly config: ModelConfig;
  readonly weightBytes: number;
  readonly masks: Readonly<Record<string, HeadMask>>;
  close(): Promise<void>;
}

/** @throws {ConfigError} flags that contradict each other, an unknown shape; what opening a model or engine throws. */
export async function openSubject(flags: BenchFlags, seed: number): Promise<Subject> {
  if ((flags.model === undefined) === (flags.shape === undefined)) {
    throw new ConfigError(`Expected --model or --shape, got ${flags.model === undefined ? 'neither' : 'both'}.`);
  }
  const { mask, streamingFraction, windowsLike } = flags;
  const given = { '--mask': mask, '--streaming-fraction': streamingFraction, '--windows-like': windowsLike };
  const [first, second] = Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [name]));
  if (second !== undefined) throw new ConfigError(`Expected ${first} or ${second}, got both.`);
  return flags.model === undefined ? openShape(flags, seed) : openFolder(flags, seed);
}

async function openShape(flags: BenchFlags, seed: number): Promise<Subject> {
  if (flags.engine === 'tensorflow' || flags.backend !== undefined) {
    throw new ConfigError('Expected the native engine with --shape; the tensorflow engine needs a model folder.');
  }
  if (flags.activations === 'int8') {
    throw new ConfigError('Expected --activations int8 only with a GGUF file as --model, got it with --shape.');
  }
  const layers =
    flags.layers === undefined ? {} : { layers: readIntegerFlag('--layers', { text: flags.layers, least: 1 }) };
  const config = findShape(flags.shape as string, layers);
  const given = flags.mask === undefined ? null : readShapeMask(flags.mask, config.shape);
  const weightDtype = readChoiceFlag('--weights', { text: flags.weights, names: ['bf16', 'f32'] });
  const { device, threads } = flags;
  const open = (on: string): Promise<Engine> =>
    openRandomNativeEngine(config, { seed, weightDtype, device: on, ...(threads !== undefined && { threads }) });
  const asked = device ?? (threads === undefined ? undefined : 'cpu');
  const engine =
    asked === undefined
      ? await openOnDefaultDevice({ open, onNote: (note) => say(`duo: ${note}.`) })
      : await open(asked);
  const masks = given === null ? drawMasks(flags, { shape: config.shape, seed }) : { masked: given };
  const name = `${flags.shape}, ${config.shape.layers} layers, random ${weightDtype} weights`;
  const close = (): Promise<void> => engine.close();
  return { name, engine, config, weightBytes: weightDtype === 'bf16' ? 2 : 4, masks, close };
}

/** A mask for a shape without weights: whatever model it was made for, layers and KV heads must agree. */
function readShapeMask(given: string, shape: ModelShape): HeadMask {
  const path = findRunFile(given, 'mask.json');
  const file = readMask(path);
  checkMaskFits(file, { shape, fingerprint: null }, { path, allowOther: true });
  return toHeadMask(file);
}

async function openFolder(flags: BenchFlags, seed: number): Promise<Subject> {
  if (flags.layers !== undefined) throw new ConfigError('Expected --layers only with --shape, got it with --model.');
  const folder = await openModel(flags.model as string);
  try {
    const { config } = folder;
    const given = readMaskFlag(flags, folder);
    const masks = given === 'full' ? drawMasks(flags, { shape: config.shape, seed }) : { masked: given };
    const engine = await openEngine(folder, flags);
    const close = async (): Promise<void> => {
      await engine.close();
      folder.close();
    };
    return { name: folder.name, engine, config, weightBytes: meanWeightBytes(folder), masks, close };
  } catch (error) {
    folder.close();
    throw error;
  }
}

/** Bytes of a weight of the linear layers, mean over those of the first layer. */
function meanWeightBytes(folder: ModelFolder): number {
  let [bytes, weights] = [0, 0];
  for (const name of ['self_attn.q_proj', 'self_attn.o_proj', 'mlp.gate_proj', 'mlp.down_proj']) {
    const info = folder.weights?.info(`model.layers.0.${name}.weight`);
    if (info === undefined) return 2;
    bytes += info.byteLength;
    weights += info.shape.reduce((product, size) => product * size, 1);
  }
  return bytes / weights;
}

function drawMasks(flags: BenchFlags, options: { shape: ModelShape; seed: number }): Record<string, HeadMask> {
  const { layers, kvHeads } = options.shape;
  if (flags.windowsLike !== undefined) return drawMasksLike(flags.windowsLike, options);
  const window: Window = {
    sinkTokens: readIntegerFlag('--sink', { text: flags.sink, least: 0 }),
    recentTokens: readIntegerFlag('--recent', { text: flags.recent, least: 1 }),
  };
  const texts = (flags.streamingFraction ?? '0.5').split(',');
  const masks = texts.map((text): [string, HeadMask] => {
    const fraction = readNumberFlag('--streaming-fraction', { text, least: 0, most: 1 });
    const retrievalHeads = layers * kvHeads - Math.floor(fraction * layers * kvHeads + 0.5);
    const random = makeRandom(options.seed, 'bench');
    const name = texts.length === 1 ? 'masked' : `streaming-${fraction}`;
    return [name, makeHeadMask(randomMask({ layers, kvHeads, retrievalHeads, random }), window)];
  });
  return Object.fromEntries(masks);
}

/** After masks of other models, by the names of their files. @throws {ConfigError} two files of one name; {FormatError}; {FileError}. */
function drawMasksLike(
  paths: readonly string[],
  { shape, seed }: { shape: ModelShape; seed: number },
): Record<string, HeadMask> {
  const names = paths.map((path) => basename(path).replace(/\.json$/, ''));
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new ConfigError(`Expected --windows-like files of different names, got \`${twice}\` twice; rename one.`);
  }
  const { layers, kvHeads } = shape;
  return Object.fromEntries(
    paths.map((path, index) => {
      const random = makeRandom(seed, 'bench', 'windows');
      return [names[index], drawWindowsLike(toHeadMask(readMask(path)), { layers, kvHeads, random })];
    }),
  );
}
