// Samples made for an objective: passkeys in a haystack, long-range tokens of running text, or the two by turns.

import { createHash } from 'node:crypto';
import type { LongRangeCounts } from '../data-gen/long-range.ts';
import type { Config } from '../src/config/config.ts';
import type { Split } from '../src/core/haystack.ts';
import type { Engine } from '../src/engine/engine.ts';
import { openLongRangeSource } from './long-range-source.ts';
import { type Objective, takeTurn } from './objective.ts';
import { type OriginOptions, openGeneratedSource, type SampleSource } from './sample-source.ts';

export interface ObjectiveOptions extends OriginOptions {
  readonly objective: Objective;
  readonly split: Split;
  /** scores tokens; not looked at for passkeys */
  readonly engine: Engine | null;
  /** of the long-range objective */
  readonly documentsPath: string | null;
  readonly heldOutPath?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ObjectiveSource extends SampleSource {
  /** settings fitted to model and tokenizer */
  readonly config: Config;
  /** long-range tokens found so far; null for passkeys */
  readonly counts: LongRangeCounts | null;
}

/** Open the samples of an objective. @throws {ConfigError} lengths that model, passkeys or window forbid; {FormatError}; {FileError}. */
export async function openObjectiveSource(options: ObjectiveOptions): Promise<ObjectiveSource> {
  const { objective, documentsPath, engine } = options;
  const passkeys = objective === 'long-range' ? null : await openGeneratedSource(options);
  if (passkeys && objective === 'passkey') return { ...passkeys, counts: null };
  if (engine === null || documentsPath === null) {
    throw new TypeError('Expected an engine and documents for the long-range objective, got none.');
  }
  const config = passkeys?.config ?? options.config;
  const texts = await openLongRangeSource({ ...options, config, documentsPath, engine });
  const hash = passkeys ? hashBoth(passkeys.hash, texts.hash) : texts.hash;
  const at = (step: number): { source: Pick<SampleSource, 'sampleAt' | 'lengthAt'>; index: number } => {
    const turn = takeTurn(objective, step);
    return { source: turn.objective === 'passkey' && passkeys ? passkeys : texts, index: turn.index };
  };
  return {
    config,
    sampleAt: (step) => {
      const { source, index } = at(step);
      return source.sampleAt(index);
    },
    lengthAt: (step) => {
      const { source, index } = at(step);
      return source.lengthAt(index);
    },
    shortSample: () => (passkeys ?? texts).shortSample(),
    get counts() {
      return texts.counts;
    },
    hash,
    inputs: { ...passkeys?.inputs, ...texts.inputs, samplesHash: hash },
    close: () => passkeys?.close(),
  };
}

function hashBoth(passkeys: string, texts: string): string {
  return `sha256:${createHash('sha256').update(`by turns\n${passkeys}\n${texts}`).digest('hex')}`;
}
