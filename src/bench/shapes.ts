// Named model shapes for benches with random weights. The numbers are those of the published config.json files, except the longest text,
// which is widened so that any context can be timed.
import type { ModelShape } from '../core/shapes.ts';
import { ConfigError } from '../errors/errors.ts';
import type { ModelConfig } from '../model/config.ts';
import type { RopeScaling } from '../model/rope-scaling.ts';

/** Contexts are timed up to eight million tokens, whatever a model declares. */
const BENCH_POSITIONS = 2 ** 23;

const NO_SCALING: RopeScaling = { type: 'none' };
const LLAMA_32_SCALING: RopeScaling = {
  type: 'llama3',
  factor: 32,
  lowFreqFactor: 1,
  highFreqFactor: 4,
  originalMaxPositions: 8192,
};

type Sizes = Omit<ModelShape, 'maxPositions'>;
type Traits = Pick<ModelConfig, 'rmsNormEps' | 'ropeTheta'> & Partial<ModelConfig>;

function makeConfig(sizes: Sizes, traits: Traits): ModelConfig {
  return {
    ropeScaling: NO_SCALING,
    tiedEmbeddings: false,
    qkvBias: false,
    outputBias: false,
    mlpBias: false,
    qkNorm: false,
    bosTokenId: null,
    eosTokenIds: [],
    notes: [],
    ...traits,
    shape: { ...sizes, maxPositions: BENCH_POSITIONS },
  };
}

/** By name, as `--shape` takes them. */
export const NAMED_SHAPES: Readonly<Record<string, ModelConfig>> = {
  'llama-2-7b': makeConfig(
    {
      architecture: 'llama',
      layers: 32,
      heads: 32,
      kvHeads: 32,
      headDim: 128,
      hidden: 4096,
      intermediate: 11_008,
      vocab: 32_000,
    },
    { rmsNormEps: 1e-5, ropeTheta: 10_000 },
  ),
  'llama-3-8b': makeConfig(
    {
      architecture: 'llama',
      layers: 32,
      heads: 32,
      kvHeads: 8,
      headDim: 128,
      hidden: 4096,
      intermediate: 14_336,
      vocab: 128_256,
    },
    { rmsNormEps: 1e-5, ropeTheta: 500_000 },
  ),
  'llama-3.2-1b': makeConfig(
    {
      architecture: 'llama',
      layers: 16,
      heads: 32,
      kvHeads: 8,
      headDim: 64,
      hidden: 2048,
      intermediate: 8192,
      vocab: 128_256,
    },
    { rmsNormEps: 1e-5, ropeTheta: 500_000, ropeScaling: LLAMA_32_SCALING, tiedEmbeddings: true },
  ),
  'llama-3.2-3b': makeConfig(
    {
      architecture: 'llama',
      layers: 28,
      heads: 24,
      kvHeads: 8,
      headDim: 128,
      hidden: 3072,
      intermediate: 8192,
      vocab: 128_256,
    },
    { rmsNormEps: 1e-5, ropeTheta: 500_000, ropeScaling: LLAMA_32_SCALING, tiedEmbeddings: true },
  ),
  'llama-3-70b': makeConfig(
    {
      architecture: 'llama',
      layers: 80,
      heads: 64,
      kvHeads: 8,
      headDim: 128,
      hidden: 8192,
      intermediate: 28_672,
      vocab: 128_256,
    },
    { rmsNormEps: 1e-5, ropeTheta: 500_000 },
  ),
  'mistral-7b': makeConfig(
    {
      architecture: 'mistral',
      layers: 32,
      heads: 32,
      kvHeads: 8,
      headDim: 128,
      hidden: 4096,
      intermediate: 14_336,
      vocab: 32_768,
    },
    { rmsNormEps: 1e-5, ropeTheta: 1_000_000 },
  ),
  'qwen2.5-7b': makeConfig(
    {
      architecture: 'qwen2',
      layers: 28,
      heads: 28,
      kvHeads: 4,
      headDim: 128,
      hidden: 3584,
      intermediate: 18_944,
      vocab: 152_064,
    },
    { rmsNormEps: 1e-6, ropeTheta: 1_000_000, qkvBias: true },
  ),
  'qwen2.5-32b': makeConfig(
    {
      architecture: 'qwen2',
      layers: 64,
      heads: 40,
      kvHeads: 8,
      headDim: 128,
      hidden: 5120,
      intermediate: 27_648,
      vocab: 152_064,
    },
    { rmsNormEps: 1e-6, ropeTheta: 1_000_000, qkvBias: true },
  ),
  'qwen3-8b': makeConfig(
    {
      architecture: 'qwen3',
      layers: 36,
      heads: 32,
      kvHeads: 8,
      headDim: 128,
      hidden: 4096,
      intermediate: 12_288,
      vocab: 151_936,
    },
    { rmsNormEps: 1e-6, ropeTheta: 1_000_000, qkNorm: true },
  ),
};

/** The config of a named shape.
 * @param options.layers keep this many layers, at most the shape's own; default all.  @throws {ConfigError} unknown name, too many layers. */
export function findShape(name: string, options: { layers?: number } = {}): ModelConfig {
  const config = Object.hasOwn(NAMED_SHAPES, name) ? NAMED_SHAPES[name] : undefined;
  if (config === undefined) {
    throw new ConfigError(`Expected a shape among ${Object.keys(NAMED_SHAPES).join(', ')}, got \`${name}\``);
  }
  const layers = options.layers ?? config.shape.layers;
  if (!Number.isInteger(layers) || layers < 1 || layers > config.shape.layers) {
    throw new ConfigError(`Expected \`layers\` to be an integer from 1 to ${config.shape.layers}, got \`${layers}\``);
  }
  return { ...config, shape: { ...config.shape, layers } };
}

/** All weights of a model. */
export function countWeights(config: ModelConfig): number {
  const { hidden, vocab } = config.shape;
  return countDecodeWeights(config) + (config.tiedEmbeddings ? 0 : hidden * vocab);
}

/** Weights that one decoded token reads: all layers and the vocabulary's head; of the embedding one row, which is left out. */
export function countDecodeWeights(config: ModelConfig): number {
  const { layers, heads, kvHeads, headDim, hidden, intermediate, vocab } = config.shape;
  const attention = hidden * headDim * (2 * heads + 2 * kvHeads);
  const biases =
    (config.qkvBias ? headDim * (heads + 2 * kvHeads) : 0) +
    (config.outputBias ? hidden : 0) +
    (config.mlpBias ? 2 * intermediate + hidden : 0);
  const norms = 2 * hidden + (config.qkNorm ? 2 * headDim : 0);
  return layers * (attention + 3 * hidden * intermediate + biases + norms) + hidden + hidden * vocab;
}
