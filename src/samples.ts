// The entry duo-heads/samples: samples.jsonl read, checked and written line by line, for programs that make their own. It loads no engine and
// no tokenizer. The main entry has all of it too.
export type { AnswerRange, Sample } from './core/shapes.ts';
export { DuoError, ERROR_CODES, type ErrorCode, FileError, FormatError } from './errors/errors.ts';
export type { JsonRecord, JsonValue } from './formats/read-json.ts';
export {
  openSamples,
  readSamples,
  type SampleFile,
  type SampleLimits,
  type SamplesMeta,
  type WriteSamplesOptions,
  writeSamples,
} from './formats/samples.ts';
