// What duo bench measures: a model folder or a named shape with random weights, its engine, and the mask to compare with full attention.
import { totalmem } from 'node:os';
import { basename } from 'node:path';
import { countDecodeWeights, countWeights, findShape } from '../bench/shapes.ts';
import { drawWindowsLike } from '../core/draw-windows.ts';
import { makeHeadMask } from '../core/head-mask.ts';
import { randomMask } from '../core/masks.ts';
import { makeRandom } from '../core/random.ts';
import type { HeadMask, ModelShape, Window } from '../core/shapes.ts';
import { formatBytes } from '../core/words.ts';
import type { Engine } from '../engine/engine.ts';
import { openOnDefaultDevice } from '../engine/native/default-device.ts';
import { openRandomNativeEngine } from '../engine/native/native-engine.ts';
import { describeStreamed } from '../engine/open-engine.ts';
import { ConfigError } from '../errors/errors.ts';
import { checkMaskFits, readMask, toHeadMask } from '../formats/mask.ts';
import { findRunFile } from '../formats/run-file.ts';
import type { ModelConfig } from '../model/config.ts';
import type { ModelFolder } from '../model/folder.ts';
import type { NextPass } from '../native/model.ts';
import { WEIGHT_PLACES } from '../native/weight-place.ts';
import { readMaskFlag } from './mask-flag.ts';
import { readChoiceFlag, readIntegerFlag, readNumberFlag } from './numbers.ts';
import { type EngineFlags, openEngine, openModel } from './open.ts';
import { say } from './terminal.ts';

