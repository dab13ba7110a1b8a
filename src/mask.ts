// The entry duo-heads/mask: masks and gates as files and as grids, cutting, comparing and counting, for programs that compute no model. It
// loads no engine, no tokenizer and no FFI. The main entry has all of it too.
export { type BuiltMask, buildMask, type LambdaCut } from '../export/build-mask.ts';
export { type BuiltWindowsMask, buildWindowsMask, makeMaskFile } from '../export/build-windows-mask.ts';
export { compareMasks, type DifferingHead, type MaskComparison } from '../export/compare.ts';
export { type Cut, type CutGates, cutGates, defaultStreamingFraction } from '../export/cut.ts';
export { type CutWindows, cutPath, cutWindows, type ShareCut } from '../export/cut-windows.ts';
export { type ImportedPattern, importPattern } from '../export/import.ts';
export type { NoiseDecisions } from '../export/noise-decisions.ts';
export { drawGates, drawMask, type PictureOptions } from '../export/picture.ts';
export { readTsv, writeTsv } from '../export/tsv.ts';
export { findOneWindow, listWindows, makeHeadMask, toMaskGrid } from './core/head-mask.ts';
export { countKvBytes, type KvStorage, measureKvShare } from './core/kv-cost.ts';
export type { KvDtype } from './core/session.ts';
export type {
  Architecture,
  GateGrid,
  HeadMask,
  MaskGrid,
  ModelShape,
  StreamingWindows,
  Window,
} from './core/shapes.ts';
export type { WindowRule } from './core/window-rule.ts';
export {
  BudgetError,
  ConfigError,
  DuoError,
  ERROR_CODES,
  type ErrorCode,
  FileError,
  FormatError,
} from './errors/errors.ts';
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
export type { Noise } from './formats/noise.ts';
export type { JsonRecord, JsonValue } from './formats/read-json.ts';
