// What `identify` takes and gives: the options of one identification, what it reports while it runs, and its result.
import type { LongRangeCounts } from '../data-gen/long-range.ts';
import type { NoiseDecisions } from '../export/noise-decisions.ts';
import type { Config } from '../src/config/config.ts';
import type { Sample } from '../src/core/shapes.ts';
import type { Engine } from '../src/engine/engine.ts';
import type { EngineName, OpenEngineOptions } from '../src/engine/open-engine.ts';
import { ConfigError } from '../src/errors/errors.ts';
import type { KeptPromise } from '../src/eval/keep-promise.ts';
import type { GatesFile } from '../src/formats/gates.ts';
import type { Noise } from '../src/formats/noise.ts';
import type { EvalRow } from '../src/formats/results.ts';
import type { ModelFolder } from '../src/model/folder.ts';
import type { ChosenMask } from './choose-mask.ts';
import type { LeastBudget } from './least-budget.ts';

export interface IdentifyOptions {
  /** what `--model` takes: `demo`, a folder, a GGUF file, a name on the Hub; or an opened model, which stays open */
  readonly model: string | ModelFolder;
  /** settings laid over the preset; what is set here is never changed to fit */
  readonly config?: { readonly [Key in keyof Config]?: Config[Key] | undefined };
  /** a name of configs/ or the path of a JSON file; default: chosen by the model's architecture; the demo model has its own */
  readonly preset?: string | undefined;
  /** samples to learn from: the path of a samples.jsonl, or the samples; default: generated ones */
  readonly samples?: string | readonly Sample[] | undefined;
  /** text of generated samples: a text file, a folder, JSONL, JSONL.gz or JSONL.zst; default: generated prose */
  readonly haystack?: string | undefined;
  /** running text, in the forms of `haystack`, for the long-range objective and for kept gain in the closing table; default: no kept gain, and
   * for the objective a small corpus that ships with duo */
  readonly documents?: string | undefined;
  /** documents to hold out instead of a part of `documents` */
  readonly heldOutDocuments?: string | undefined;
  /** samples of the closing table, in the forms of `samples`; default: generated ones, `config.heldOutSamples` of them */
  readonly heldOut?: string | readonly Sample[] | undefined;
  /** a name, or an opened engine of this model, which stays open; default: native where its library loads */
  readonly engine?: EngineName | Engine | undefined;
  readonly device?: OpenEngineOptions['device'];
  readonly backend?: OpenEngineOptions['backend'];
  readonly threads?: OpenEngineOptions['threads'];
  readonly weightsOn?: OpenEngineOptions['weightsOn'];
  /** folder for gates.json, mask.json, metrics.jsonl, run.json and the checkpoint; without it nothing is kept on disk */
  readonly out?: string | undefined;
  /** continue the run in `out` from its last checkpoint */
  readonly resume?: boolean | undefined;
  /** start the run in `out` anew */
  readonly overwrite?: boolean | undefined;
  /** join the run in `out` with other processes, or start it for them: samples are divided, and each process ends with the same result */
  readonly join?: boolean | undefined;
  /** refuse settings in `config` that would change nothing given the others, as the command does; default: false, so that a program may hand
   * over a whole `Config` */
  readonly refuseIdle?: boolean | undefined;
  /** what run.json calls the command; default: none */
  readonly command?: readonly string[] | undefined;
  /** stops at the next safe point: with `out` after a checkpoint */
  readonly signal?: AbortSignal | undefined;
  readonly onMessage?: ((message: IdentifyMessage) => void) | undefined;
  readonly onProgress?: ((progress: IdentifyProgress) => void) | undefined;
  /** gates and mask are found, and written where `out` is given; the closing table comes after it */
  readonly onFound?: ((found: FoundHeads) => void) | undefined;
  /** masks that a promise was tried with, once, before the mask is written or, where none holds, the error is thrown */
  readonly onWalked?: ((promise: KeptPromise) => void) | undefined;
  /** how errors name an option of the engine or of the run; default: in backticks, as here */
  readonly nameOption?: ((name: string) => string) | undefined;
}