export interface BenchFlags extends EngineFlags {
  readonly model?: string;
  readonly shape?: string;
  readonly layers?: string;
  readonly distinctLayers?: string;
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

/** What is measured: an open engine, its config, the bytes of all weights and of those that a decode step reads, and the masks by name: `masked`, or of several shares `streaming-0.5` … */
export interface Subject {
  readonly name: string;
  readonly engine: Engine;
  readonly config: ModelConfig;
  readonly weightBytes: { readonly all: number; readonly decode: number };
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
  const weightDtype = readChoiceFlag('--weights', {
    text: flags.weights ?? 'bf16',
    names: ['bf16', 'f32', 'int8', 'int4'],
  });
  const { device, threads } = flags;
  const weightsOn = readChoiceFlag('--weights-on', { text: flags.weightsOn ?? 'auto', names: WEIGHT_PLACES });
  const distinctLayers = readDistinctLayers(flags, { config, hostBytes: weightDtype === 'f32' ? 4 : 2 });
  const next = listNextPass(flags);
  const open = async (on: string): Promise<Engine> => {
    if (weightsOn !== 'auto' && !on.startsWith('cuda')) {
      throw new ConfigError(
        `Expected --weights-on ${weightsOn} only on a CUDA device, got it with ${on}; leave it out.`,
      );
    }
    const opened = await openRandomNativeEngine(config, {
      ...{ seed, weightDtype, device: on, weightsOn, next, distinctLayers },
      ...(threads !== undefined && { threads }),
    });
    const streamed = describeStreamed(opened);
    if (streamed !== null) say(`duo: ${streamed}.`);
    return opened;
  };
  const isGpuOnly = weightDtype === 'int8' || weightDtype === 'int4';
  if (isGpuOnly && (threads !== undefined || device?.startsWith('cpu'))) {
    throw new ConfigError(
      `Expected --weights ${weightDtype} only on a CUDA device, got it with a CPU; use bf16 or f32.`,
    );
  }
  const asked = device ?? (threads === undefined ? undefined : 'cpu');
  const engine =
    asked === undefined
      ? await openOnDefaultDevice({ open, onNote: (note) => say(`duo: ${note}.`) })
      : await open(asked);
  const masks = given === null ? drawMasks(flags, { shape: config.shape, seed }) : { masked: given };
  const mean = { bf16: 2, f32: 4, int8: 1, int4: 5 / 8 }[weightDtype];
  const weightBytes = countWeightBytes(engine, { config, mean, embedding: isGpuOnly ? 1 : 2 });
  const shared = distinctLayers === 0 ? '' : ` of ${distinctLayers} layers, which the others share`;
  const name = `${flags.shape}, ${config.shape.layers} layers, random ${weightDtype} weights${shared}`;
  const close = (): Promise<void> => engine.close();
  return { name, engine, config, weightBytes, masks, close };
}

/** What --distinct-layers says; 0 = every layer its own. @throws {ConfigError} more than there are, or more weights than the machine has memory. */
function readDistinctLayers(flags: BenchFlags, options: { config: ModelConfig; hostBytes: number }): number {
  const { config, hostBytes } = options;
  const { layers } = config.shape;
  if (flags.distinctLayers !== undefined) {
    const distinct = readIntegerFlag('--distinct-layers', { text: flags.distinctLayers, least: 1 });
    if (distinct <= layers) return distinct;
    throw new ConfigError(`Expected --distinct-layers of at most the shape's ${layers} layers, got \`${distinct}\`.`);
  }
  const bytes = countWeights(config) * hostBytes;
  if (bytes > totalmem()) {
    throw new ConfigError(
      `Expected random weights of ${flags.shape} within the machine's ${formatBytes(totalmem())} of memory, they take ${formatBytes(bytes)}; let layers share them with --distinct-layers, or keep fewer with --layers.`,
    );
  }
  return 0;
}

/** The longest identification step that is timed. */
function listNextPass({ distill }: BenchFlags): NextPass {
  const lengths = (distill ?? '').split(',').filter(Boolean);
  if (lengths.length === 0) return { pass: 'none', tokens: 0 };
  const tokens = Math.max(...lengths.map((text) => readIntegerFlag('--distill', { text, least: 2 })));
  return { pass: 'distill', tokens };
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
  if (flags.distinctLayers !== undefined)
    throw new ConfigError('Expected --distinct-layers only with --shape, got it with --model.');
  const folder = await openModel(flags.model as string);
  try {
    const { config } = folder;
    const given = readMaskFlag(flags, folder);
    const masks = given === 'full' ? drawMasks(flags, { shape: config.shape, seed }) : { masked: given };
    const engine = await openEngine(folder, flags, { next: listNextPass(flags) });
    const close = async (): Promise<void> => {
      await engine.close();
      folder.close();
    };
    const mean = meanWeightBytes(folder);
    const weightBytes = countWeightBytes(engine, { config, mean, embedding: embeddingBytes(folder, flags.weights) });
    return { name: folder.name, engine, config, weightBytes, masks, close };
  } catch (error) {
    folder.close();
    throw error;
  }
}

/** Of a GPU as it holds them; of a CPU as files do. `mean`: bytes of a stored weight; `embedding`: of one of the embedding's on a GPU. */
function countWeightBytes(
  engine: Engine,
  { config, mean, embedding }: { config: ModelConfig; mean: number; embedding: number },
): Subject['weightBytes'] {
  const { hidden, vocab } = config.shape;
  const looked = config.tiedEmbeddings ? 0 : hidden * vocab;
  if (engine.weightBytes !== undefined && engine.device.startsWith('cuda')) {
    return { all: engine.weightBytes, decode: engine.weightBytes - looked * embedding };
  }
  const decode = countDecodeWeights(config) * mean;
  return { all: decode + looked * mean, decode };
}

/** Bytes of an element of GGUF blocks as a GPU holds them (kernels/core/packed_weights.h). */
const BLOCK_BYTES: Readonly<Record<string, number>> = {
  ...{ Q4_0: 5 / 8, Q4_1: 5 / 8, Q4_K: 5 / 8 },
  ...{ Q5_0: 9 / 8, Q8_0: 9 / 8, Q3_K: 9 / 8, Q6_K: 9 / 8 },
  ...{ Q5_1: 10 / 8, Q5_K: 10 / 8, Q2_K: 10 / 8 },
};

function embeddingBytes(folder: ModelFolder, weights: string | undefined): number {
  if (weights === 'int8' || weights === 'int4') return 1;
  const dtype = folder.weights?.info('model.embed_tokens.weight').dtype;
  return (weights === 'bf16' ? undefined : BLOCK_BYTES[dtype ?? '']) ?? 2;
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
