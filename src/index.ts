// The public entry of duo-heads: everything a program may rely on. What is not exported here may change without notice.
export { type HaystackSource, openHaystack } from '../data-gen/haystack.ts';
export { generateSample, generateSamples, type PasskeySample, type PasskeySettings } from '../data-gen/passkey.ts';
export { buildMask } from '../export/build-mask.ts';
export { buildWindowsMask, makeMaskFile } from '../export/build-windows-mask.ts';
export { compareMasks, type MaskComparison } from '../export/compare.ts';
export { type Cut, type CutGates, cutGates, defaultStreamingFraction } from '../export/cut.ts';
export { type CutWindows, cutPath, cutWindows, type ShareCut } from '../export/cut-windows.ts';
export { importPattern } from '../export/import.ts';
export { drawGates, drawMask } from '../export/picture.ts';
export { identify } from '../identify/identify.ts';
export type {
  FoundHeads,
  IdentifyMessage,
  IdentifyOptions,
  IdentifyProgress,
  IdentifyResult,
} from '../identify/options.ts';
export { buildGates } from '../train/gates-file.ts';
export { findMethod, HEAD_METHODS } from '../train/methods/index.ts';
export type { HeadMethod, ScoredGates, ScoreOptions } from '../train/methods/method.ts';
export { type OptimizeOptions, type OptimizeResult, optimizeGates } from '../train/optimize.ts';
export type { Config } from './config/config.ts';
export { resolveConfig } from './config/flags.ts';
export { loadPreset } from './config/presets.ts';
export { findOneWindow, listWindows, makeHeadMask, toMaskGrid } from './core/head-mask.ts';
export { countKvBytes, measureKvShare } from './core/kv-cost.ts';
export { makeRandom, type Random } from './core/random.ts';
export type { Session, SessionMemory, SessionOptions } from './core/session.ts';
export type {
  AnswerRange,
  GateGrid,
  HeadMask,
  MaskGrid,
  ModelShape,
  Sample,
  Supervise,
  Window,
} from './core/shapes.ts';
export type { DistillOptions, DistillResult, Engine, EvaluateResult } from './engine/engine.ts';
export { type NativeEngineOptions, openNativeEngine } from './engine/native/native-engine.ts';
export {
  type Activations,
  type EngineChoice,
  type EngineName,
  type OpenEngineOptions,
  openEngine,
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
export { evaluateSamples } from './eval/evaluate-samples.ts';
export { type GatesFile, type LadderEffects, readGates, writeGates } from './formats/gates.ts';
export { type MaskFile, readMask, toHeadMask, writeMask } from './formats/mask.ts';
export type { EvalRow } from './formats/results.ts';
export { openSamples, readSamples, writeSamples } from './formats/samples.ts';
export { type ModelFolder, openModelFolder } from './model/folder.ts';
export { type OpenModelOptions, openModel } from './model/open-model.ts';
export { type BatchText, decodeTogether, generateBatch } from './runtime/batch.ts';
export { type GenerateOptions, type GenerateResult, generateText } from './runtime/generate.ts';
export { type SamplingOptions, sampleToken } from './runtime/sampling.ts';
export { openTokenizer, type Tokenizer } from './text/tokenizer.ts';
