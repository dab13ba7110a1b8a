// predictions.jsonl: a line per generated text, with what it answers and what it scored, so that it can be read and scored again.
import { z } from 'zod';
import { FormatError } from '../errors/errors.ts';
import { writeFileAtomic } from './atomic-file.ts';
import { checkJson, finiteNumber, integerWithin, readTextWithin } from './read-json.ts';

const count = integerWithin(0, Number.MAX_SAFE_INTEGER);

export const predictionSchema = z.looseObject({
  /** task, or `suite/task` */
  task: z.string().min(1),
  /** place of the prompt in its task, 0, 1, … */
  index: count,
  /** `sha256:…` of the prompt's text as it was given to the model */
  promptHash: z.string(),
  promptTokens: count,
  prediction: z.string(),
  answers: z.array(z.string()),
  /** 0 to 100, by `metric` */
  score: finiteNumber,
  metric: z.string(),
  /** further scores, 0 to 100, by name */
  others: z.record(z.string(), finiteNumber).optional(),
  stopReason: z.enum(['length', 'stop-token', 'stop-string']),
  /** fields of the suite's own prediction files that are needed to score the text again */
  record: z.record(z.string(), z.unknown()).optional(),
});

export type Prediction = z.infer<typeof predictionSchema>;

/** A line of a run's predictions.jsonl: a prediction and the row that it belongs to. */
export const keptPredictionSchema = predictionSchema.extend({
  mask: z.string(),
  length: count.nullable(),
  depth: finiteNumber.nullable(),
});

export type KeptPrediction = z.infer<typeof keptPredictionSchema>;

/** Predictions of a large sweep. */
const MAX_FILE_BYTES = 500 * 2 ** 20;

/** Read predictions.jsonl. @throws {FileError}; {FormatError} a line that is not JSON or not of this form. */
export function readPredictions(path: string): KeptPrediction[] {
  const lines = readTextWithin(path, MAX_FILE_BYTES).split('\n');
  return lines.flatMap((line, index): KeptPrediction[] => {
    if (line === '') return [];
    const place = `${path}, line ${index + 1}`;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (cause) {
      throw new FormatError(`Expected ${place} to be JSON: ${(cause as Error).message}.`, { cause });
    }
    return [checkJson(keptPredictionSchema, { value, path: place })];
  });
}

/** Write predictions, whole or not at all. @throws {FileError}. */
export function writePredictions(path: string, predictions: readonly object[]): void {
  writeFileAtomic(path, predictions.map((prediction) => `${JSON.stringify(prediction)}\n`).join(''));
}