/** A sentence for the person who waits.
 * - `note`: what was chosen without being asked for, or what a file says and duo ignores
 * - `fitted`: which settings of the preset were changed to fit model, tokenizer and device
 * - `start`: model, engine and device
 * - `estimate`: memory and time this is expected to take; `long`: a warning that it takes hours
 * - `noise`: how many heads lie below the noise floor of the measurement
 * - `stopped`: the run in `out` can be resumed
 * - `no-table`: why there is no closing table
 * - `warning`: why the mask may not be what it seems */
export interface IdentifyMessage {
  readonly kind: 'note' | 'fitted' | 'start' | 'estimate' | 'long' | 'noise' | 'stopped' | 'no-table' | 'warning';
  readonly text: string;
}

/** How far a stage is; the first one of a stage comes before its work. */
export interface IdentifyProgress {
  /** bytes fetched of a Hub model; steps, or hundredths, of scoring; masks tried for a promise; evaluations of the closing table, texts of its kept gain */
  readonly stage: 'fetch' | 'score' | 'promise' | 'held-out' | 'kept-gain';
  /** what is being done: `fetch org/name`, the method, `held-out recall` */
  readonly label: string;
  readonly done: number;
  readonly total: number;
  /** loss, for a step of scoring */
  readonly loss?: number;
}

export interface FoundHeads extends ChosenMask {
  readonly gates: GatesFile;
  /** noise floor of the measurement, heads below it and labels they decided; null where the method states none */
  readonly noise: (Noise & NoiseDecisions) | null;
}

export interface IdentifyResult extends FoundHeads {
  /** rows of the closing table: full, given, streaming, random-0 …, inverted; null where there is none */
  readonly heldOut: readonly EvalRow[] | null;
  /** kept gain of the same masks on held-out documents; null where none were given or it could not be measured */
  readonly keptGain: readonly EvalRow[] | null;
  /** long-range tokens that its samples were found by; null for passkeys and for samples that were given */
  readonly longRange: LongRangeCounts | null;
  /** why the mask may not be what it seems, as sentences without a full stop */
  readonly warnings: readonly string[];
  /** for each measure, the smallest budget that keeps 0.99 of full attention, from what was measured anyway; none where it has no interval */
  readonly least: readonly LeastBudget[];
  /** share of the full KV cache that the mask saves */
  readonly savings: readonly { readonly tokens: number; readonly saved: number }[];
  /** the resulting settings */
  readonly config: Config;
  /** what fitting changed of the preset, as clauses */
  readonly fitted: readonly string[];
  readonly method: string;
  /** steps, or samples, that were used */
  readonly steps: number;
  readonly scoreSeconds: number;
  /** what computed: `native` on `cpu avx512` */
  readonly engine: { readonly name: EngineName; readonly device: string };
  /** absolute path of the run folder, and the results in it; null and none without `out` */
  readonly out: string | null;
  readonly files: readonly string[];
}

/** Check what the options alone show. @throws {ConfigError} options that exclude each other. */
export function checkOptions(
  options: Pick<IdentifyOptions, 'samples' | 'haystack' | 'out' | 'resume' | 'overwrite' | 'join' | 'nameOption'> & {
    readonly objective: string | undefined;
  },
): void {
  const { nameOption: named = (name) => `\`${name}\`` } = options;
  const { samples, haystack, objective, out, resume, overwrite, join } = options;
  if (join && (resume || overwrite)) {
    const other = named(resume ? 'resume' : 'overwrite');
    throw new ConfigError(
      `Expected ${named('join')} or ${other}, got both; ${named('join')} continues a run that is there by itself.`,
    );
  }
  if (resume && overwrite) {
    throw new ConfigError(
      `Expected ${named('resume')} or ${named('overwrite')}, got both; ${named('resume')} continues a run, ${named('overwrite')} starts it anew.`,
    );
  }
  if (samples !== undefined && haystack !== undefined) {
    throw new ConfigError(
      `Expected ${named('samples')} or ${named('haystack')}, got both; samples of your own need no haystack.`,
    );
  }
  if (samples !== undefined && objective !== undefined) {
    throw new ConfigError(
      `Expected ${named('samples')} or ${named('objective')}, got both; samples of your own have answers of their own.`,
    );
  }
  if (out === undefined && (resume || overwrite || join)) {
    throw new ConfigError(
      `Expected ${named('out')} together with ${named(resume ? 'resume' : overwrite ? 'overwrite' : 'join')}, got none; it names the folder of the run.`,
    );
  }
}
