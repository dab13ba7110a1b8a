// The public entry of duo-heads: everything a program may rely on. What is not exported here may change without notice.
export { openHaystack } from '../data-gen/haystack.ts';
export type { LongRangeCounts } from '../data-gen/long-range.ts';
export {
  generateSample,
  generateSamples,
  type PasskeySample,
  type PasskeySettings,
  type SampleOrigin,
} from '../data-gen/passkey.ts';
export { type BuiltMask, buildMask, type LambdaCut } from '../export/build-mask.ts';
export { type BuiltWindowsMask, buildWindowsMask, makeMaskFile } from '../export/build-windows-mask.ts';
export { compareMasks, type DifferingHead, type MaskComparison } from '../export/compare.ts';
export { type Cut, type CutGates, cutGates, defaultStreamingFraction } from '../export/cut.ts';
export { type CutWindows, cutPath, cutWindows, type ShareCut } from '../export/cut-windows.ts';
export { type ImportedPattern, importPattern } from '../export/import.ts';
export type { NoiseDecisions } from '../export/noise-decisions.ts';
export { drawGates, drawMask, type PictureOptions } from '../export/picture.ts';
export { readTsv, writeTsv } from '../export/tsv.ts';
export type { ChosenMask } from '../identify/choose-mask.ts';
export { identify } from '../identify/identify.ts';
export type { LeastBudget, MeasuredMask } from '../identify/least-budget.ts';
export type {
  FoundHeads,
  IdentifyMessage,
  IdentifyOptions,
  IdentifyProgress,
  IdentifyResult,
} from '../identify/options.ts';
export type { DistanceRule } from '../train/distance.ts';
export type { RunEstimate } from '../train/estimate.ts';
export { buildGates } from '../train/gates-file.ts';
export type { LossScales } from '../train/loss-scales.ts';
export type { CutResult } from '../train/mask-stability.ts';
export { findMethod, HEAD_METHODS } from '../train/methods/index.ts';
export type {
  HeadMethod,
  MethodSetting,
  QuadraticMethodSettings,
  ScoredGates,
  ScoreOptions,
} from '../train/methods/method.ts';
export {
  type OptimizeFiles,
  type OptimizeOptions,
  type OptimizeResult,
  type OptimizeSettings,
  optimizeGates,
} from '../train/optimize.ts';
export type { Piece, SharedResults } from '../train/shared-results.ts';
export type { Config } from './config/config.ts';
export { resolveConfig } from './config/flags.ts';
export { loadPreset, type Preset } from './config/presets.ts';
export type { Claims } from './core/claims.ts';
export type { HaystackSource, Split } from './core/haystack.ts';
export { findOneWindow, listWindows, makeHeadMask, toMaskGrid } from './core/head-mask.ts';
export { countKvBytes, type KvStorage, measureKvShare } from './core/kv-cost.ts';
export { makeRandom, type Random } from './core/random.ts';
export type {
  KvDtype,
  PrefillSemantics,
  Session,
  SessionHeld,
  SessionMemory,
  SessionOptions,
  TokenSampling,
} from './core/session.ts';
export type {
  AnswerRange,
  Architecture,
  GateGrid,
  HeadMask,
  MaskGrid,
  ModelShape,
  Sample,
  StreamingWindows,
  Supervise,
  Window,
} from './core/shapes.ts';
export type { WindowRule } from './core/window-rule.ts';
export type {
  AttentionReading,
  AttentionRequest,
  Distance,
  DistillOptions,
  DistillResult,
  Engine,
  EvaluateResult,
  HiddenOptions,
  KlMetric,
  KlPoint,
  ProbeRequest,
  SketchRequest,
  StepEstimate,
} from './engine/engine.ts';
export { type NativeEngineOptions, openNativeEngine } from './engine/native/native-engine.ts';
export {
  type Activations,
  type EngineChoice,
  type EngineName,
  type OpenEngineOptions,
  openEngine,
  type WeightStorage,
} from './engine/open-engine.ts';
export type { BackendName } from './engine/tensorflow/backend-names.ts';
export { openTensorflowEngine } from './engine/tensorflow/open.ts';
export {
  AbortedError,
  BudgetError,
  ConfigError,
  DuoError,
  EngineError,
  ERROR_CODES,
  type ErrorCode,
  FileError,
  FormatError,
  ModelError,
  NativeError,
} from './errors/errors.ts';
export { listBaselines, type NamedMask } from './eval/baselines.ts';
export { evaluateSamples, type ScoredSample } from './eval/evaluate-samples.ts';
export type { KeptPromise, PathMask, WalkedMask } from './eval/keep-promise.ts';
export type { Interval } from './eval/metrics/confidence.ts';
export { type GatesFile, type LambdaPath, type ModelTag, readGates, writeGates } from './formats/gates.ts';
export type { LadderEffects } from './formats/ladder-effects.ts';
export {
  type BinaryMaskFile,
  type MaskFile,
  readMask,
  toHeadMask,
  type WindowsMaskFile,
  writeMask,
} from './formats/mask.ts';
export { hashMask } from './formats/mask-hash.ts';
export type { MetricsLine } from './formats/metrics.ts';
export type { Noise } from './formats/noise.ts';
export type { JsonRecord, JsonValue } from './formats/read-json.ts';
export type { EvalRow } from './formats/results.ts';
export type { MaskOrigin } from './formats/row-origin.ts';
export {
  openSamples,
  readSamples,
  type SampleFile,
  type SampleLimits,
  type SamplesMeta,
  type WriteSamplesOptions,
  writeSamples,
} from './formats/samples.ts';
export type { HubNeed } from './hub/choose-files.ts';
export type { ModelConfig } from './model/config.ts';
export { type ModelFolder, openModelFolder } from './model/folder.ts';
export type { GgufType } from './model/gguf-blocks.ts';
export { type OpenModelOptions, openModel } from './model/open-model.ts';
export type { RopeScaling } from './model/rope-scaling.ts';
export type { Shard, StoredTensor, TensorInfo, WeightDtype } from './model/safetensors.ts';
export type { WeightStore } from './model/weights.ts';
export type { NextPass, StreamedWeights } from './native/model.ts';
export type { WeightPlace } from './native/weight-place.ts';
export { type BatchText, decodeTogether, generateBatch } from './runtime/batch.ts';
export { type GenerateOptions, type GenerateResult, generateText } from './runtime/generate.ts';
export { type SamplingOptions, sampleToken } from './runtime/sampling.ts';
export { openTokenizer, type Tokenizer } from './text/tokenizer.ts';
